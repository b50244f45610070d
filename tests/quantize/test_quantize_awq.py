"""Folds change no float result; the scales that the search chooses take rounding error away."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm.layers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeflex_tflite.artifacts import Grid
from edgeflex_tflite.models.edge import Block, EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import Tokens, embed
from edgeflex_tflite.quantize import awq
from edgeflex_tflite.quantize.awq import (
    GRID,
    SMALLEST_SCALE,
    _search,
    fold_,
    fold_targets,
    scale_for,
    search,
    search_block_,
)
from edgeflex_tflite.quantize.rounding import round_activation, round_weight
from tests.conftest import random_vit

PLAIN, GATED = "vit_tiny_patch16_224", "vit_giant_patch14_dinov2"
KINDS: list[tuple[str, dict[str, Any], int]] = [
    (PLAIN, {}, 3),
    (PLAIN, {"qk_norm": True}, 3),
    (PLAIN, {"act_layer": nn.ReLU, "final_norm": False}, 3),
    (PLAIN, {"mlp_layer": timm.layers.SwiGLU}, 4),
    (GATED, {}, 4),
    ("deit3_small_patch16_224", {}, 3),
    ("vit_base_patch32_clip_quickgelu_224", {}, 3),
]


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"embed_dim": 24, "depth": 2} | options)))


def images() -> list[Tensor]:
    return list(torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(6)).split(2))


def tokens_of(edge: EdgeViT) -> Tokens:
    return embed(edge, images())


@pytest.mark.parametrize(("name", "options", "targets"), KINDS)
def test_every_fold_is_exact(name: str, options: dict[str, Any], targets: int) -> None:
    """In float64, with scales from 1/30 to 30."""
    block = edge_vit(name, **options).blocks[0].double()
    x = torch.randn(3, 17, 24, dtype=torch.float64)
    expected = block(x)
    assert len(fold_targets(block)) == targets
    for target in fold_targets(block):
        folded = copy.deepcopy(block)
        width = folded.get_submodule(target.readers[0]).in_features
        fold_(folded, target, torch.logspace(-1.5, 1.5, width, dtype=torch.float64)[torch.randperm(width)])
        changed = {
            key.rpartition(".")[0] for key, v in folded.state_dict().items() if not v.equal(block.state_dict()[key])
        }
        assert changed == {target.source, *target.readers}
        torch.testing.assert_close(folded(x), expected, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), gated=st.booleans())
def test_all_folds_together_are_exact_in_single_precision(seed: int, gated: bool) -> None:
    block = copy.deepcopy(GATED_BLOCK if gated else PLAIN_BLOCK)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 9, 24, generator=generator)
    expected = block(x)
    for target in fold_targets(block):
        width = block.get_submodule(target.readers[0]).in_features
        fold_(block, target, torch.empty(width).uniform_(0.2, 5, generator=generator))
    assert (block(x) - expected).abs().max() <= 1e-5 * expected.abs().max()


PLAIN_BLOCK, GATED_BLOCK = edge_vit(PLAIN).blocks[0], edge_vit(GATED).blocks[0]


def test_fold_targets_in_the_order_of_execution() -> None:
    expected = [
        ("norm1", ("attn.q", "attn.k", "attn.v")),
        ("attn.v", ("attn.proj",)),
        ("norm2", ("mlp.fc1", "mlp.gate")),
        ("mlp.fc1", ("mlp.fc2",)),
    ]
    assert [(target.source, target.readers) for target in fold_targets(GATED_BLOCK)] == expected
    plain = [*expected[:2], ("norm2", ("mlp.fc1",))]
    assert [(target.source, target.readers) for target in fold_targets(PLAIN_BLOCK)] == plain


def test_nothing_folds_into_a_missing_norm() -> None:
    block = copy.deepcopy(PLAIN_BLOCK)
    block.norm1 = nn.Identity()
    assert [target.source for target in fold_targets(block)] == ["attn.v", "norm2"]


def test_norm_with_a_shift_is_scaled_as_a_whole() -> None:
    block = copy.deepcopy(PLAIN_BLOCK)
    x = torch.randn(4, 24)
    block.norm1.bias = nn.Parameter(torch.randn(24), requires_grad=False)
    expected = block(x)
    fold_(block, fold_targets(block)[0], torch.linspace(0.5, 2, 24))
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


def test_scale_golden() -> None:
    torch.testing.assert_close(scale_for(torch.tensor([1.0, 4.0]), 0.5), torch.tensor([0.5, 1.0]) * 2**0.5)
    assert torch.equal(scale_for(torch.tensor([0.0, 3.0, 1e9]), 0.0), torch.ones(3))


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=9),
    st.integers(0, GRID - 1).map(lambda step: step / GRID),
)
def test_scales_are_centred_and_positive(mean_abs: list[float], alpha: float) -> None:
    scale = scale_for(torch.tensor(mean_abs), alpha)
    assert scale.isfinite().all() and scale.min() > 0
    assert (scale.max() * scale.min()).item() == pytest.approx(1, rel=1e-4)


def test_dead_channels_have_the_smallest_scale() -> None:
    scale = scale_for(torch.tensor([0.0, 1.0]), 0.5)
    assert (scale[1] / scale[0]).item() == pytest.approx(1 / SMALLEST_SCALE, rel=1e-5)


def in_int8(edge: EdgeViT) -> dict[str, Grid]:
    return dict.fromkeys(weight_sites(edge), Grid(8))


def rounding_error(
    block: Block, readers: tuple[str, ...], tokens: Tokens, expected: Tokens, dynamic: bool, bits: int = 8
) -> float:
    """Mean squared error behind the attention or MLP of integer readers, by other means than the source."""
    rounded = copy.deepcopy(block)
    for name in readers:
        linear: Any = rounded.get_submodule(name)
        weight, bias = round_weight(linear.weight, bits), linear.bias

        def forward(x: Tensor, weight: Tensor = weight, bias: Tensor = bias) -> Tensor:
            return round_activation(x, per_token=dynamic) @ weight.T + bias

        linear.forward = forward
    found, wanted = torch.cat(halfway_or_whole(rounded, readers, tokens)), torch.cat(expected)
    return (found - wanted).double().square().mean().item()


def halfway_or_whole(block: Block, readers: tuple[str, ...], tokens: Tokens) -> Tokens:
    """The residual stream behind what the readers are in."""
    return [block(x) if readers[0].startswith("mlp") else block.after_attention(x) for x in tokens]


def plant_outliers(block: Block, source: str) -> None:
    """Four channels of what the target reads become forty times as large, as in trained transformers."""
    module: Any = block.get_submodule(source)
    outliers = torch.ones(len(module.weight))
    outliers[[1, 5, 8, 13]] = 40
    module.weight.data.mul_(outliers if module.weight.dim() == 1 else outliers[:, None])
    if module.bias is not None:
        module.bias.data.mul_(outliers)


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize(("name", "number"), [(PLAIN, 0), (PLAIN, 1), (PLAIN, 2), (GATED, 2), (GATED, 3)])
def test_outliers_cost_less_than_with_plain_rounding(name: str, number: int, dynamic: bool) -> None:
    edge = edge_vit(name)
    tokens, block = tokens_of(edge), edge.blocks[0]
    target = fold_targets(block)[number]
    plant_outliers(block, target.source)
    expected = halfway_or_whole(block, target.readers, tokens)
    plain = rounding_error(block, target.readers, tokens, expected, dynamic)
    (group,) = search_block_(
        block, tokens, "blocks.0", {f"blocks.0.{name}": Grid(8) for name in target.readers}, dynamic
    )
    chosen = rounding_error(block, target.readers, tokens, expected, dynamic)
    assert group.plain_error == pytest.approx(plain, rel=1e-2)
    assert group.error == pytest.approx(chosen, rel=1e-2)
    assert group.alpha > 0
    assert chosen < 0.8 * plain


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_never_worse_than_plain_rounding(name: str, dynamic: bool) -> None:
    edge = edge_vit(name)
    _, groups = search(edge, tokens_of(edge), in_int8(edge), dynamic, 10**6)
    assert len(groups) == 2 * len(fold_targets(edge.blocks[0]))
    assert all(0 < group.error <= group.plain_error for group in groups)
    assert all(group.alpha * GRID == round(group.alpha * GRID) for group in groups)


def test_alpha_zero_where_plain_rounding_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """With scales that make things worse, nothing is changed."""
    worse = torch.ones(24)
    worse[0] = 1e4
    monkeypatch.setattr(awq, "scale_for", lambda mean_abs, alpha: torch.ones(24) if alpha == 0 else worse)
    block = copy.deepcopy(PLAIN_BLOCK)
    (group,) = search_block_(block, [torch.randn(2, 9, 24)], "blocks.0", {"blocks.0.attn.proj": Grid(8)}, True)
    assert (group.alpha, group.error) == (0, group.plain_error)
    assert all(torch.equal(value, PLAIN_BLOCK.state_dict()[key]) for key, value in block.state_dict().items())


@pytest.mark.parametrize("name", [PLAIN, GATED, "vit_base_patch16_siglip_224"])
def test_search_changes_no_float_result(name: str) -> None:
    edge = edge_vit(name)
    before = copy.deepcopy(edge.state_dict())
    scaled, groups = search(edge, tokens_of(edge), in_int8(edge), True, 10**6)
    assert any(group.alpha > 0 for group in groups)
    with torch.no_grad():
        expected, found = edge(torch.cat(images())), scaled(torch.cat(images()))
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in edge.state_dict().items())
    assert not all(torch.equal(value, before[key]) for key, value in scaled.state_dict().items())
    hooks = [module for module in scaled.modules() if module._forward_pre_hooks or module._forward_hooks]
    assert not hooks


INT8_SITES = ("blocks.0.attn.q", "blocks.0.attn.v", "blocks.1.mlp.fc1")


def test_only_int8_readers_are_judged_and_named() -> None:
    edge = edge_vit()
    _, groups = search(edge, tokens_of(edge), dict.fromkeys(INT8_SITES, Grid(8)), True, 10**6)
    assert [group.sites for group in groups] == [("blocks.0.attn.q", "blocks.0.attn.v"), ("blocks.1.mlp.fc1",)]


def test_no_int8_site_changes_nothing() -> None:
    edge = edge_vit()
    same, groups = search(
        edge, tokens_of(edge), dict.fromkeys(["patch_embed", "head", "blocks.0.mlp.fc2"], Grid(8)), True, 10**6
    )
    assert groups == []
    assert all(torch.equal(value, edge.state_dict()[key]) for key, value in same.state_dict().items())


@pytest.mark.parametrize(("max_tokens", "used"), [(1, 1), (17, 1), (50, 2), (10**6, 5)])
def test_no_more_tokens_than_asked_for(monkeypatch: pytest.MonkeyPatch, max_tokens: int, used: int) -> None:
    """But one image at the least; an image is 17 tokens."""
    edge, seen = edge_vit(), []

    def watched(block: Block, tokens: Tokens, *_: Any) -> list:
        seen.append(sum(len(batch) for batch in tokens))
        return []

    monkeypatch.setattr(awq, "search_block_", watched)
    search(edge, tokens_of(edge), in_int8(edge), True, max_tokens)
    assert seen == [used, used]


def test_uneven_batches_weigh_by_their_tokens() -> None:
    x = torch.randn(9, 7, 24) * torch.arange(1, 10)[:, None, None]
    whole, split = (awq._mean_abs(list(x.split(size))) for size in ([9], [8, 1]))
    torch.testing.assert_close(whole, split, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(whole, x.flatten(0, 1).abs().mean(0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_what_readers_read_and_what_they_are_to_answer(name: str) -> None:
    edge = edge_vit(name)
    block, (x, *_) = edge.blocks[1], tokens_of(edge)
    targets = fold_targets(block)
    with torch.no_grad():
        read, answered = awq._float_answers(block, [x], targets)
        halfway = block.after_attention(x)
        expected = {"norm1": block.norm1(x), "attn.v": block.context(x), "norm2": block.norm2(halfway)}
        if block.mlp.gate is not None:
            expected["mlp.fc1"] = block.hidden(halfway)
        torch.testing.assert_close({source: found for source, (found,) in read.items()}, expected)
        torch.testing.assert_close(halfway, x + answered["attn"][0])
        torch.testing.assert_close(block(x), halfway + answered["mlp"][0])
        for target in targets:
            judged, wanted = block.get_submodule(target.judged), answered[target.branch]
            torch.testing.assert_close(awq._answer(judged, read[target.source][0]), wanted[0])
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in block.modules())


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_the_error_of_a_scale_is_that_of_the_residual_stream_behind_it(name: str) -> None:
    """Though no more is computed than what reads the scaled channels."""
    edge = edge_vit(name)
    block, tokens = edge.blocks[0], tokens_of(edge)
    grids = {path.removeprefix("blocks.0."): Grid(4) for path in in_int8(edge) if path.startswith("blocks.0.")}
    for target in fold_targets(block):
        of_readers = {reader: grids[reader] for reader in target.readers}
        read, answered = awq._float_answers(block, tokens, [target])
        scale_from = awq._mean_abs(read[target.source])
        found = awq._error(
            block, target, scale_from, of_readers, True, read[target.source], answered[target.branch], 0.5
        )
        changed = copy.deepcopy(block)
        fold_(changed, target, scale_for(scale_from, 0.5))
        awq._simulate_(changed, of_readers, True)
        run = Block.after_mlp if target.branch == "mlp" else Block.after_attention
        entering = [block.after_attention(x) for x in tokens] if target.branch == "mlp" else tokens
        whole = awq._squared_error([run(changed, x) for x in entering], [run(block, x) for x in entering])
        assert found == pytest.approx(whole, rel=1e-3), target


def test_one_block() -> None:
    edge = edge_vit(depth=1)
    _, groups = search(edge, tokens_of(edge), in_int8(edge), True, 10**6)
    assert len(groups) == 3


@given(st.integers(0, GRID - 1), st.floats(0.1, 10))
def test_search_finds_the_alpha_of_a_valley(best: int, steepness: float) -> None:
    """Of every error that falls to it and rises behind it; alpha 0, which is plain rounding, is always tried."""
    found, errors = _search(lambda alpha: abs(alpha - best / GRID) * steepness)
    assert found == best / GRID
    assert errors[0.0] >= errors[found]
    assert len(errors) <= GRID // 4 + 4


def test_plain_rounding_wins_a_tie() -> None:
    found, _ = _search(lambda alpha: 1.0)
    assert found == 0.0
