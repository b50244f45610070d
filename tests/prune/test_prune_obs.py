"""The blocked order of cutting against re-solving everything after every cut."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.prune import obs
from edgeflex_tflite.prune.obs import obs_order


def problem(channels: int, p: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights and the second moments of activations that are far from independent."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(p, p, generator=generator, dtype=torch.float64) / p**0.5
    hessian = mix @ mix.T + 0.1 * torch.eye(p, dtype=torch.float64)
    return torch.randn(channels, p, generator=generator, dtype=torch.float64), hessian


def least_error(weight: Tensor, hessian: Tensor, kept: list[int]) -> float:
    """Mean squared output error when the kept columns are solved anew for the dense output."""
    cut = [j for j in range(len(hessian)) if j not in kept]
    W = weight[:, cut]
    schur = hessian[cut][:, cut] - hessian[cut][:, kept] @ torch.linalg.solve(
        hessian[kept][:, kept], hessian[kept][:, cut]
    )
    return float((W @ schur @ W.T).trace())


@settings(max_examples=25, deadline=None)
@given(channels=st.integers(1, 6), p=st.integers(2, 9), seed=st.integers(0, 1000))
def test_each_cut_is_the_cheapest_one_and_costs_what_it_says(channels: int, p: int, seed: int) -> None:
    weight, hessian = problem(channels, p, seed)
    order, costs = obs_order(weight, hessian)
    assert sorted(order.tolist()) == list(range(p))
    kept, error = list(range(p)), 0.0
    for j, cost in zip(order.tolist(), costs.tolist(), strict=True):
        candidates = {k: least_error(weight, hessian, [i for i in kept if i != k]) for k in kept}
        assert candidates[j] == pytest.approx(min(candidates.values()), rel=1e-6, abs=1e-9)
        assert cost == pytest.approx(candidates[j] - error, rel=1e-5, abs=1e-8)
        kept.remove(j)
        error = candidates[j]


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hessian = problem(16, 150, 0)
    orders = []
    for block in (1, 7, 64, 1000):
        monkeypatch.setattr(obs, "BLOCK", block)
        orders.append(obs_order(weight, hessian))
    for order, costs in orders[1:]:
        assert torch.equal(order, orders[0][0])
        torch.testing.assert_close(costs, orders[0][1])


def test_a_neuron_that_repeats_another_is_cut_first() -> None:
    """Its loss can be made up for entirely, however large its own share is."""
    weight, hessian = problem(4, 6, 1)
    x = torch.linalg.cholesky(hessian)
    doubled = torch.cat([x, 3 * x[2:3]])
    hessian = doubled @ doubled.T + 1e-9 * torch.eye(7, dtype=torch.float64)
    weight = torch.cat([weight, 100 * torch.ones(4, 1, dtype=torch.float64)], dim=1)
    order, costs = obs_order(weight, hessian)
    assert order[0] in (2, 6)
    assert costs[0] < 1e-4 * costs[1]


def test_arguments_stay_as_they_are() -> None:
    weight, hessian = problem(3, 20, 2)
    before = weight.clone(), hessian.clone()
    obs_order(weight, hessian)
    assert torch.equal(weight, before[0])
    assert torch.equal(hessian, before[1])
