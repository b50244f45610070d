"""The cut itself: planned shapes, measured errors, and what it was cut from as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from edgeflex_tflite.artifacts import BlockCut, PrunePlan
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import Tokens, advance, embed
from edgeflex_tflite.prune import sweep
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.recipe import CHOICES, SCORES_WITH_LABELS, Recipe
from edgeflex_tflite.recover.walk import walk
from tests.conftest import random_vit

GATED = "vit_giant_patch14_dinov2"
PLAIN = "vit_tiny_patch16_224"


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"embed_dim": 24} | options)))


def images() -> list[Tensor]:
    return list(torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(4)).split(4))


def plan_for(edge: EdgeViT, widths: list[int]) -> PrunePlan:
    pairs = zip(widths, edge.blocks, strict=True)
    return PrunePlan(tuple(BlockCut(width, block.mlp.width, 0.5, 0.25) for width, block in pairs), 100, 10)


def parameters(edge: EdgeViT) -> int:
    return sum(parameter.numel() for parameter in edge.parameters())


def squared(tokens: Tokens) -> float:
    return sum(x.double().square().sum().item() for x in tokens)


@pytest.mark.parametrize(("name", "neuron", "dense"), [(PLAIN, 24 + 1 + 24, 96), (GATED, 2 * 25 + 24, 64)])
@pytest.mark.parametrize("compensate", CHOICES["compensate"])
def test_planned_widths_are_cut(name: str, neuron: int, dense: int, compensate: str) -> None:
    edge = edge_vit(name)
    before = copy.deepcopy(edge.state_dict())
    widths = [32, dense, 16]
    smaller, plan = prune(edge, embed(edge, images()), plan_for(edge, widths), Recipe(compensate=compensate))
    assert [block.mlp.width for block in smaller.blocks] == widths == list(plan.widths)
    assert parameters(edge) - parameters(smaller) == (3 * dense - sum(widths)) * neuron
    assert [block.mlp.width for block in edge.blocks] == [dense] * 3
    assert all(torch.equal(value, before[key]) for key, value in edge.state_dict().items())
    assert smaller(images()[0]).shape == (4, 10)


def test_plan_is_filled_in() -> None:
    edge = edge_vit()
    _, plan = prune(edge, embed(edge, images()), plan_for(edge, [48, 96, 48]), Recipe())
    assert (plan.predicted_weights_bytes, plan.predicted_arena_bytes) == (100, 10)
    assert all((cut.predicted_error, cut.predicted_divergence, cut.dense_width) == (0.5, 0.25, 96) for cut in plan.cuts)
    assert plan.cuts[1].error is None and plan.cuts[1].error_cut_alone is None
    for cut in (plan.cuts[0], plan.cuts[2]):
        assert cut.error is not None and cut.error_cut_alone is not None
        assert 0 < cut.error < cut.error_cut_alone


@pytest.mark.parametrize("compensate", CHOICES["compensate"])
def test_errors_are_measured_on_the_cut_prefix(compensate: str) -> None:
    edge = edge_vit()
    tokens = embed(edge, images())
    recipe = Recipe(compensate=compensate, refit=False)
    smaller, plan = prune(edge, tokens, plan_for(edge, [48, 32, 96]), recipe)
    for dense, cut, planned in zip(edge.blocks, smaller.blocks, plan.cuts, strict=True):
        expected, actual = advance(dense, tokens), advance(cut, tokens)
        differences = [a - e for a, e in zip(actual, expected, strict=True)]
        written = [dense.mlp(dense.norm2(dense.after_attention(x))) for x in tokens]
        measured = squared(differences) / squared(written)
        assert (planned.error or 0.0) == pytest.approx(measured, rel=1e-4, abs=1e-12)
        tokens = actual
    assert (compensate != "none") is (plan.cuts[0].error != plan.cuts[0].error_cut_alone)


def test_nothing_to_cut() -> None:
    edge = edge_vit()
    same, plan = prune(edge, embed(edge, images()), plan_for(edge, [96, 96, 96]), Recipe())
    assert all(torch.equal(value, edge.state_dict()[key]) for key, value in same.state_dict().items())
    assert plan == plan_for(edge, [96, 96, 96])


def test_pruning_twice_gives_the_same() -> None:
    edge = edge_vit()
    one, other = (prune(edge, embed(edge, images()), plan_for(edge, [48, 32, 16]), Recipe())[0] for _ in range(2))
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_score_decides_who_stays() -> None:
    edge = edge_vit(depth=1)
    kept = {}
    for score in ("energy", "mean_abs", "magnitude"):
        recipe = Recipe(prune_score=score, compensate="none")
        smaller, _ = prune(edge, embed(edge, images()), plan_for(edge, [48]), recipe)
        kept[score] = smaller.blocks[0].mlp.fc1.bias.tolist()
    assert kept["energy"] != kept["mean_abs"] != kept["magnitude"] != kept["energy"]


def test_one_block() -> None:
    edge = edge_vit(depth=1, mlp_ratio=2)
    tokens = embed(edge, images())
    smaller, plan = prune(edge, tokens, plan_for(edge, [16]), Recipe())
    assert smaller.blocks[0].mlp.width == 16 == plan.widths[0]


@pytest.mark.parametrize("score", ["magnitude", "energy"])
def test_without_a_refit_the_dense_model_is_not_run_beside(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_vit()
    tokens, plan = embed(edge, images()), plan_for(edge, [48, 32, 16])
    compared = []

    def watched(*given: Any, compare: bool = True) -> None:
        compared.append(compare)
        walk(*given, compare=True)  # and it would change nothing

    alone, planned = prune(edge, tokens, plan, Recipe(prune_score=score, refit=False))
    monkeypatch.setattr(sweep, "walk", watched)
    beside, same = prune(edge, tokens, plan, Recipe(prune_score=score, refit=False))
    prune(edge, tokens, plan, Recipe(prune_score=score))
    assert compared == [False, True] and planned == same
    assert all(torch.equal(value, beside.state_dict()[key]) for key, value in alone.state_dict().items())


def test_progress_sees_every_block() -> None:
    seen: list[tuple[int, str]] = []

    def progress(items: Any, caption: str, total: int | None = None) -> Any:
        seen.append((len(items), caption))
        return items

    edge = edge_vit()
    tokens = embed(edge, images())
    prune(edge, tokens, plan_for(edge, [96, 96, 96]), Recipe(), progress)
    assert seen == [(3, "prune blocks")]


@pytest.mark.parametrize("score", SCORES_WITH_LABELS)
def test_scores_with_labels_decide_who_stays(score: str) -> None:
    edge = edge_vit(depth=2)
    tokens = embed(edge, images())
    recipe = Recipe(prune_score=score, compensate="none", refit=False)
    kept = []
    for labels in (torch.arange(10), torch.zeros(10, dtype=torch.int64)):
        scores = loss_scores(edge, tokens, labels, score)
        smaller, _ = prune(edge, tokens, plan_for(edge, [48, 48]), recipe, labels=labels)
        for dense, cut, found in zip(edge.blocks, smaller.blocks, scores, strict=True):
            expected = found.argsort(descending=True)[:48].sort().values
            assert torch.equal(cut.mlp.fc1.weight, dense.mlp.fc1.weight[expected])
        kept.append(smaller.blocks[0].mlp.fc1.bias.tolist())
    assert kept[0] != kept[1]
