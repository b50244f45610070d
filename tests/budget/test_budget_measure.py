"""What is measured of a block is what the logits make of it when it alone is changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import BlockCut, BlockShape, PrunePlan
from edgeflex_tflite.budget.measure import (
    PROBE_RATIOS,
    BlockCosts,
    measure_blocks,
    measure_int8,
    nothing_measured,
    probe_widths,
)
from edgeflex_tflite.budget.probe import kl_divergence
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed, logits_from
from edgeflex_tflite.prune.attention import context_moments, cut_heads, score_moments, truncate_keys, truncate_values
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.prune.heads import head_error_curve, head_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.quantize.gptq import Curvature, gptq
from edgeflex_tflite.recipe import CHOICES, LEVERS, SCORES_WITH_LABELS, Recipe
from tests.conftest import random_vit

GATED = "vit_giant_patch14_dinov2"
PLAIN = "vit_tiny_patch16_224"
NARROW = Recipe(width_multiple=4)
HELD_OUT = NARROW.replace(probe_samples=6)
"""Leaves images to fit what takes over from a dropped branch."""


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"embed_dim": 24} | options)))


def images() -> list[Tensor]:
    return list(torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(4)).split(4))


def measure(edge: EdgeViT, levers: tuple[str, ...], recipe: Recipe = NARROW, **options: Any) -> list[BlockCosts]:
    return list(
        measure_blocks(edge, embed(edge, images()), recipe, levers, [None] * len(edge.blocks), **options).blocks
    )


def divergence_by_hand(edge: EdgeViT, changed: EdgeViT, count: int = 10) -> float:
    """Of whole forward passes over the first images."""
    pixels = torch.cat(images())[:count]
    with torch.no_grad():
        p, q = edge(pixels).double().softmax(1), changed(pixels).double().softmax(1)
    return (p * (p / q).log()).sum(1).mean().item()


def inputs_of(edge: EdgeViT, index: int, path: str) -> list[Tensor]:
    """What a linear reads in the whole model, by a hook."""
    seen: list[Tensor] = []
    linear = edge.blocks[index].get_submodule(path)
    handle = linear.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    edge.blocks[-1].forward = lambda x, reads=None: type(edge.blocks[-1]).forward(edge.blocks[-1], x)
    with torch.no_grad():
        for batch in images():
            edge(batch)
    handle.remove()
    del edge.blocks[-1].forward
    return seen


def plan_for(edge: EdgeViT, widths: list[int]) -> PrunePlan:
    pairs = zip(widths, edge.blocks, strict=True)
    return PrunePlan(tuple(BlockCut(width, block.mlp.width, 0.5, 0.25) for width, block in pairs), 100, 10)


@pytest.mark.parametrize("name", [PLAIN, GATED])
@pytest.mark.parametrize("compensate", CHOICES["compensate"])
def test_curves(name: str, compensate: str) -> None:
    edge = edge_vit(name)
    for cost, block in zip(measure(edge, ("mlp",), Recipe(compensate=compensate)), edge.blocks, strict=True):
        curve = cost.mlp
        assert curve is not None
        assert curve.dense_width == block.mlp.width
        assert curve.error.shape == curve.divergence.shape == (block.mlp.width + 1,)
        assert curve.error[0] == 0 and curve.error[-1] > 0
        assert curve.divergence[0] == 0 and 0 < curve.divergence[-1] < float("inf")


@pytest.mark.parametrize("compensate", ["none", "bias"])
def test_prediction_without_ridge_is_the_measured_error(compensate: str) -> None:
    """For the first block, whose input no cut has changed."""
    edge = edge_vit()
    tokens, recipe = embed(edge, images()), Recipe(compensate=compensate)
    curve = measure(edge, ("mlp",), recipe)[0].mlp
    assert curve is not None
    for width in (80, 48, 16):
        _, plan = prune(edge, tokens, plan_for(edge, [width, 96, 96]), recipe)
        assert plan.cuts[0].error == pytest.approx(curve.error[96 - width].item(), rel=1e-3)


def test_prediction_with_compensation_bounds_the_measured_error() -> None:
    edge = edge_vit()
    curve = measure(edge, ("mlp",), Recipe())[0].mlp
    assert curve is not None
    for width in (80, 48, 16):
        _, plan = prune(edge, embed(edge, images()), plan_for(edge, [width, 96, 96]), Recipe())
        assert plan.cuts[0].error is not None
        assert 0.2 * curve.error[96 - width] < plan.cuts[0].error <= curve.error[96 - width]


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("probe_samples", [5, 1000])
def test_divergence_of_neurons_is_that_of_cutting_the_block_alone(index: int, probe_samples: int) -> None:
    edge = edge_vit()
    recipe = Recipe(compensate="none", refit=False, probe_samples=probe_samples)
    curve = measure(edge, ("mlp",), recipe)[index].mlp
    assert curve is not None
    most = 0.0
    for width in probe_widths(96):
        widths = [width if block == index else 96 for block in range(3)]
        cut, _ = prune(edge, embed(edge, images()), plan_for(edge, widths), recipe)
        most = max(most, divergence_by_hand(edge, cut, probe_samples))
        assert curve.cost(width) == pytest.approx(most, rel=1e-3), "a fall is noise"


@pytest.mark.parametrize("index", [0, 2])
def test_divergence_of_narrower_keys_values_and_fewer_heads(index: int) -> None:
    """The middle size is what the logits make of the surgery; 24 channels of 2 heads, in steps of 4."""
    edge = edge_vit(num_heads=2, embed_dim=48)
    cost = measure(edge, ("qk", "v", "heads"))[index]
    x = inputs_of(edge, index, "attn.v")
    attn = edge.blocks[index].attn
    pairs = [(batch, batch) for batch in x]
    scores, contexts = score_moments(attn, pairs), context_moments(attn, pairs)
    order = head_order(attn.proj.weight, contexts, 2)
    for name, size, smaller in (
        ("key_dim", 12, truncate_keys(attn, scores, 12)),
        ("value_dim", 12, truncate_values(attn, contexts, 12, True)),
        ("num_heads", 1, cut_heads(attn, contexts, order, 1, True)),
    ):
        changed = copy.deepcopy(edge)
        changed.blocks[index].attn = smaller
        assert cost.sizes[name][size] == pytest.approx(divergence_by_hand(edge, changed), rel=1e-3), name


def test_what_was_not_tried_is_in_proportion_to_the_error() -> None:
    edge = edge_vit(num_heads=6, embed_dim=24, depth=1)
    costs = measure(edge, ("heads",))[0].sizes["num_heads"]
    attn = edge.blocks[0].attn
    moments = context_moments(attn, [(x, x) for x in inputs_of(edge, 0, "attn.v")])
    error = head_error_curve(attn.proj.weight, moments, head_order(attn.proj.weight, moments, 6), True)
    assert list(costs) == [5, 4, 3, 2, 1]
    for heads, cost in costs.items():
        assert cost / costs[3] == pytest.approx((error[6 - heads] / error[3]).item(), rel=1e-4)


@pytest.mark.parametrize("name", [PLAIN, GATED])
@pytest.mark.parametrize("group", range(4))
def test_divergence_of_int4_is_that_of_rounding_the_group_alone(name: str, group: int) -> None:
    """With the mean of the error taken by the bias."""
    edge = edge_vit(name, depth=2)
    cost = measure(edge, ("int4",))[1]
    paths = list(cost.int4)[group]
    moments = HiddenMoments(inputs_of(edge, 1, paths[0]))
    changed = copy.deepcopy(edge)
    for path in paths:
        linear = changed.blocks[1].get_submodule(path)
        assert isinstance(linear, nn.Linear)
        weight = linear.weight.detach().double()
        rounded = gptq(weight, Curvature.of(moments.covariance), 4)
        linear.weight.data.copy_(rounded)
        linear.bias.data.add_((weight - rounded) @ moments.mean)
    assert cost.int4[paths] == pytest.approx(divergence_by_hand(edge, changed), rel=1e-3)


def test_groups_of_int4_name_every_linear_of_a_block() -> None:
    for name, gate in ((PLAIN, ()), (GATED, ("mlp.gate",))):
        cost = measure(edge_vit(name, depth=1), ("int4",))[0]
        expected = [("attn.q", "attn.k", "attn.v"), ("attn.proj",), ("mlp.fc1", *gate), ("mlp.fc2",)]
        assert list(cost.int4) == expected


LEFT = {"mlp": "mlp", "heads": "num_heads", "qk": "key_dim", "v": "value_dim", "int4": "int4", "branches": "branches"}


@pytest.mark.parametrize("left_out", LEFT)
def test_a_lever_that_is_left_out_is_not_measured(left_out: str) -> None:
    cost = measure(edge_vit(depth=1), tuple(lever for lever in LEFT if lever != left_out), HELD_OUT)[0]
    found = {*cost.sizes} | ({"mlp"} if cost.mlp else set()) | ({"int4"} if cost.int4 else set())
    found |= {"branches"} if cost.dropped else set()
    assert found == {*LEFT.values()} - {LEFT[left_out]}


@pytest.mark.parametrize("levers", [LEVERS, ("qk",)])
def test_keys_behind_a_norm_are_left_alone(levers: tuple[str, ...]) -> None:
    edge = edge_vit(qk_norm=True, depth=2)
    assert not any("key_dim" in cost.sizes for cost in measure(edge, levers, HELD_OUT))
    assert not any(nothing_measured(block, 1, levers, 4).sizes.get("key_dim") for block in edge.blocks)


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_nothing_measured_has_the_options_of_what_is_measured(name: str) -> None:
    edge = edge_vit(name, depth=2)
    for index, (block, cost) in enumerate(zip(edge.blocks, measure(edge, LEVERS, HELD_OUT), strict=True)):
        free = nothing_measured(block, index, LEVERS, NARROW.width_multiple)
        assert {key: list(sizes) for key, sizes in free.sizes.items()} == {k: list(v) for k, v in cost.sizes.items()}
        assert list(free.int4) == list(cost.int4)
        assert {*free.dropped} == {*cost.dropped} == ({"attn", "mlp"} if index else {"mlp"})
        assert free.mlp is not None and cost.mlp is not None
        assert free.mlp.dense_width == cost.mlp.dense_width
        sizes = [loss for found in free.sizes.values() for loss in found.values()]
        values = [*free.int4.values(), *free.dropped.values(), *sizes]
        assert not any(values) and not free.mlp.divergence.any()


def test_sizes_are_multiples_below_the_dense_one() -> None:
    free = nothing_measured(edge_vit(embed_dim=60, num_heads=3).blocks[0], 0, LEVERS, 8)
    assert {key: list(sizes) for key, sizes in free.sizes.items()} == {
        "key_dim": [16, 8],
        "value_dim": [16, 8],
        "num_heads": [2, 1],
    }
    assert nothing_measured(edge_vit().blocks[0], 0, LEVERS, 8).sizes["key_dim"] == {}


@pytest.mark.parametrize("dense", [1, 2, 3, 20, 1536])
def test_probe_widths(dense: int) -> None:
    widths = probe_widths(dense)
    assert all(0 < width < dense for width in widths) and widths == sorted({*widths}, reverse=True)
    assert bool(widths) is (dense > 1)
    assert dense < 200 or len(widths) == len(PROBE_RATIOS)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_very_narrow_mlps(width: int) -> None:
    """Where there is a neuron to spare, the probe cuts one."""
    costs = measure(edge_vit(mlp_ratio=(width + 0.5) / 24), ("mlp",), Recipe())
    curves = [cost.mlp for cost in costs if cost.mlp is not None]
    assert [curve.error.shape for curve in curves] == [(width + 1,)] * 3
    if width > 1:
        assert all(1e-6 < curve.cost(width - 1) < 100 for curve in curves)


@pytest.mark.parametrize("score", SCORES_WITH_LABELS)
def test_scores_with_labels_decide_what_is_probed(score: str) -> None:
    edge = edge_vit(depth=2)
    tokens, recipe = embed(edge, images()), Recipe(prune_score=score, compensate="none", refit=False)
    labels = torch.arange(10)
    curves = [
        c.mlp for c in measure_blocks(edge, tokens, recipe, ["mlp"], loss_scores(edge, tokens, labels, score)).blocks
    ]
    cut, _ = prune(edge, tokens, plan_for(edge, [72, 96]), recipe, labels=labels)
    assert curves[0] is not None
    assert curves[0].cost(72) == pytest.approx(divergence_by_hand(edge, cut), rel=1e-3)


def test_measuring_changes_nothing() -> None:
    edge = edge_vit(depth=2)
    before = copy.deepcopy(edge.state_dict())
    tokens = embed(edge, images())
    stream = [x.clone() for x in tokens]
    measure_blocks(edge, tokens, HELD_OUT, LEVERS, [None] * 2)
    assert all(torch.equal(value, before[key]) for key, value in edge.state_dict().items())
    assert all(torch.equal(x, y) for x, y in zip(tokens, stream, strict=True))
    assert [block.shape for block in edge.blocks] == [BlockShape(96, 3, 8, 8)] * 2


def test_progress_sees_every_block() -> None:
    seen: list[tuple[str, int | None]] = []

    def progress(items: Any, caption: str, total: int | None = None) -> Any:
        seen.append((caption, total))
        return items

    measure(edge_vit(), ("mlp",), progress=progress)
    assert seen == [("measure blocks", 3)]


def test_sites_outside_of_blocks_are_rounded_one_at_a_time() -> None:
    edge = edge_vit(depth=1)
    found = {each.change: each.divergence for each in measure_int8(edge, images(), ["patch_embed", "head"], images=6)}
    for site, divergence in found.items():
        changed = copy.deepcopy(edge)
        weight: Any = changed.get_submodule(site).weight
        rows = weight.data.flatten(1)
        step = rows.abs().amax(1, keepdim=True) / 127
        rows.copy_((rows / step).round() * step)
        assert divergence == pytest.approx(divergence_by_hand(edge, changed, 6), rel=1e-2), site
    assert measure_int8(edge, images(), [], 6) == []


def test_divergence_golden() -> None:
    """Of (1/2, 1/2) from (3/4, 1/4), and of a distribution from itself: mean of ln(2 / sqrt(3)) and 0."""
    even, uneven = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[3.0, 1.0], [1.0, 2.0]])
    uneven[0] = uneven[0].log() + 5
    assert kl_divergence(even, uneven) == pytest.approx(torch.tensor(4 / 3).sqrt().log().item() / 2, rel=1e-6)
    assert kl_divergence(uneven, even) != pytest.approx(kl_divergence(even, uneven), rel=1e-2)


def test_logits_of_a_probe_are_those_of_the_model() -> None:
    edge = edge_vit("vit_base_patch16_siglip_224", depth=2)
    with torch.no_grad():
        torch.testing.assert_close(logits_from(edge, 0, embed(edge, images())), edge(torch.cat(images())))
