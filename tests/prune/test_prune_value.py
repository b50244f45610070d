"""The order of a head's channels, and the error of cutting them, against direct solutions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_attentions import inputs_of, random_attention, random_tokens
from torch import Tensor

from edgeflex_tflite.prune.attention import context_moments
from edgeflex_tflite.prune.compensate import compensation, ridge
from edgeflex_tflite.prune.statistics import Moments
from edgeflex_tflite.prune.value import principal_channels, rank_order, value_error_curve

SEEDS = st.integers(0, 10**6)


def problem(seed: int, heads: int = 3, dim: int = 4) -> tuple[Tensor, Moments, Tensor]:
    """proj's weights, the moments of what it reads, and that itself, `float64 [rows, heads * dim]`."""
    attn, x = random_attention(seed, heads, dim), random_tokens(seed)
    contexts = torch.cat([attn.context(*pair).flatten(0, 1) for pair in inputs_of(x)])
    return attn.proj.weight.double(), context_moments(attn, inputs_of(x)), contexts.double()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, heads=st.integers(1, 3), dim=st.integers(1, 4))
def test_sorting_the_channels_is_exact(seed: int, heads: int, dim: int) -> None:
    weight, moments, _ = problem(seed, heads, dim)
    T, W = principal_channels(weight, moments.covariance, heads)
    assert T.shape == (heads, dim, dim)
    torch.testing.assert_close(W @ torch.block_diag(*T), weight, rtol=1e-7, atol=1e-7)


def test_channels_that_calibration_lacks_stay_exact() -> None:
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight[:, 1] = weight[:, 0]
    T, W = principal_channels(weight, torch.diag(torch.tensor([1.0, 2, 0, 0], dtype=torch.float64)), 1)
    torch.testing.assert_close(W @ T[0], weight, rtol=1e-6, atol=1e-6)


def test_contexts_that_never_vary_are_no_obstacle() -> None:
    T, W = principal_channels(torch.zeros(6, 4), torch.zeros(4, 4, dtype=torch.float64), 2)
    assert T.isfinite().all() and W.isfinite().all()


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, rank=st.integers(1, 4))
def test_each_head_keeps_the_best_linear_of_its_rank(seed: int, rank: int) -> None:
    """Against the truncated SVD of one head's centred outputs, which no map of that rank can come nearer to."""
    weight, moments, contexts = problem(seed)
    T, W = principal_channels(weight, moments.covariance, 3)
    centred = contexts - contexts.mean(0)
    for head in range(3):
        own = slice(4 * head, 4 * head + 4)
        output = centred[:, own] @ weight[:, own].T
        U, S, Vh = torch.linalg.svd(output, full_matrices=False)
        least = output - U[:, :rank] * S[:rank] @ Vh[:rank]
        found = output - centred[:, own] @ T[head, :rank].T @ W[:, own][:, :rank].T
        size = output.square().sum().item()
        assert found.square().sum().item() == pytest.approx(least.square().sum().item(), rel=1e-3, abs=1e-6 * size)


def test_contexts_and_weights_share_the_scale() -> None:
    weight, moments, _ = problem(0)
    T, W = principal_channels(weight, moments.covariance, 3)
    variances = moments.mapped(torch.block_diag(*T)).covariance.diagonal()
    torch.testing.assert_close(variances, W.square().sum(0), rtol=1e-3, atol=1e-6)


def test_ranks_come_one_after_the_other() -> None:
    assert rank_order(3, 2).tolist() == [0, 2, 4, 1, 3, 5]


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS)
def test_curve_is_the_measured_error(seed: int) -> None:
    """With compensation, plus what the ridge adds: `lambda (||W_P||^2 + ||W_P B||^2)`."""
    weight, moments, contexts = problem(seed)
    T, W = principal_channels(weight, moments.covariance, 3)
    channels = contexts @ torch.block_diag(*T).T
    sorted_moments = moments.mapped(torch.block_diag(*T))
    added = ridge(sorted_moments.covariance, moments.rows)
    alone, compensated = (value_error_curve(weight, moments, 3, c) for c in (False, True))
    assert alone.shape == compensated.shape == (5,)
    assert alone[0] == compensated[0] == 0
    for count in range(1, 4):
        kept, cut = rank_order(3, 4).tensor_split([3 * (4 - count)])
        lost = channels[:, cut] - channels[:, cut].mean(0)
        assert alone[count].item() == pytest.approx(mean_square(lost @ W[:, cut].T), rel=1e-3)
        B, c = compensation(torch.eye(len(cut)).double(), sorted_moments, kept, cut)
        measured = mean_square((channels[:, cut] - channels[:, kept] @ B.T - c) @ W[:, cut].T)
        penalty = added * (W[:, cut].square().sum() + (W[:, cut] @ B).square().sum()).item()
        assert compensated[count].item() == pytest.approx(measured + penalty, rel=1e-3)


def mean_square(error: Tensor) -> float:
    return error.square().sum(1).mean().item()


def test_all_heads_together_do_better_than_each_alone() -> None:
    """Two heads of the same contexts with other weights: what one keeps tells what the other loses."""
    (weight, moments, _), (other, _, _) = problem(0, heads=1), problem(1, heads=1)
    both = Moments(10**6, moments.mean.repeat(2), moments.covariance.repeat(2, 2))
    alone, compensated = (value_error_curve(torch.cat([weight, other], 1), both, 2, c) for c in (False, True))
    assert compensated[2] < 0.3 * alone[2]
