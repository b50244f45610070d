"""Products whose result or factor is symmetric: half of it, in stripes of columns, gives the other half."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

STRIPES, NARROWEST = 8, 128
"""Into how many a matrix is split, unless they became narrower than this many columns."""


def gram(x: Tensor) -> Tensor:
    """`x^T x` of `[n, p]`: what lies above the diagonal is the mirror image of what lies below."""
    p = x.shape[1]
    found = x.new_empty(p, p)
    for begin, end in _stripes(p):
        found[begin:, begin:end] = x[:, begin:].T @ x[:, begin:end]
        found[begin:end, end:] = found[end:, begin:end].T
    return found


def quadratic(x: Tensor, matrix: Tensor) -> Tensor:
    """`x_i^T M x_i` of every row: `[..., n, p]` and a symmetric `[..., p, p]` -> `[..., n]`."""
    found = x.new_zeros(x.shape[:-1])
    for begin, end in _stripes(matrix.shape[-1]):
        own, below = x[..., begin:end], x[..., end:]
        mapped = own @ matrix[..., begin:end, begin:end]
        if below.shape[-1]:
            mapped += 2 * (below @ matrix[..., end:, begin:end])
        found += (mapped * own).sum(-1)
    return found


def _stripes(p: int) -> Iterator[tuple[int, int]]:
    width = max(NARROWEST, -(-p // STRIPES))
    return ((begin, min(begin + width, p)) for begin in range(0, p, width))
