"""Which neurons to cut, one after the other, each time the one whose loss the others can best make up for.

Optimal Brain Surgeon for columns (ZipLM, arXiv 2302.04089): with H the second moments of the hidden activations and
every kept column of W2 always re-solved for the output that it had, cutting neuron j costs
`||w_j||^2 / [H^-1]_jj`, after which `W2 <- W2 - w_j [H^-1]_j: / [H^-1]_jj` and
`H^-1 <- H^-1 - [H^-1]_:j [H^-1]_j: / [H^-1]_jj`. These are steps of a Cholesky factorization of H^-1 whose pivots are
chosen by that cost, so they are done in blocks: inside a block only the columns that are needed are brought up to date.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeflex_tflite import symmetric

BLOCK = 128
"""Neurons that are cut between two updates of the whole matrices."""


def obs_order(weight: Tensor, hessian: Tensor, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Greedy order of cutting, and what each cut costs.

    Args:
        weight: fc2's, `[channels, p]`; the elimination is done in its dtype.
        hessian: second moments of its input, `float64 [p, p]`, positive definite; it is factored in float64, so that
            the factor's own dtype may be narrower: its condition is the root of the matrix's.
        count: how many to cut; None: all p.

    Returns:
        `int64 [count]`, neurons from the first cut to the last; `float64 [count]`, by how much the mean squared output
        error grows with each.
    """
    count = len(hessian) if count is None else count
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian).to(weight.dtype))
    gram = symmetric.gram(weight)
    alive = torch.arange(len(hessian))
    order: list[int] = []
    costs: list[float] = []
    while len(order) < count:
        cut, cost, A, R = _cut_block(inverse, gram, min(BLOCK, count - len(order)))
        order += alive[cut].tolist()
        costs += cost
        left = len(alive) - len(cut)
        _move_to_the_end_(torch.tensor(cut), left, alive, A.T, R.T, inverse, inverse.T, gram, gram.T)
        alive, A, R = alive[:left], A[:, :left], R[:, :left]
        inverse = inverse[:left, :left].addmm_(A.T, A, alpha=-1)
        gram = gram[:left, :left].addmm_(R.T, A, alpha=-1).addmm_(A.T, R, alpha=-1)
    return torch.tensor(order), torch.tensor(costs, dtype=torch.float64)


def _move_to_the_end_(cut: Tensor, left: int, *all_rows: Tensor) -> None:
    """Put the rows from `left` on that are not in `cut` where the cut rows before `left` are: nothing else moves."""
    staying = torch.ones(len(all_rows[0]), dtype=torch.bool)
    staying[cut] = False
    free, moving = (~staying[:left]).nonzero().flatten(), left + staying[left:].nonzero().flatten()
    for rows in all_rows:
        rows[free] = rows[moving]


def _cut_block(inverse: Tensor, gram: Tensor, count: int) -> tuple[list[int], list[float], Tensor, Tensor]:
    """Choose `count` neurons to cut.

    With a the pivot's column of H^-1 over the root of its pivot, and q that of the Gram matrix over the same root, one
    cut is `H^-1 -= a a^T` and `W2^T W2 -= r a^T + a r^T`, where `r = q - (q_j / a_j) a / 2`.

    Args:
        inverse: H^-1 of the neurons that are left.
        gram: W2^T W2 of them.
        count: how many.

    Returns:
        Their positions, their costs, and all a and r as rows, `[count, p]`.
    """
    A = torch.zeros(count, len(inverse), dtype=inverse.dtype)
    R = torch.zeros_like(A)
    pivots, norms = inverse.diagonal().clone(), gram.diagonal().clone()
    order: list[int] = []
    costs: list[float] = []
    for step in range(count):
        cost = norms / pivots
        cost[order] = torch.inf
        j = int(cost.argmin())
        root = pivots[j].sqrt()
        a = (inverse[j] - A[:step, j] @ A[:step]) / root
        q = (gram[j] - A[:step, j] @ R[:step] - R[:step, j] @ A[:step]) / root
        A[step], R[step] = a, q - (q[j] / a[j] / 2) * a
        pivots = pivots - a.square()
        norms = norms - 2 * R[step] * a
        order.append(j)
        costs.append(float(cost[j]))
    return order, costs, A, R
