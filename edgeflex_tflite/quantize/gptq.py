"""Rounding that lets the weights not yet rounded make up for each that was (GPTQ, arXiv 2210.17323).

Columns are rounded one after the other, those with the largest activations first. With U the upper Cholesky factor of
H^-1 in that order, the error `e = (w_j - Q(w_j)) / U_jj` of column j is taken back by `W[:, j:] -= e U[j, j:]`, so the
loss `tr(E H E^T)` grows by `|e|^2` alone. Columns are rounded a number at a time before those behind are brought up to
date.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from edgeflex_tflite.quantize.rounding import clipped_steps, integers, of_columns
from edgeflex_tflite.recover.regression import regularized
from edgeflex_tflite.side_by_side import each

COLUMNS = 64
"""Columns that are rounded between two updates of the whole matrix."""
ROWS = 640
"""Output channels, which do not depend on each other, that are rounded together."""
RELATIVE_DAMPING = 0.01
"""Of the mean variance, on the diagonal of H (GPTQ, section 3.3)."""


@dataclasses.dataclass(frozen=True)
class Curvature:
    """What GPTQ asks of an input, whatever reads it.

    Attributes:
        hessian: damped second moments, `float64 [in, in]`.
        order: its columns, those with the largest activations first.
        factor: the upper Cholesky factor of its inverse in that order, `float32 [in, in]`.
    """

    hessian: Tensor
    order: Tensor
    factor: Tensor

    @classmethod
    def of(cls, hessian: Tensor) -> Curvature:
        """Of second moments of an input, `float64 [in, in]`."""
        H = regularized(hessian, RELATIVE_DAMPING)
        order = torch.argsort(H.diagonal(), descending=True, stable=True)
        return cls(H, order, _factor_of_inverse(H[order][:, order]))


def gptq(weight: Tensor, curvature: Curvature, bits: int, block: int = 0) -> Tensor:
    """Round a weight so that its output on the calibration inputs changes least.

    Args:
        weight: `float64 [out, in]`.
        curvature: of its input.
        bits: of the stored integer, symmetric.
        block: weights of an output channel, side by side, that share a step, which is chosen before any is rounded; 0:
            all of them.

    Returns:
        Values on the grid, `float64 [out, in]`.
    """
    order, back = curvature.order, torch.argsort(curvature.order)

    def rounded(rows: Tensor) -> Tensor:
        step = of_columns(clipped_steps(rows, curvature.hessian, bits, block), len(order))
        chosen = _in_order(rows.T[order].float(), curvature.factor, step.T[order].float(), bits)
        return chosen[back].T * step

    return torch.cat(list(each(rounded, weight.split(ROWS)))).contiguous()


def _factor_of_inverse(H: Tensor) -> Tensor:
    """The upper Cholesky factor of H^-1 for a mean variance of 1, `float32`.

    H is factored from its last row up, in float64, into an upper factor and its transpose; U is that factor's inverse.
    """
    upper = torch.linalg.cholesky((H / H.diagonal().mean()).flip(0, 1)).flip(0, 1).float()
    return torch.linalg.solve_triangular(upper, torch.eye(len(H)), upper=True)


def _in_order(left: Tensor, U: Tensor, step: Tensor, bits: int) -> Tensor:
    """The integers of a weight's columns, as rows, which lie together in memory.

    Args:
        left: weights, `[in, out]`, which are used up.
        U: the factor, `[in, in]`.
        step: of each weight, `[in, out]`.
        bits: of an integer.
    """
    chosen = torch.empty_like(left)
    for begin in range(0, len(U), COLUMNS):
        end = min(begin + COLUMNS, len(U))
        errors = torch.empty_like(left[begin:end])
        for j in range(begin, end):
            chosen[j] = integers(left[j], step[j], bits)
            error = torch.div(left[j] - chosen[j] * step[j], U[j, j], out=errors[j - begin])
            left[j + 1 : end].addr_(U[j, j + 1 : end], error, alpha=-1)
        left[end:].addmm_(U[begin:end, end:].T, errors, alpha=-1)
    return chosen
