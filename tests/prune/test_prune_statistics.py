"""Moments of hidden activations are those that numpy finds for all tokens at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.prune.statistics import HiddenMoments


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5), neurons=st.integers(1, 7), seed=st.integers(0, 10**6))
def test_equal_to_numpy(sizes: list[int], neurons: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    batches = [torch.randn(size, 3, neurons, generator=generator) * 2 + 1 for size in sizes]
    moments = HiddenMoments(batches)
    x = torch.cat(batches).double().numpy().reshape(-1, neurons)
    assert moments.rows == len(x)
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(moments.mean_abs, np.abs(x).mean(0), rtol=1e-6)
    np.testing.assert_allclose(moments.second, x.T @ x / len(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moments.covariance, np.atleast_2d(np.cov(x.T, bias=True)), rtol=1e-5, atol=1e-5)
    assert {moments.mean.dtype, moments.mean_abs.dtype, moments.second.dtype} == {torch.float64}


@pytest.mark.parametrize(("mean", "deviation"), [(1000.0, 0.1), (-700.0, 0.01), (0.0, 1.0)])
def test_large_means_leave_the_variance_alone(mean: float, deviation: float) -> None:
    """Summing squares in single precision loses a variance of 0.01 beside a mean of 1000."""
    x = torch.randn(900, 6, generator=torch.Generator().manual_seed(1))
    x[:, 0] = mean + deviation * x[:, 0]
    covariance = HiddenMoments(x.split(300)).covariance
    np.testing.assert_allclose(covariance, np.cov(x.double().numpy().T, bias=True), rtol=1e-4, atol=1e-6)
    assert torch.linalg.eigvalsh(covariance)[0] > 0


def test_batches_are_not_changed() -> None:
    x = torch.randn(4, 3)
    before = x.clone()
    HiddenMoments([x])
    assert torch.equal(x, before)
