"""A pass over the blocks that was killed goes on behind the last finished one, and makes the same model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeflex_tflite.artifacts import AwqGroup, BlockCut, BlockShape, Dtype, Grid, PrunePlan, RoundedSite
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import Progress, Tokens, embed, no_progress
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.quantize import awq, solve
from edgeflex_tflite.quantize.awq import search
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.kept import KeptBlocks
from tests.conftest import random_vit

Made = tuple[EdgeViT, Any]
Pass = Callable[[EdgeViT, Tokens, Progress, Path | None], Made]
BLOCKS = 4


def pruned(edge: EdgeViT, tokens: Tokens, progress: Progress, folder: Path | None) -> Made:
    """Neurons of one block and heads of another; refitting begins behind the first of them."""
    cuts = [BlockCut(96, 96, None, None) for _ in range(BLOCKS)]
    cuts[1] = BlockCut(48, 96, None, None)
    cuts[2] = BlockCut(64, 96, None, None, shape=BlockShape(64, 2, 8, 8))
    plan = PrunePlan(tuple(cuts), 100, 10)
    smaller, done = prune(edge, tokens, plan, Recipe(), progress, kept=KeptBlocks(folder, BlockCut))
    return smaller, done.cuts


def searched(edge: EdgeViT, tokens: Tokens, progress: Progress, folder: Path | None) -> Made:
    kept = KeptBlocks[list[AwqGroup]](folder, list[AwqGroup])
    return search(edge, tokens, integers(edge), True, 10**6, progress, kept)


def rounded(edge: EdgeViT, tokens: Tokens, progress: Progress, folder: Path | None) -> Made:
    dtypes = {site: Dtype.INT4 if site in integers(edge) else Dtype.FP32 for site in weight_sites(edge)}
    kept = KeptBlocks[list[RoundedSite]](folder, list[RoundedSite])
    inputs = dict.fromkeys(integers(edge), per_token)
    return round_weights(edge, tokens, dtypes, Recipe(), inputs, progress, kept)


def integers(edge: EdgeViT) -> dict[str, Grid]:
    return {site: Grid(4) for site in weight_sites(edge) if site.startswith("blocks")}


class KilledError(Exception):
    """Stands for the kill."""


def killed_before(block: int) -> Progress:
    def progress(items: Any, caption: str, total: int | None = None) -> Any:
        for index, item in enumerate(items):
            if index == block:
                raise KilledError
            yield item

    return progress


@pytest.fixture
def edge() -> EdgeViT:
    return to_edge_form(random_vit(embed_dim=24, depth=BLOCKS))


@pytest.fixture
def tokens(edge: EdgeViT) -> Tokens:
    images = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return embed(edge, images.split(4))


def weights(model: EdgeViT) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.mark.parametrize("block", [0, 1, 3])
@pytest.mark.parametrize("run", [pruned, searched, rounded])
def test_the_same_model_as_without_a_kill(run: Pass, block: int, edge: EdgeViT, tokens: Tokens, tmp_path: Path) -> None:
    expected, said = run(edge, tokens, no_progress, None)
    with pytest.raises(KilledError):
        run(edge, tokens, killed_before(block), tmp_path / "kept")
    found, said_again = run(edge, tokens, no_progress, tmp_path / "kept")
    assert said_again == said
    assert weights(found).keys() == weights(expected).keys()
    assert all(torch.equal(tensor, weights(expected)[name]) for name, tensor in weights(found).items())
    assert [type(module) for module in found.modules()] == [type(module) for module in expected.modules()]


@pytest.mark.parametrize("run", [pruned, searched, rounded])
def test_finished_blocks_are_not_treated_again(
    run: Pass, edge: EdgeViT, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KilledError):
        run(edge, tokens, killed_before(3), tmp_path)
    treated: list[str] = []

    def watched(module: Any, name: str, key: Callable[..., str]) -> None:
        work = getattr(module, name)

        def recorded(*arguments: Any, **options: Any) -> Any:
            treated.append(key(*arguments))
            return work(*arguments, **options)

        monkeypatch.setattr(module, name, recorded)

    watched(awq, "search_block_", lambda block, tokens, prefix, *rest: prefix)
    watched(solve._Rounding, "round", lambda self, *rest: "rounded")
    monkeypatch.setattr("edgeflex_tflite.prune.sweep.refit_", lambda stage: treated.append(stage.sites[0]))
    run(edge, tokens, no_progress, tmp_path)
    assert sorted(set(treated)) in (
        [f"blocks.3.{path}" for path in ("attn.proj", "attn.q", "mlp.fc1", "mlp.fc2")] + ["head"],
        ["blocks.3"],
        ["rounded"],
    )
    assert len(treated) in (1, 5, 6)


def test_a_block_counts_from_its_last_file_on(edge: EdgeViT, tmp_path: Path) -> None:
    """A kill between its two files leaves weights that nothing is said about."""
    kept = KeptBlocks[int](tmp_path / "kept", int)
    written = kept.keep(0, edge.blocks[0], 7)
    block, said = kept.restore(0, edge.blocks[0]) or (None, None)
    assert block is not None
    assert said == 7
    for tensor, same, original in zip(*(each.parameters() for each in (written, block, edge.blocks[0])), strict=True):
        assert torch.equal(tensor, original)
        assert torch.equal(same, original)
        assert tensor.data_ptr() != original.data_ptr(), "the original need not stay in memory"
    (tmp_path / "kept" / "0.json").unlink()
    assert kept.restore(0, edge.blocks[0]) is None


def test_nothing_is_kept_without_a_folder(edge: EdgeViT) -> None:
    kept = KeptBlocks[int](None, int)
    assert kept.keep(0, edge.blocks[0], 7) is edge.blocks[0]
    assert kept.restore(0, edge.blocks[0]) is None
