"""The kept neurons take over: never worse than cutting alone, exact where the cut ones were combinations of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_mlps import moments_of, output_error, random_inputs, random_mlp
from torch import Tensor, nn

from edgeflex_tflite.prune import compensate as module
from edgeflex_tflite.prune.compensate import SMALLEST_RELATIVE_RIDGE, compensation, error_curve, ridge
from edgeflex_tflite.prune.cut import cut_mlp
from edgeflex_tflite.prune.score import SCORES, keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.recipe import CHOICES

MLPS = {
    "seed": st.integers(0, 10**6),
    "width": st.integers(2, 14),
    "tokens": st.integers(1, 40),
    "gated": st.booleans(),
    "score": st.sampled_from(sorted(SCORES)),
}


@settings(deadline=None, max_examples=100)
@given(**MLPS, share=st.floats(0, 0.99))
def test_never_worse_than_cutting_alone(
    seed: int, width: int, tokens: int, gated: bool, score: str, share: float
) -> None:
    mlp, x = random_mlp(seed, width, gated=gated), random_inputs(seed, tokens)
    moments = moments_of(mlp, x)
    order, kept = keep_order(mlp, moments, score), max(1, int(share * width))
    alone, compensated = (output_error(mlp, cut_mlp(mlp, moments, order, kept, c), x) for c in ("none", "ridge"))
    assert compensated <= alone * (1 + 1e-5) + 1e-9


def test_compensation_wins_where_neurons_correlate() -> None:
    """The property above would also hold if compensation did nothing."""
    mlp, x = random_mlp(3, 16), random_inputs(3, 200)
    moments = moments_of(mlp, x)
    order = keep_order(mlp, moments, "energy")
    alone, compensated = (output_error(mlp, cut_mlp(mlp, moments, order, 8, c), x) for c in ("none", "ridge"))
    assert compensated < 0.3 * alone


@pytest.mark.parametrize(("relative_ridge", "left"), [(None, 1e-3), (1e-12, 1e-10)])
@pytest.mark.parametrize("gated", [False, True])
def test_combinations_of_kept_neurons_are_recovered(
    monkeypatch: pytest.MonkeyPatch, relative_ridge: float | None, left: float, gated: bool
) -> None:
    """Four neurons that are weighted sums of four others, plus a constant, are cut; a share of error is `left`."""
    mlp = random_mlp(1, 8, channels=6, gated=gated, act=nn.Identity())
    with torch.no_grad():
        mlp.fc1.weight[4:] = torch.randn(4, 4) @ mlp.fc1.weight[:4]
        mlp.fc1.bias[4:] = 3
        if mlp.gate is not None:
            mlp.gate.weight.zero_()
            mlp.gate.bias.fill_(2)
    if relative_ridge is not None:
        monkeypatch.setattr(module, "ridge", lambda sigma, _: relative_ridge * sigma.trace().item() / len(sigma))
    x = torch.randn(2, 3000, 6)
    moments, order = moments_of(mlp, x), torch.arange(8)
    alone, compensated = (output_error(mlp, cut_mlp(mlp, moments, order, 4, c), x) for c in ("none", "ridge"))
    assert compensated <= left * alone


def test_constant_neurons_move_into_the_bias() -> None:
    mlp, x = random_mlp(1, 4), random_inputs(1, 50)
    with torch.no_grad():
        mlp.fc1.weight[2:] = 0
        mlp.fc1.bias[2:] = 7
    moments = moments_of(mlp, x)
    smaller = cut_mlp(mlp, moments, torch.arange(4), 2, compensate="ridge")
    torch.testing.assert_close(smaller(x), mlp(x), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), neurons=st.integers(2, 9), rows=st.integers(1, 50))
def test_solves_the_ridge_regression(seed: int, neurons: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, neurons, generator=generator) @ torch.randn(neurons, neurons, generator=generator) + 1
    moments = HiddenMoments([x])
    order = torch.randperm(neurons, generator=generator)
    kept, cut = order[: neurons // 2 + 1], order[neurons // 2 + 1 :]
    B, c = compensation(torch.eye(len(cut)).double(), moments, kept, cut)
    assert B.shape == (len(cut), len(kept)) and c.shape == (len(cut),)
    centred = x.double() - x.double().mean(0)
    penalty = (rows * ridge(moments.covariance, rows)) ** 0.5
    given_x = torch.cat([centred[:, kept], penalty * torch.eye(len(kept), dtype=torch.float64)]).numpy()
    wanted = torch.cat([centred[:, cut], torch.zeros(len(kept), len(cut), dtype=torch.float64)]).numpy()
    expected, *_ = np.linalg.lstsq(given_x, wanted, rcond=None)
    np.testing.assert_allclose(B.numpy(), expected.T, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose((B @ moments.mean[kept] + c).numpy(), moments.mean[cut].numpy(), rtol=1e-9, atol=1e-9)
    for channels in (1, neurons):  # fewer than are cut, and more
        weight = torch.randn(channels, len(cut), generator=generator, dtype=torch.float64)
        taken_over, shift = compensation(weight, moments, kept, cut)
        torch.testing.assert_close(taken_over, weight @ B)
        torch.testing.assert_close(shift, weight @ c)


@settings(deadline=None, max_examples=40)
@given(**MLPS)
def test_curve_is_the_measured_error(seed: int, width: int, tokens: int, gated: bool, score: str) -> None:
    """With `ridge`, plus what the ridge adds: `lambda (||W_P||^2 + ||W_P B||^2)`."""
    mlp, x = random_mlp(seed, width, gated=gated), random_inputs(seed, tokens)
    moments = moments_of(mlp, x)
    order = keep_order(mlp, moments, score)
    hidden, weight = mlp.hidden(x).flatten(0, -2).double(), mlp.fc2.weight.double()
    added = ridge(moments.covariance, moments.rows)
    curves = {c: error_curve(mlp.fc2.weight, moments, order, c) for c in CHOICES["compensate"]}
    assert all(curve.shape == (width + 1,) and curve[0] == 0 for curve in curves.values())
    for count in range(1, width + 1):
        kept, cut = order[: width - count], order[width - count :]
        W = weight[:, cut]
        for compensate, shift in (("none", 0), ("bias", moments.mean[cut])):
            measured = mean_square((hidden[:, cut] - shift) @ W.T)
            assert curves[compensate][count].item() == pytest.approx(measured, rel=1e-4, abs=1e-6)
        if len(kept) == 0:
            B, c = torch.zeros(len(cut), 0, dtype=torch.float64), moments.mean[cut]
        else:
            B, c = compensation(torch.eye(len(cut)).double(), moments, kept, cut)
        measured = mean_square((hidden[:, cut] - hidden[:, kept] @ B.T - c) @ W.T)
        expected = measured + added * (W.square().sum() + (W @ B).square().sum()).item()
        assert curves["ridge"][count].item() == pytest.approx(expected, rel=1e-3, abs=1e-6)


def mean_square(error: Tensor) -> float:
    return error.square().sum(1).mean().item()


def test_compensated_curve_never_falls() -> None:
    mlp, x = random_mlp(2, 12), random_inputs(2, 30)
    moments = moments_of(mlp, x)
    curve = error_curve(mlp.fc2.weight, moments, torch.arange(12), compensate="ridge")
    assert (curve.diff() >= 0).all()


def test_ridge_golden() -> None:
    """p = 2, variances 3 and 1, n = 8: numerator 16, denominator 8 (10 - 8), so all of it is shrunk."""
    covariance = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert ridge(covariance, 8) == pytest.approx(1.0 * 2)
    assert ridge(covariance, 80) == pytest.approx(16 / 160 * 2)


def test_ridge_of_many_samples_is_the_smallest() -> None:
    covariance = torch.diag(torch.tensor([3.0, 1.0], dtype=torch.float64))
    assert ridge(covariance, 10**9) == pytest.approx(SMALLEST_RELATIVE_RIDGE * 2)


@pytest.mark.parametrize("covariance", [torch.zeros(3, 3), torch.eye(3) * 5, torch.eye(1) * 2, torch.ones(3, 3)])
@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_ridge_is_never_zero(covariance: Tensor, rows: int) -> None:
    found = ridge(covariance.double(), rows)
    assert 0 < found <= max(covariance.trace().item(), 1e-300)


def test_dead_neurons_can_be_compensated() -> None:
    moments = HiddenMoments([torch.zeros(5, 4)])
    B, c = compensation(torch.eye(2).double(), moments, torch.tensor([0, 1]), torch.tensor([2, 3]))
    assert not B.any() and not c.any()
    assert error_curve(torch.ones(2, 4), moments, torch.arange(4), compensate="ridge").max() < 1e-300


def test_neurons_far_from_zero_can_be_factored() -> None:
    x = torch.randn(900, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0], x[:, 3] = 1000 + 0.1 * x[:, 0], -700 + 0.01 * x[:, 3]
    curve = error_curve(torch.ones(2, 8), HiddenMoments(x.split(300)), torch.arange(8), compensate="ridge")
    assert curve.isfinite().all()
