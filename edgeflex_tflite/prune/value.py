"""Fewer channels for the values of each head, so that the attention's output changes least.

A head's context o is its values averaged by softmax weights that sum to 1, and it adds `W_O o` to the output. Any
invertible T may go between the two, `(W_O T^-1)(T o)`, and `T o` is what values `T v` give. One T sorts the channels:
with G the covariance of o, and `W_O G W_O^T = U S^2 U^T`, the r first channels of `T = S^-1/2 U^T W_O` give the best
output of rank r, `U_r U_r^T W_O o`, which is that of the truncated SVD of `W_O G^1/2`. What is then cut are the last
channels of every head, as neurons of an MLP are: behind them is `W_O T^-1 = U S^1/2`, their mean goes to the bias, and
the kept channels of all heads may take over what they can predict.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeflex_tflite.prune.compensate import error_curve
from edgeflex_tflite.prune.statistics import Moments

RELATIVE_RIDGE = 1e-6
"""Of the mean variance: channels that no calibration token uses stay invertible."""


def principal_channels(weight: Tensor, covariance: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """T of every head `[heads, d, d]`, and proj's weights behind it `[channels, heads * d]`, in float64.

    Args:
        weight: proj's, `[channels, heads * d]`, with at least d channels and of full rank in each head.
        covariance: of what it reads, `float64 [heads * d, heads * d]`.
        num_heads: number of heads.
    """
    W = weight.double().unflatten(1, (num_heads, -1)).movedim(1, 0)
    dim = W.shape[-1]
    within = torch.stack([covariance[h * dim : (h + 1) * dim, h * dim : (h + 1) * dim] for h in range(num_heads)])
    mean_variance = within.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(torch.float64).tiny)
    G = within + RELATIVE_RIDGE * mean_variance[:, None, None] * torch.eye(dim, dtype=torch.float64)
    L = torch.linalg.cholesky(G)
    U, S, Vh = torch.linalg.svd(W @ L, full_matrices=False)
    root = S.sqrt()
    T = torch.linalg.solve_triangular(L, root[..., None] * Vh, upper=False, left=False)
    return T, (U * root[:, None]).movedim(0, 1).flatten(1)


def rank_order(num_heads: int, dim: int) -> Tensor:
    """Channels of all heads from the first kept to the first cut, `int64 [heads * dim]`: rank by rank."""
    return torch.arange(num_heads * dim).unflatten(0, (num_heads, dim)).T.flatten()


def value_error_curve(weight: Tensor, moments: Moments, num_heads: int, compensate: bool) -> Tensor:
    """Mean squared output error for every number of channels that each head loses.

    Args:
        weight: proj's, `[channels, heads * d]`.
        moments: of what it reads.
        num_heads: number of heads.
        compensate: whether the kept channels take over; the bias takes the mean over in either case.

    Returns:
        `float64 [d + 1]`: entry k when k channels of each head are cut.
    """
    T, sorted_weight = principal_channels(weight, moments.covariance, num_heads)
    centred = Moments(moments.rows, torch.zeros_like(moments.mean), moments.covariance)
    order = rank_order(num_heads, T.shape[-1])
    return error_curve(sorted_weight, centred.mapped(torch.block_diag(*T)), order, "ridge" if compensate else "none")[
        ::num_heads
    ]
