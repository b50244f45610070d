"""The greedy order of heads against re-solving everything after every cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.prune.compensate import ridge
from edgeflex_tflite.prune.heads import channels_of, cut_order, head_error_curve, head_order
from edgeflex_tflite.prune.obs import obs_order
from edgeflex_tflite.prune.statistics import HiddenMoments

SEEDS = st.integers(0, 10**6)


def problem(seed: int, heads: int, dim: int, channels: int = 5) -> tuple[Tensor, Tensor]:
    """Weights, and contexts `float64 [rows, heads * dim]` that are far from independent."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(heads * dim, heads * dim, generator=generator, dtype=torch.float64)
    x = torch.randn(60, heads * dim, generator=generator, dtype=torch.float64) @ mix + 1
    return torch.randn(channels, heads * dim, generator=generator, dtype=torch.float64), x


def least_error(weight: Tensor, hessian: Tensor, kept_heads: list[int], heads: int) -> float:
    """Mean squared output error when the kept columns are solved anew for the dense output, by the normal equations."""
    dim = weight.shape[1] // heads
    kept = channels_of(torch.tensor(kept_heads, dtype=torch.int64), dim)
    solved = torch.linalg.solve(hessian[kept][:, kept], hessian[kept] @ weight.T).T
    difference = weight.clone()
    difference[:, kept] -= solved
    return float((difference @ hessian @ difference.T).trace())


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, heads=st.integers(1, 5), dim=st.integers(1, 3))
def test_each_cut_is_the_cheapest_one_and_costs_what_it_says(seed: int, heads: int, dim: int) -> None:
    weight, x = problem(seed, heads, dim)
    hessian = x.T @ x / len(x)
    order, costs = cut_order(weight, hessian, heads)
    assert sorted(order.tolist()) == list(range(heads))
    kept, error = list(range(heads)), 0.0
    for g, cost in zip(order.tolist(), costs.tolist(), strict=True):
        candidates = {k: least_error(weight, hessian, [h for h in kept if h != k], heads) for k in kept}
        assert candidates[g] == pytest.approx(min(candidates.values()), rel=1e-6, abs=1e-9)
        assert cost == pytest.approx(candidates[g] - error, rel=1e-5, abs=1e-7)
        kept.remove(g)
        error = candidates[g]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, columns=st.integers(1, 8))
def test_groups_of_one_are_neurons(seed: int, columns: int) -> None:
    weight, x = problem(seed, columns, 1)
    hessian = x.T @ x / len(x)
    order, costs = cut_order(weight, hessian, columns)
    expected_order, expected_costs = obs_order(weight, hessian)
    assert torch.equal(order, expected_order)
    torch.testing.assert_close(costs, expected_costs, rtol=1e-5, atol=1e-7)


def test_a_head_that_repeats_another_goes_first() -> None:
    """However large its own share is."""
    weight, x = problem(0, 4, 2)
    x[:, 4:6] = 3 * x[:, 0:2]
    weight[:, 4:6] = 100
    assert head_order(weight, HiddenMoments([x]), 4)[-1] in (0, 2)
    torch.testing.assert_close(head_order(weight, HiddenMoments([x]), 4).sort().values, torch.arange(4))


def test_channels_of_heads() -> None:
    assert channels_of(torch.tensor([2, 0]), 3).tolist() == [6, 7, 8, 0, 1, 2]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, heads=st.integers(1, 4), dim=st.integers(1, 3))
def test_curve_without_compensation_is_the_measured_error(seed: int, heads: int, dim: int) -> None:
    weight, x = problem(seed, heads, dim)
    order = torch.randperm(heads, generator=torch.Generator().manual_seed(seed))
    curve = head_error_curve(weight, HiddenMoments([x]), order, compensate=False)
    assert curve.shape == (heads + 1,)
    for count in range(heads + 1):
        cut = channels_of(order[heads - count :], dim)
        error = (x[:, cut] @ weight[:, cut].T).square().sum(1).mean().item()
        assert curve[count].item() == pytest.approx(error, rel=1e-6, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, heads=st.integers(2, 4), dim=st.integers(1, 3))
def test_compensated_curve_is_what_the_order_costs(seed: int, heads: int, dim: int) -> None:
    """Of the regularized covariance, in the greedy order: both are the least error that is left."""
    weight, x = problem(seed, heads, dim)
    moments = HiddenMoments([x])
    order = head_order(weight, moments, heads)
    curve = head_error_curve(weight, moments, order, compensate=True)
    hessian = moments.covariance + ridge(moments.covariance, moments.rows) * torch.eye(heads * dim)
    _, costs = cut_order(weight, hessian, heads)
    torch.testing.assert_close(curve[1:], costs.cumsum(0), rtol=1e-6, atol=1e-8)
