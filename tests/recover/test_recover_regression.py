"""Moments of inputs and answers that come in batches, and the closed forms made of them, against numpy."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.recover.regression import Regression, regularized

SEEDS = st.integers(0, 10**6)


def data(seed: int, rows: int, width: int, out: int, offset: float = 1.0) -> tuple[Tensor, Tensor]:
    """Float32, with an answer that hangs on the input, and a mean."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator) @ torch.randn(width, width, generator=generator) + offset
    y = x @ torch.randn(width, out, generator=generator)
    return x, y + torch.randn(y.shape, generator=generator) - 2 * offset


def regression_of(x: Tensor, y: Tensor, sizes: list[int]) -> Regression:
    batches = zip(x.split(sizes), y.split(sizes), strict=True)
    return Regression.over(partial(lambda *batch: batch, *batch) for batch in batches)


@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS,
    width=st.integers(1, 6),
    out=st.integers(1, 4),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_cross_moments(seed: int, width: int, out: int, sizes: list[int]) -> None:
    x, answer = data(seed, sum(sizes), width, out)
    found = regression_of(x, answer, sizes)
    centred, y = x.double() - x.double().mean(0), answer.double()
    torch.testing.assert_close(found.wanted_mean, y.mean(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.cross, (y - y.mean(0)).T @ centred / len(x), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.inputs.covariance, centred.T @ centred / len(x), rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, width=st.integers(1, 6), out=st.integers(1, 4))
def test_without_a_ridge_it_is_least_squares(seed: int, width: int, out: int) -> None:
    """Numpy's, with a column of ones; whatever the weights were."""
    x, y = data(seed, 200, width, out)
    found = regression_of(x, y, [70, 130])
    columns = np.concatenate([x.double().numpy(), np.ones((200, 1))], axis=1)
    expected = np.linalg.lstsq(columns, y.double().numpy(), rcond=None)[0].T
    weight = found.refit(torch.full((out, width), 3.0, dtype=torch.float64), 1e-12)
    answered = x.double() @ weight.T + found.bias(weight)
    np.testing.assert_allclose(answered.numpy(), columns @ expected.T, atol=1e-2 * float(y.abs().max()))


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, width=st.integers(1, 6), out=st.integers(1, 4))
def test_what_restores_the_input_refits_whatever_reads_it(seed: int, width: int, out: int) -> None:
    """As if each reader's answer to the wanted input were fitted by itself."""
    x, wanted = data(seed, 60, width, width)
    weight = torch.randn(out, width, generator=torch.Generator().manual_seed(seed))
    alone = regression_of(x, wanted @ weight.T, [60]).refit(weight.double())
    together = weight.double() @ regression_of(x, wanted, [25, 35]).restoring
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, width=st.integers(1, 6), ridge=st.floats(1e-3, 1e3))
def test_a_ridge_draws_to_the_weights_that_are_there(seed: int, width: int, ridge: float) -> None:
    """As rows of data of their own that ask for the old weights."""
    x, y = data(seed, 100, width, 3)
    old = torch.randn(3, width, generator=torch.Generator().manual_seed(seed)).double()
    found = regression_of(x, y, [40, 60]).refit(old, ridge)
    centred, wanted = x.double() - x.double().mean(0), y.double() - y.double().mean(0)
    pull = (100 * ridge * centred.square().mean()) ** 0.5 * torch.eye(width).double()
    rows = np.concatenate([centred.numpy(), pull.numpy()])
    expected = np.linalg.lstsq(rows, np.concatenate([wanted.numpy(), (pull @ old.T).numpy()]), rcond=None)[0].T
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ridge", [1e-6, 0.1, 10.0])
def test_bias_answers_right_in_the_mean(ridge: float) -> None:
    x, y = data(3, 120, 5, 4)
    found = regression_of(x, y, [50, 70])
    weight = found.refit(torch.zeros(4, 5, dtype=torch.float64), ridge)
    output = x.double() @ weight.T + found.bias(weight)
    torch.testing.assert_close(output.mean(0), y.double().mean(0), rtol=1e-5, atol=1e-5)


def test_a_large_mean_beside_a_small_variance() -> None:
    """In float32 inputs of 1000 +- 0.1: what was planted is found."""
    generator = torch.Generator().manual_seed(0)
    x = 1000 + 0.1 * torch.randn(4000, 6, generator=generator)
    planted = torch.randn(3, 6, generator=generator).double()
    y = ((x.double() - 1000) @ planted.T - 500).float()
    found = regression_of(x, y, [1000] * 4)
    weight = found.refit(torch.zeros(3, 6, dtype=torch.float64), 1e-9)
    torch.testing.assert_close(weight, planted, rtol=5e-3, atol=5e-3)
    assert torch.linalg.eigvalsh(found.inputs.covariance).min() > 0.005


def test_of_some_inputs_alone() -> None:
    x, y = data(0, 50, 6, 3)
    kept = torch.tensor([4, 0, 3])
    found, expected = regression_of(x, y, [50]).of(kept), regression_of(x[:, kept], y, [50])
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).double()
    for actual, wanted in (
        (found.cross, expected.cross),
        (found.inputs.covariance, expected.inputs.covariance),
        (found.inputs.mean, expected.inputs.mean),
        (found.refit(weight), expected.refit(weight)),
        (found.bias(weight), expected.bias(weight)),
    ):
        torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5)


def test_batches_of_any_rank_count_every_token() -> None:
    x, y = data(0, 24, 4, 3)
    flat = regression_of(x, y, [24])
    shaped = Regression.over([lambda: (x.unflatten(0, (2, 3, 4)), y.unflatten(0, (2, 3, 4)))])
    torch.testing.assert_close(shaped.cross, flat.cross)
    assert shaped.inputs.rows == 24


def test_regularized() -> None:
    sigma = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double()
    assert regularized(sigma, 0.5).tolist() == [[5.5, 1.0], [1.0, 3.5]]
    torch.linalg.cholesky(regularized(torch.zeros(2, 2).double(), 0.5))
