"""Models without some of their attentions and MLPs: what is left answers for what is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeflex_tflite import serialize
from edgeflex_tflite.artifacts import BlockCut, Chunks, Dtype, Grid
from edgeflex_tflite.lower.chunk import chunked
from edgeflex_tflite.lower.deploy import with_scales_folded
from edgeflex_tflite.lower.merge import merging, tokens_entering
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.tensors import twin
from edgeflex_tflite.profiling.blocks import Tokens, embed
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.quantize.awq import search
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.kept import KeptBlocks
from tests.prune.test_prune_shapes import GATED, PLAIN, POOLED, edge_vit, error_of, images, plan_for

NO_MLP = {"width": 0}
NO_ATTENTION = {"num_heads": 0, "key_dim": 0, "value_dim": 0}
NO_BLOCK = NO_MLP | NO_ATTENTION
Change = dict[str, int]


def tokens_of(edge: EdgeViT) -> Tokens:
    return embed(edge, images(0, 128).split(32))


def pruned(edge: EdgeViT, changes: list[Change], **options: Any) -> EdgeViT:
    return prune(edge, tokens_of(edge), plan_for(edge, changes), Recipe(**options))[0]


@pytest.mark.parametrize("name", [PLAIN, GATED, POOLED])
@pytest.mark.parametrize(
    ("index", "change"), [(0, NO_MLP), (1, NO_MLP), (2, NO_MLP), (1, NO_ATTENTION), (2, NO_ATTENTION)]
)
def test_without_refit_the_mean_stands_in_its_place(name: str, index: int, change: Change) -> None:
    """To the last bit but rounding: the stream behind it is that of a model that adds the mean there."""
    edge = edge_vit(name, depth=3)
    smaller = pruned(edge, [change if block == index else {} for block in range(3)], refit=False)
    x = y = torch.cat(tokens_of(edge))
    with torch.inference_mode():
        for number, (dense, block) in enumerate(zip(edge.blocks, smaller.blocks, strict=True)):
            half = dense.after_attention(x)
            if number == index and change is NO_ATTENTION:
                half = x + (half - x).mean((0, 1))
            x = dense.after_mlp(half)
            if number == index and change is NO_MLP:
                x = half + (x - half).mean((0, 1))
            y = block(y)
        torch.testing.assert_close(y, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("change", [NO_MLP, NO_ATTENTION, NO_BLOCK])
@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_means_help_and_fits_help_more_on_images_that_were_not_seen(name: str, change: Change) -> None:
    edge = edge_vit(name, depth=3)
    options: list[dict[str, Any]] = [{}, {"refit": False}, {"refit": False, "compensate": "none"}]
    fitted, mean, nothing = (error_of(edge, pruned(edge, [{}, change, {}], **each)) for each in options)
    assert fitted < 0.5 * mean < 0.5 * nothing


@pytest.mark.parametrize("changes", [[NO_MLP, NO_BLOCK, NO_ATTENTION], [{}, NO_BLOCK, NO_BLOCK]])
def test_several_in_a_row_are_taken_over_by_the_last_that_is_left(changes: list[Change]) -> None:
    edge = edge_vit(depth=3)
    smaller = pruned(edge, changes, refit=False)
    x = y = torch.cat(tokens_of(edge))
    with torch.inference_mode():
        for dense, block, change in zip(edge.blocks, smaller.blocks, changes, strict=True):
            x, y = dense(x), block(y)
            assert block.shape.width == change.get("width", dense.shape.width)
        if changes[-1] is NO_BLOCK:
            torch.testing.assert_close(y.mean((0, 1)), x.mean((0, 1)), rtol=1e-3, atol=1e-3)
    left = [site for site in weight_sites(smaller) if site.startswith("blocks.1.")]
    assert not left and not list(smaller.blocks[1].parameters())


def test_blocks_before_the_last_that_is_left_stay_as_they_are() -> None:
    edge = edge_vit(depth=3)
    smaller = pruned(edge, [{}, {}, NO_ATTENTION])
    same = [
        torch.equal(value, smaller.state_dict()[name])
        for name, value in edge.blocks.state_dict(prefix="blocks.").items()
        if name.startswith("blocks.0.") or (name.startswith("blocks.1.") and "fc2" not in name)
    ]
    assert same and all(same)
    assert not torch.equal(edge.blocks[1].mlp.fc2.weight, smaller.blocks[1].mlp.fc2.weight)


MIXED = [{"width": 48}, NO_ATTENTION, NO_BLOCK, {"num_heads": 2} | NO_MLP]


def test_it_is_written_and_read(tmp_path: Path) -> None:
    edge = edge_vit(depth=4)
    smaller = pruned(edge, MIXED)
    serialize.write_model(tmp_path / "model.safetensors", smaller)
    again = serialize.read_model(tmp_path / "model.safetensors", edge)
    assert [block.shape for block in again.blocks] == [block.shape for block in smaller.blocks]
    with torch.inference_mode():
        assert torch.equal(again(images(1, 4)), smaller(images(1, 4)))


class KilledError(Exception):
    """Stands for the kill."""


@pytest.mark.parametrize("finished", [1, 2, 3])
@pytest.mark.parametrize("changes", [MIXED, [{}, NO_BLOCK, {}, NO_MLP], [{}, {}, NO_ATTENTION, {"width": 16}]])
def test_a_pass_that_was_killed_goes_on(tmp_path: Path, changes: list[Change], finished: int) -> None:
    edge = edge_vit(depth=4)
    tokens, plan, kept = tokens_of(edge), plan_for(edge, changes), KeptBlocks[BlockCut](tmp_path, BlockCut)

    def killed(items: Any, caption: str, total: int | None = None) -> Any:
        for number, item in enumerate(items):
            if number == finished:
                raise KilledError
            yield item

    with pytest.raises(KilledError):
        prune(edge, tokens, plan, Recipe(), killed, kept=kept)
    again, cuts = prune(edge, tokens, plan, Recipe(), kept=kept)
    whole, expected = prune(edge, tokens, plan, Recipe())
    assert cuts == expected
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_scales_and_rounding_pass_over_it() -> None:
    edge = edge_vit(depth=4)
    smaller, tokens = pruned(edge, MIXED), tokens_of(edge)
    integer = {site: Grid(8) for site in weight_sites(smaller) if site.startswith("blocks")}
    scaled, groups = search(smaller, tokens, integer, True, 10**4)
    assert {site for group in groups for site in group.sites} <= {*integer}
    with torch.inference_mode():
        torch.testing.assert_close(scaled(images(1, 4)), smaller(images(1, 4)), rtol=1e-3, atol=1e-3)
    dtypes = {site: Dtype.INT8 if site in integer else Dtype.FP32 for site in weight_sites(smaller)}
    rounded, sites = round_weights(scaled, tokens, dtypes, Recipe(), dict.fromkeys(integer, per_token))
    assert {each.site for each in sites} == {*integer}
    assert error_of(smaller, rounded) < 0.05


@pytest.mark.parametrize("chunks", [Chunks(2, 1), Chunks(1, 5), Chunks(3, 7)])
def test_pieces_and_folded_scales_are_the_same_function(chunks: Chunks) -> None:
    smaller = pruned(edge_vit(depth=4), MIXED)
    with torch.inference_mode():
        expected, actual = smaller(images(1, 2)), chunked(with_scales_folded(smaller), chunks)(images(1, 2))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_a_block_without_attention_merges_nothing() -> None:
    smaller = pruned(edge_vit(depth=4), MIXED)
    assert tokens_entering(smaller, 3) == [17, 14, 14, 14]
    changed, seen = merging(smaller, 3), []
    for block in changed.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[-2]))
    with torch.inference_mode():
        assert changed(images(1, 2)).isfinite().all()
    assert seen == [17, 14, 14, 14]


def test_the_dense_model_is_left_alone() -> None:
    edge = edge_vit(depth=3)
    before = twin(edge)
    pruned(edge, [{}, NO_BLOCK, {}])
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in edge.state_dict().items())
    assert all(isinstance(block.attn.proj, nn.Linear) for block in edge.blocks)
