"""Whole models cut in neurons, heads and channels at once, judged on images that were not seen."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeflex_tflite.artifacts import BlockCut, BlockShape, PrunePlan
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.prune.attention import context_moments, cut_contexts
from edgeflex_tflite.prune.cut import resize_block
from edgeflex_tflite.prune.heads import head_order
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.recipe import Recipe
from tests.conftest import random_vit

PLAIN, GATED, POOLED = "vit_tiny_patch16_224", "vit_giant_patch14_dinov2", "vit_base_patch16_siglip_224"
CHANGES: dict[str, dict[str, int]] = {
    "heads": {"num_heads": 2},
    "keys": {"key_dim": 8},
    "values": {"value_dim": 8},
    "neurons": {"width": 48},
    "all": {"num_heads": 2, "key_dim": 12, "value_dim": 8, "width": 80},
}


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"depth": 2} | options)))


def images(seed: int, count: int) -> Tensor:
    """Of 12 patterns in different amounts: patches hang together, as those of photos do."""
    patterns = torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(77))
    generator = torch.Generator().manual_seed(seed)
    return torch.einsum("np,pchw->nchw", torch.randn(count, 12, generator=generator) / 12**0.5, patterns)


def plan_for(edge: EdgeViT, changes: list[dict[str, int]]) -> PrunePlan:
    cuts = []
    for block, change in zip(edge.blocks, changes, strict=True):
        shape = dataclasses.replace(block.shape, **change)
        attention_cut = dataclasses.replace(shape, width=block.shape.width) != block.shape
        cuts.append(BlockCut(shape.width, block.mlp.width, 0.5, 0.25, shape=shape if attention_cut else None))
    return PrunePlan(tuple(cuts), 100, 10)


def pruned(edge: EdgeViT, changes: list[dict[str, int]], **options: Any) -> EdgeViT:
    tokens = embed(edge, images(0, 128).split(32))
    return prune(edge, tokens, plan_for(edge, changes), Recipe(**options))[0]


def error_of(edge: EdgeViT, smaller: EdgeViT) -> float:
    with torch.no_grad():
        wanted = edge(images(1, 64))
        return ((smaller(images(1, 64)) - wanted).square().mean() / wanted.var(0).mean()).item()


@pytest.mark.parametrize("name", [PLAIN, GATED, POOLED])
def test_planned_shapes_are_cut(name: str) -> None:
    edge = edge_vit(name, depth=3)
    before = copy.deepcopy(edge.state_dict())
    smaller = pruned(edge, [CHANGES["all"], {}, {"key_dim": 4}])
    dense = edge.blocks[0].shape
    expected = [dataclasses.replace(dense, **change) for change in (CHANGES["all"], {}, {"key_dim": 4})]
    assert [block.shape for block in smaller.blocks] == expected
    assert all(torch.equal(value, before[key]) for key, value in edge.state_dict().items())
    with torch.no_grad():
        assert smaller(images(1, 2)).isfinite().all()


def test_a_plan_of_attention_alone_is_a_cut() -> None:
    edge = edge_vit()
    plan = plan_for(edge, [{"key_dim": 8}, {}])
    assert plan.is_cut and not plan.cuts[1].is_cut
    assert plan.widths == (192, 192)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_it_is_better_than_the_first_weights_of_each_kind(name: str, change: str) -> None:
    edge = edge_vit(name)
    naive = copy.deepcopy(edge)
    for index, block in enumerate(edge.blocks):
        naive.blocks[index] = resize_block(block, dataclasses.replace(block.shape, **CHANGES[change]))
    assert error_of(edge, pruned(edge, [CHANGES[change]] * 2)) < 0.3 * error_of(edge, naive)


@pytest.mark.parametrize("change", ["heads", "keys", "values", "all"])
def test_refit_helps_on_images_that_were_not_seen(change: str) -> None:
    edge = edge_vit(depth=4)
    errors = {fit: error_of(edge, pruned(edge, [CHANGES[change]] * 4, refit=fit)) for fit in (False, True)}
    assert errors[True] < errors[False]


def test_compensation_helps_on_images_that_were_not_seen() -> None:
    edge = edge_vit()
    errors = {
        how: error_of(edge, pruned(edge, [CHANGES["neurons"]] * 2, compensate=how, refit=False))
        for how in ("none", "bias", "ridge")
    }
    assert errors["ridge"] < 0.5 * errors["bias"] and errors["bias"] < errors["none"]


@pytest.mark.parametrize("sizes", [("key_dim", (12, 8, 4)), ("value_dim", (12, 8, 4)), ("num_heads", (2, 1))])
def test_smaller_sizes_cost_more(sizes: tuple[str, tuple[int, ...]]) -> None:
    edge = edge_vit(depth=1)
    name, ladder = sizes
    errors = [error_of(edge, pruned(edge, [{name: size}])) for size in ladder]
    assert errors == sorted(errors) and errors[0] < errors[-1]


def test_heads_and_values_together_are_one_after_the_other() -> None:
    """Against cutting, and then looking anew at what proj reads."""
    edge = edge_vit(depth=1)
    block, shape = edge.blocks[0], BlockShape(192, 2, 16, 8)
    normed = block.norm1(embed(edge, [images(0, 64)])[0])
    moments = context_moments(block.attn, [(normed, normed)])
    together = cut_contexts(block.attn, moments, shape)
    fewer = cut_contexts(block.attn, moments, dataclasses.replace(shape, value_dim=16))
    kept = head_order(block.attn.proj.weight, moments, 3)[:2].sort().values
    expected = block.attn.context(normed, normed).unflatten(-1, (3, 16))[..., kept, :].flatten(-2)
    torch.testing.assert_close(fewer.context(normed, normed), expected)
    anew = cut_contexts(fewer, context_moments(fewer, [(normed, normed)]), shape)
    torch.testing.assert_close(together(normed, normed), anew(normed, normed), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("change", ["heads", "keys", "values"])
def test_blocks_before_the_first_cut_stay_as_they_are(change: str) -> None:
    edge = edge_vit(depth=3)
    smaller = pruned(edge, [{}, CHANGES[change], {}])
    first, _, last = zip(edge.blocks, smaller.blocks, strict=True)
    assert all(torch.equal(value, first[1].state_dict()[key]) for key, value in first[0].state_dict().items())
    assert not torch.equal(last[0].mlp.fc2.weight, last[1].mlp.fc2.weight)
    assert not torch.equal(edge.head.weight, smaller.head.weight)


@pytest.mark.parametrize(
    ("change", "behind"), [("keys", "attn.proj"), ("keys", "mlp.fc1"), ("heads", "mlp.fc1"), ("values", "mlp.fc2")]
)
def test_every_linear_behind_the_first_cut_is_fitted(change: str, behind: str) -> None:
    edge = edge_vit()
    smaller = pruned(edge, [CHANGES[change], {}])
    assert not torch.equal(smaller.blocks[0].get_submodule(behind).weight, edge.blocks[0].get_submodule(behind).weight)


def test_keys_behind_a_norm_cannot_be_planned_away() -> None:
    edge = edge_vit(qk_norm=True)
    assert error_of(edge, pruned(edge, [{"num_heads": 2}] * 2)) < 1
    with pytest.raises(AssertionError):
        pruned(edge, [{"key_dim": 8}] * 2)
