"""Rounding column after column, against least squares solved anew after each, and against plain rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.quantize import gptq as module
from edgeflex_tflite.quantize.gptq import RELATIVE_DAMPING, Curvature, gptq
from edgeflex_tflite.quantize.rounding import clipped_steps, levels, of_columns, on_grid, round_weight

SEEDS = st.integers(0, 10**6)
BITS = st.sampled_from([4, 8])


def inputs(seed: int, rows: int, columns: int, rank: int | None = None) -> Tensor:
    """Correlated, of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.empty(columns).uniform_(-1, 1, generator=generator)
    rank = rank or columns
    mixing = torch.randn(rank, columns, generator=generator)
    noise = 0.1 * torch.randn(rows, columns, generator=generator)
    return ((torch.randn(rows, rank, generator=generator) @ mixing + noise) * scale).double()


def problem(seed: int, out: int, columns: int) -> tuple[Tensor, Tensor]:
    weight = torch.randn(out, columns, generator=torch.Generator().manual_seed(seed + 1)).double()
    x = inputs(seed, 4 * columns, columns)
    return weight, x.T @ x / len(x)


def loss(rounded: Tensor, weight: Tensor, hessian: Tensor) -> float:
    error = rounded - weight
    return ((error @ hessian) * error).sum().item()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, columns=st.integers(1, 12), size=st.sampled_from([1e-30, 1.0, 1e30]))
def test_the_factor_of_the_inverse(seed: int, columns: int, size: float) -> None:
    """Upper, and times its transpose the inverse; of any scale, which float32 alone would not hold."""
    H = damped(problem(seed, 1, columns)[1])
    U = module._factor_of_inverse(size * H).double()
    assert torch.equal(U, U.triu())
    expected = torch.linalg.inv(H / H.diagonal().mean())
    torch.testing.assert_close(U.T @ U, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def damped(hessian: Tensor) -> Tensor:
    return hessian + RELATIVE_DAMPING * hessian.diagonal().mean() * torch.eye(len(hessian)).double()


def by_least_squares(weight: Tensor, hessian: Tensor, bits: int, block: int = 0) -> Tensor:
    """Round one column; solve all that are left for what the whole row should answer; go on with the next one."""
    H = damped(hessian)
    step = of_columns(clipped_steps(weight, H, bits, block), len(H))
    order = sorted(range(len(H)), key=lambda j: -H[j, j].item())
    rounded = torch.zeros_like(weight)
    for count, j in enumerate(order):
        done, free = order[:count], order[count:]
        # minimize |(w - q) H^1/2| over q[free], given q[done]
        owed = weight[:, free] @ H[free][:, free] + (weight[:, done] - rounded[:, done]) @ H[done][:, free]
        best = torch.linalg.solve(H[free][:, free], owed.T).T
        rounded[:, j] = on_grid(best[:, 0], step[:, j], bits)
    return rounded


@settings(deadline=None, max_examples=50)
@given(seed=SEEDS, out=st.integers(1, 4), columns=st.integers(1, 12), bits=BITS)
def test_it_is_least_squares_after_every_column(seed: int, out: int, columns: int, bits: int) -> None:
    weight, hessian = problem(seed, out, columns)
    torch.testing.assert_close(gptq(weight, Curvature.of(hessian), bits), by_least_squares(weight, hessian, bits))


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, out=st.integers(1, 4), blocks=st.integers(1, 4), block=st.integers(1, 5))
def test_each_weight_has_the_step_of_its_block(seed: int, out: int, blocks: int, block: int) -> None:
    """Whatever the order in which columns are rounded."""
    weight, hessian = problem(seed, out, blocks * block)
    found = gptq(weight, Curvature.of(hessian), 4, block)
    torch.testing.assert_close(found, by_least_squares(weight, hessian, 4, block))
    integers = found / of_columns(clipped_steps(weight, damped(hessian), 4, block), blocks * block)
    torch.testing.assert_close(integers, integers.round())
    assert integers.abs().max() <= levels(4) + 1e-9


@pytest.mark.parametrize("columns", [1, 3, 7, 64])
def test_how_many_columns_go_together_changes_nothing(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hessian = problem(1, 5, 20)
    monkeypatch.setattr(module, "COLUMNS", columns)
    torch.testing.assert_close(gptq(weight, Curvature.of(hessian), 4), by_least_squares(weight, hessian, 4))


def test_more_columns_than_go_together() -> None:
    weight, hessian = problem(2, 3, 150)
    torch.testing.assert_close(gptq(weight, Curvature.of(hessian), 4), by_least_squares(weight, hessian, 4))


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, out=st.integers(24, 32), columns=st.integers(16, 40), bits=BITS)
def test_it_loses_less_than_plain_rounding_with_the_same_steps(seed: int, out: int, columns: int, bits: int) -> None:
    """Of the loss that it looks at, over several rows: a greedy choice may lose a single one."""
    weight, hessian = problem(seed, out, columns)
    H = damped(hessian)
    plain = on_grid(weight, clipped_steps(weight, H, bits), bits)
    assert loss(gptq(weight, Curvature.of(hessian), bits), weight, H) <= loss(plain, weight, H)


@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, out=st.integers(1, 5), columns=st.integers(1, 20), bits=BITS)
def test_values_lie_on_the_grid_of_their_row(seed: int, out: int, columns: int, bits: int) -> None:
    weight, hessian = problem(seed, out, columns)
    integers = gptq(weight, Curvature.of(hessian), bits) / clipped_steps(weight, damped(hessian), bits)
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=1e-9)
    assert integers.abs().max() <= levels(bits) + 1e-9


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, columns=st.integers(1, 20), bits=BITS)
def test_without_correlation_it_is_plain_rounding(seed: int, columns: int, bits: int) -> None:
    weight, _ = problem(seed, 3, columns)
    identity = torch.eye(columns).double()
    assert torch.equal(
        gptq(weight, Curvature.of(identity), bits), on_grid(weight, clipped_steps(weight, identity, bits), bits)
    )


@pytest.mark.parametrize(("bits", "share"), [(4, 0.5), (8, 0.6)])
@pytest.mark.parametrize("seed", range(3))
def test_correlated_inputs_that_were_not_seen(seed: int, bits: int, share: float) -> None:
    """64 channels that are mixtures of 8: the output's error falls to a part of that of plain rounding."""
    weight, _ = problem(seed, 16, 64)
    seen, unseen = inputs(seed, 1200, 64, rank=8).split(600)
    rounded = gptq(weight, Curvature.of(seen.T @ seen / len(seen)), bits)
    errors = [(unseen @ (each - weight).T).square().mean().item() for each in (rounded, round_weight(weight, bits))]
    assert errors[0] < share * errors[1]


def test_weights_on_the_grid_stay() -> None:
    _, hessian = problem(0, 3, 10)
    weight = torch.randint(-7, 8, (3, 10), generator=torch.Generator().manual_seed(0)).double()
    weight[:, 0] = 7
    torch.testing.assert_close(gptq(0.3 * weight, Curvature.of(hessian), 4), 0.3 * weight)


@pytest.mark.parametrize(
    "hessian", [torch.zeros(6, 6), torch.ones(6, 6), torch.diag(torch.tensor([1.0, 0, 0, 0, 0, 9]))]
)
def test_inputs_without_variance(hessian: Tensor) -> None:
    weight = problem(0, 3, 6)[0]
    weight[1] = 0
    rounded = gptq(weight, Curvature.of(hessian.double()), 4)
    assert rounded.isfinite().all() and not rounded[1].any()


def test_inputs_are_not_changed() -> None:
    weight, hessian = problem(0, 3, 10)
    before = weight.clone(), hessian.clone()
    gptq(weight, Curvature.of(hessian), 4)
    assert torch.equal(weight, before[0]) and torch.equal(hessian, before[1])
