"""Surgery: smaller tensors, the right neurons, and the source as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from prune_mlps import moments_of, random_inputs, random_mlp

from edgeflex_tflite.models.edge import Mlp
from edgeflex_tflite.prune.cut import cut_mlp, resize_mlp
from edgeflex_tflite.recipe import CHOICES

ORDER = torch.tensor([5, 0, 3, 1, 4, 2])


def parameters(mlp: Mlp) -> int:
    return sum(parameter.numel() for parameter in mlp.parameters())


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("compensate", CHOICES["compensate"])
@pytest.mark.parametrize("width", [1, 3, 5])
def test_tensors_shrink(gated: bool, compensate: str, width: int) -> None:
    mlp, x = random_mlp(0, 6, gated=gated), random_inputs(0, 20)
    smaller = cut_mlp(mlp, moments_of(mlp, x), ORDER, width, compensate)
    neuron = 5 + 1 + 5 + (5 + 1 if gated else 0)
    assert parameters(mlp) - parameters(smaller) == (6 - width) * neuron
    assert smaller.width == width
    assert smaller(x).shape == mlp(x).shape
    assert (smaller.gate is not None) is gated
    assert not any(parameter.requires_grad for parameter in smaller.parameters())


@pytest.mark.parametrize("gated", [False, True])
def test_first_of_the_order_are_kept_in_their_old_places(gated: bool) -> None:
    mlp, x = random_mlp(0, 6, gated=gated), random_inputs(0, 20)
    smaller = cut_mlp(mlp, moments_of(mlp, x), ORDER, 3, compensate="none")
    kept = [0, 3, 5]
    torch.testing.assert_close(smaller.hidden(x), mlp.hidden(x)[..., kept])
    assert torch.equal(smaller.fc2.weight, mlp.fc2.weight[:, kept])
    assert torch.equal(smaller.fc2.bias, mlp.fc2.bias)


@pytest.mark.parametrize("gated", [False, True])
def test_compensation_changes_fc2_alone(gated: bool) -> None:
    mlp, x = random_mlp(0, 6, gated=gated), random_inputs(0, 20)
    moments = moments_of(mlp, x)
    alone, compensated = (cut_mlp(mlp, moments, ORDER, 3, c) for c in ("none", "ridge"))
    assert torch.equal(alone.hidden(x), compensated.hidden(x))
    assert not torch.equal(alone.fc2.weight, compensated.fc2.weight)
    assert not torch.equal(alone.fc2.bias, compensated.fc2.bias)


def test_the_bias_takes_over_the_mean_of_the_cut() -> None:
    """Then the output is right on average, and nothing but the bias has changed."""
    mlp, x = random_mlp(0, 6), random_inputs(0, 20)
    moments = moments_of(mlp, x)
    alone, shifted = (cut_mlp(mlp, moments, ORDER, 3, c) for c in ("none", "bias"))
    assert torch.equal(alone.fc2.weight, shifted.fc2.weight)
    torch.testing.assert_close(shifted(x).mean((0, 1)), mlp(x).mean((0, 1)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(alone(x).mean((0, 1)), mlp(x).mean((0, 1)), rtol=1e-2)


@pytest.mark.parametrize("compensate", CHOICES["compensate"])
def test_source_is_not_changed(compensate: str) -> None:
    mlp, x = random_mlp(0, 6, gated=True), random_inputs(0, 20)
    before = copy.deepcopy(mlp.state_dict())
    smaller = cut_mlp(mlp, moments_of(mlp, x), ORDER, 6, compensate)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.fill_(9)
    assert all(torch.equal(value, before[key]) for key, value in mlp.state_dict().items())


@pytest.mark.parametrize("compensate", CHOICES["compensate"])
@pytest.mark.parametrize("gated", [False, True])
def test_nothing_cut_is_identical(compensate: str, gated: bool) -> None:
    mlp, x = random_mlp(0, 6, gated=gated), random_inputs(0, 20)
    same = cut_mlp(mlp, moments_of(mlp, x), ORDER, 6, compensate)
    assert all(torch.equal(value, mlp.state_dict()[key]) for key, value in same.state_dict().items())


@pytest.mark.parametrize("gated", [False, True])
def test_resized_mlp_takes_cut_weights(gated: bool) -> None:
    mlp, x = random_mlp(0, 6, gated=gated), random_inputs(0, 20)
    smaller = cut_mlp(mlp, moments_of(mlp, x), ORDER, 4, compensate="ridge")
    resized = resize_mlp(mlp, 4)
    assert resized.width == 4
    resized.load_state_dict(smaller.state_dict(), strict=True)
    assert torch.equal(resized(x), smaller(x))
    assert mlp.width == 6
