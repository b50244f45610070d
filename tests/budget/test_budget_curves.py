"""What a few measurements say of every number of neurons."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.budget.curves import SMALLEST_DIVERGENCE, BlockCurve, divergence_curve, level_curve, relative


def error_of(each: list[float]) -> torch.Tensor:
    """`each[i]` is what cutting the neuron number i adds."""
    return torch.cat([torch.zeros(1), torch.tensor(each)]).double().cumsum(0)


@settings(deadline=None)
@given(
    dense=st.integers(2, 40),
    seed=st.integers(0, 1000),
    probes=st.dictionaries(st.floats(0.01, 1), st.floats(0, 10), min_size=1, max_size=5),
)
def test_divergence_goes_through_what_was_measured_and_never_falls(
    dense: int, seed: int, probes: dict[float, float]
) -> None:
    error = error_of((torch.rand(dense, generator=torch.Generator().manual_seed(seed)) + 0.01).tolist())
    measured = {max(1, round(share * dense)): found for share, found in probes.items()}
    found = divergence_curve(error, measured)
    assert found.shape == error.shape
    assert found[0] == 0
    assert bool((found.diff() >= -1e-9).all())
    most = SMALLEST_DIVERGENCE
    for k in sorted(measured):
        most = max(most, measured[k])
        assert found[k].item() == pytest.approx(most, rel=1e-9)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), low=st.floats(1e-6, 1), factor=st.floats(1, 1e3))
def test_up_to_the_first_measurement_it_follows_the_error(seed: int, low: float, factor: float) -> None:
    error = error_of(torch.rand(12, generator=torch.Generator().manual_seed(seed)).add(0.1).tolist())
    found = divergence_curve(error, {5: low, 9: low * factor})
    torch.testing.assert_close(found[:6], low * error[:6] / error[5])


def test_between_two_measurements_it_grows_exponentially() -> None:
    found = divergence_curve(error_of([1.0, 1.0, 4.0, 4.0, 1.0, 7.0]), {2: 3.0, 5: 24.0})
    torch.testing.assert_close(found, torch.tensor([0.0, 1.5, 3, 6, 12, 24, 24]).double())


def test_a_fall_is_noise() -> None:
    found = divergence_curve(error_of([1.0] * 4), {2: 4.0, 4: 3.0})
    torch.testing.assert_close(found, torch.tensor([0.0, 2, 4, 4, 4]).double())


def test_nothing_measured_costs_nothing() -> None:
    assert divergence_curve(error_of([1.0] * 4), {}).tolist() == [0] * 5


def test_neurons_that_do_nothing_cost_nothing_before_the_first_measurement() -> None:
    found = divergence_curve(torch.zeros(5, dtype=torch.float64), {3: 0.5})
    assert found[:3].tolist() == [0, 0, 0] and found[3] == 0.5


def test_a_measurement_of_zero_is_finite() -> None:
    found = divergence_curve(error_of([1.0] * 4), {2: 0.0, 4: 1.0})
    assert found[3].item() == pytest.approx(math.sqrt(SMALLEST_DIVERGENCE))


def test_cost_of_a_width() -> None:
    curve = BlockCurve(3, error_of([0.5, 1.0, 2.0]), 10 * error_of([0.5, 1.0, 2.0]))
    assert [curve.cost(width) for width in (3, 2, 1, 0)] == [0, 5, 15, 35]


def test_relative_error() -> None:
    assert relative(torch.tensor([0.0, 3.0]).double(), 6.0).tolist() == [0.0, 0.5]
    assert relative(torch.tensor([0.0, 0.0]).double(), 0.0).tolist() == [0.0, 0.0]


@given(dense=st.integers(1, 200), seed=st.integers(0, 1000))
def test_level_curves_are_convex_and_of_the_same_slope_at_the_same_share(dense: int, seed: int) -> None:
    curve, twice = level_curve(dense), level_curve(2 * dense)
    assert curve.dense_width == dense and curve.cost(dense) == 0
    each = curve.divergence.diff()
    assert bool((each > 0).all()) and bool((each.diff() > 0).all())
    torch.testing.assert_close(twice.divergence[::2], 2 * curve.divergence)
