"""Which heads to cut, one after the other, each time the one whose loss the others can best make up for.

Optimal Brain Surgeon for groups of columns (ZipLM, arXiv 2302.04089): with H the second moments of what proj reads and
every kept column of W always re-solved for the output that it had, cutting head g costs
`tr(W_g [(H^-1)_gg]^-1 W_g^T)`, after which `W <- W - W_g [(H^-1)_gg]^-1 (H^-1)_g:` and
`H^-1 <- H^-1 - (H^-1)_:g [(H^-1)_gg]^-1 (H^-1)_g:`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeflex_tflite.prune.compensate import error_curve, ridge
from edgeflex_tflite.prune.statistics import Moments, plus_diagonal


def head_order(weight: Tensor, moments: Moments, num_heads: int) -> Tensor:
    """Heads from the most to the least important, `int64 [heads]`.

    Args:
        weight: proj's, `[channels, heads * d]`.
        moments: of what it reads.
        num_heads: number of heads.
    """
    sigma = moments.covariance
    hessian = plus_diagonal(sigma, ridge(sigma, moments.rows))
    return cut_order(weight.double(), hessian, num_heads)[0].flip(0)


def cut_order(weight: Tensor, hessian: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Greedy order of cutting groups of columns, all of one size, and what each cut costs.

    Args:
        weight: `float64 [channels, p]`.
        hessian: second moments of its input, `float64 [p, p]`, positive definite.
        groups: how many; group g is the columns from `g p / groups` on.

    Returns:
        `int64 [groups]`, from the first cut to the last; `float64 [groups]`, by how much the mean squared output error
        grows with each.
    """
    W, inverse = weight, torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    columns = torch.arange(len(hessian)).unflatten(0, (groups, -1))
    left, order, costs = list(range(groups)), [], []
    while left:
        cost = {g: _cost(W[:, columns[g]], inverse[columns[g]][:, columns[g]]) for g in left}
        g = min(left, key=lambda group: cost[group])
        own = columns[g]
        step = torch.linalg.solve(inverse[own][:, own], inverse[own])
        W, inverse = W - W[:, own] @ step, inverse - inverse[:, own] @ step
        left.remove(g)
        order.append(g)
        costs.append(cost[g])
    return torch.tensor(order), torch.tensor(costs, dtype=torch.float64)


def _cost(W: Tensor, inverse: Tensor) -> float:
    """`tr(W inverse^-1 W^T)`."""
    return (torch.linalg.solve(inverse, W.T) * W.T).sum().item()


def channels_of(heads: Tensor, dim: int) -> Tensor:
    """Channels of the given heads, `int64 [len(heads) * dim]`, in their order."""
    return (heads[:, None] * dim + torch.arange(dim)).flatten()


def head_error_curve(weight: Tensor, moments: Moments, order: Tensor, compensate: bool) -> Tensor:
    """Mean squared output error for every number of heads cut, last of `order` first: `float64 [heads + 1]`."""
    dim = weight.shape[1] // len(order)
    return error_curve(weight, moments, channels_of(order, dim), "ridge" if compensate else "none")[::dim]
