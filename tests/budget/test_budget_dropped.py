"""What dropping a whole attention or MLP is said to cost, and what the allocator makes of it."""

from __future__ import annotations

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.budget.allocate import Option, allocate
from edgeflex_tflite.budget.curves import level_curve
from edgeflex_tflite.budget.dropped import droppable
from edgeflex_tflite.budget.measure import BlockCosts, Costs, measure_blocks
from edgeflex_tflite.budget.parts import parts_of
from edgeflex_tflite.budget.probe import kl_divergence
from edgeflex_tflite.lower.predict import block_bytes
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.prune.cut import without_dropped
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.regression import RELATIVE_RIDGE
from tests.conftest import random_vit

PLAIN, GATED, POOLED = "vit_tiny_patch16_224", "vit_giant_patch14_dinov2", "vit_base_patch16_siglip_224"
RECIPE = Recipe(probe_samples=6)


def edge_vit(name: str = PLAIN, depth: int = 3) -> EdgeViT:
    return to_edge_form(random_vit(name, embed_dim=24, depth=depth))


def images() -> list[Tensor]:
    return list(torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(4)).split(4))


@torch.inference_mode()
def by_hand(edge: EdgeViT, index: int, branch: str) -> float:
    """With the linear before solved again, as `weight + (y - weight x) x^T (x x^T + ridge)^-1` of centred x and y.

    Fitted to the images that the probe does not see.
    """
    stream = torch.cat(embed(edge, images()))[RECIPE.probe_samples :]
    blocks = [copy.deepcopy(block) for block in edge.blocks]
    for block in blocks[: index - (branch == "attn")]:
        stream = block(stream)
    writer = blocks[index - (branch == "attn")]
    half = writer.after_attention(stream)
    if branch == "attn":
        goal, linear, x = (
            blocks[index].after_attention(writer(stream)),
            writer.mlp.fc2,
            writer.mlp.hidden(writer.norm2(half)),
        )
        start, shape = half, {"num_heads": 0, "key_dim": 0, "value_dim": 0}
    else:
        normed = writer.norm1(stream)
        goal, linear, x = writer(stream), writer.attn.proj, writer.attn.context(normed, normed)
        start, shape = stream, {"width": 0}
    x, y = x.flatten(0, 1).double(), (goal - start).flatten(0, 1).double()
    X, Y, W = x - x.mean(0), y - y.mean(0), linear.weight.double()
    sigma = X.T @ X / len(X)
    ridge = RELATIVE_RIDGE * sigma.trace() / len(sigma) * torch.eye(len(sigma))
    W = W + torch.linalg.solve(sigma + ridge, X.T @ (Y - X @ W.T) / len(X)).T
    linear.weight.copy_(W)
    linear.bias.copy_(y.mean(0) - W @ x.mean(0))
    blocks[index] = without_dropped(blocks[index], dataclasses.replace(blocks[index].shape, **shape))
    pixels = torch.cat(images())[: RECIPE.probe_samples]
    return kl_divergence(edge(pixels), edge.with_blocks(blocks)(pixels))


@pytest.mark.parametrize("name", [PLAIN, GATED, POOLED])
def test_it_is_what_the_logits_make_of_its_absence_when_the_linear_before_takes_over(name: str) -> None:
    edge = edge_vit(name)
    found = measure_blocks(edge, embed(edge, images()), RECIPE, ["branches"], [None] * 3)
    for index, cost in enumerate(found.blocks):
        assert tuple(cost.dropped) == droppable(index)
        for branch, divergence in cost.dropped.items():
            assert divergence == pytest.approx(by_hand(edge, index, branch), rel=1e-3), (index, branch)
    changes = {(each.block, each.change) for each in found.sensitivities}
    assert changes == {(0, "no MLP")} | {(i, f"no {branch}") for i in (1, 2) for branch in ("attention", "MLP")}


def costs_of(edge: EdgeViT, seed: int) -> Costs:
    """Measured by nobody: every branch costs something else, and dropping it twice what the narrowest does at most."""
    loss = torch.rand(len(edge.blocks), 6, generator=torch.Generator().manual_seed(seed)).tolist()
    return Costs(
        tuple(
            BlockCosts(
                dataclasses.replace(level_curve(96), divergence=torch.linspace(0, each[0], 97)),
                {"num_heads": {2: each[1], 1: 2 * each[1]}},
                {("mlp.fc1",): each[2] / 10},
                {branch: 2 * loss for branch, loss in zip(droppable(index), (each[3], each[4]), strict=False)},
            )
            for index, each in enumerate(loss)
        ),
        {},
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.4, 0.8])
def test_no_combination_loses_less(seed: int, share: float) -> None:
    edge = edge_vit(depth=2)
    plan = plan_precision(Recipe(), weight_sites(edge), compute_sites(edge))
    parts = parts_of(edge, plan, costs_of(edge, seed), 32)
    limit = round(share * sum(options[0].bytes for options in parts) + (1 - share) * least(parts))
    each = [choice for choice in itertools.product(*parts) if sum(option.bytes for option in choice) <= limit]
    best = min(sum(option.divergence for option in choice) for choice in each)
    found = allocate(parts, limit)
    assert sum(option.divergence for option in found) == pytest.approx(best, rel=1e-3)
    without = parts_of(edge, plan, costs_of(edge, seed).of(("mlp", "heads", "int4")), 32)
    if least(without) <= limit:
        assert best <= sum(option.divergence for option in allocate(without, limit)) * (1 + 1e-3)


def test_it_is_no_option_without_its_lever() -> None:
    edge = edge_vit(depth=2)
    assert all(cost.dropped for cost in costs_of(edge, 0).of(("mlp", "branches")).blocks)
    assert not any(cost.dropped for cost in costs_of(edge, 0).of(("mlp", "heads")).blocks)


def least(parts: list[list[Option]]) -> int:
    return sum(min(option.bytes for option in options) for options in parts)


@pytest.mark.parametrize("precision", ["mixed", "fp16", "fp32", "int8_dynamic", "int8_static", "int4_dynamic"])
def test_nothing_of_a_dropped_block_is_left(precision: str) -> None:
    edge = edge_vit(depth=1)
    plan = plan_precision(Recipe(precision=precision), weight_sites(edge), compute_sites(edge))
    assert block_bytes(edge.blocks[0], BlockShape(0, 0, 0, 0), "blocks.0", plan) == (0, 0)
