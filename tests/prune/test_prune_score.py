"""What a neuron is worth, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgeflex_tflite.models.edge import Mlp
from edgeflex_tflite.prune.gradients import LOSS_SCORES
from edgeflex_tflite.prune.score import OBS, SCORES, keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.recipe import CHOICES, SCORES_WITH_LABELS


def linear(weight: list[list[float]]) -> nn.Linear:
    rows = torch.tensor(weight)
    new = nn.Linear(rows.shape[1], rows.shape[0])
    with torch.no_grad():
        new.weight.copy_(rows)
        new.bias.fill_(50)
    return new.requires_grad_(False)


FC1 = [[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]
FC2 = [[1.0, 0.0, 6.0], [1.0, 2.0, 8.0]]
GATE = [[0.0, 2.0], [0.0, 0.0], [1.0, 1.0]]
HIDDEN = torch.tensor([[1.0, -2.0, 0.5], [3.0, 2.0, -0.5]])

GOLDEN = [
    ("energy", False, [5 * 2, 4 * 4, 0.25 * 100]),
    ("energy", True, [5 * 2, 4 * 4, 0.25 * 100]),
    ("flap", False, [1 * 2, 4 * 4, 0.25 * 100]),
    ("mean_abs", False, [2, 2, 0.5]),
    ("magnitude", False, [math.sqrt(25 + 2), math.sqrt(1 + 4), math.sqrt(4 + 100)]),
    ("magnitude", True, [math.sqrt(25 + 2 + 4), math.sqrt(1 + 4), math.sqrt(4 + 100 + 2)]),
]


def mlp(gated: bool) -> Mlp:
    return Mlp(linear(FC1), nn.GELU(), linear(FC2), linear(GATE) if gated else None)


@pytest.mark.parametrize(("score", "gated", "expected"), GOLDEN)
def test_golden(score: str, gated: bool, expected: list[float]) -> None:
    found = SCORES[score](mlp(gated), HiddenMoments([HIDDEN]))
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_energy_is_the_error_of_cutting_the_neuron_alone() -> None:
    cut = HIDDEN * torch.tensor([0.0, 1.0, 1.0])
    difference = (HIDDEN - cut) @ torch.tensor(FC2).T
    expected = difference.square().sum(1).mean().item()
    assert SCORES["energy"](mlp(False), HiddenMoments([HIDDEN]))[0].item() == pytest.approx(expected)


@pytest.mark.parametrize(("score", "order"), [("energy", [2, 1, 0]), ("mean_abs", [0, 1, 2]), ("magnitude", [2, 0, 1])])
def test_most_important_first_and_ties_by_index(score: str, order: list[int]) -> None:
    assert keep_order(mlp(False), HiddenMoments([HIDDEN]), score).tolist() == order


def test_many_ties_stay_in_order() -> None:
    """Sorting that is not stable shows from about sixteen equal entries on."""
    same = Mlp(linear([[1.0]] * 100), nn.GELU(), linear([[1.0] * 100]))
    moments = HiddenMoments([torch.ones(2, 100)])
    assert all(keep_order(same, moments, score).tolist() == list(range(100)) for score in SCORES)


def test_obs_keeps_what_the_others_cannot_make_up_for() -> None:
    """Neurons 0 and 2 say the same, 1 says little, but nobody else says it."""
    x = torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    y = torch.randn(500, 1, generator=torch.Generator().manual_seed(1))
    moments = HiddenMoments([torch.cat([x, 0.5 * y, x], dim=1)])
    same = Mlp(linear([[1.0]] * 3), nn.GELU(), linear([[1.0, 1.0, 1.0]]))
    assert keep_order(same, moments, "energy").tolist()[-1] == 1
    assert keep_order(same, moments, "obs").tolist()[-1] != 1


def test_recipe_offers_every_score() -> None:
    assert {*SCORES, OBS, *LOSS_SCORES} == set(CHOICES["prune_score"])
    assert tuple(LOSS_SCORES) == SCORES_WITH_LABELS
