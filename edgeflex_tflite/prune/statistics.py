"""Moments of activations."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from edgeflex_tflite.side_by_side import each


class Moments:
    """First and second moments of activations x over calibration tokens, in float64.

    Attributes:
        rows: number of tokens.
        mean: E[x], `[p]`.  second: E[x x^T], `[p, p]`.  covariance: second - mean mean^T.
    """

    def __init__(self, rows: int, mean: Tensor, covariance: Tensor) -> None:
        self.rows, self.mean, self.covariance = rows, mean, covariance
        self.second = covariance + torch.outer(mean, mean)

    def mapped(self, matrix: Tensor) -> Moments:
        """Moments of `matrix x`, with `matrix` `float64 [r, p]`."""
        return Moments(self.rows, matrix @ self.mean, matrix @ self.covariance @ matrix.T)

    def of(self, kept: Tensor) -> Moments:
        """Moments of some of the channels, `int64 [r]`."""
        return Moments(self.rows, self.mean[kept], self.covariance[kept][:, kept])


class HiddenMoments(Moments):
    """Moments of activations that come in batches `[..., p]`: what fc2 reads of an MLP, or proj of an attention.

    Attributes:
        mean_abs: E|x|, `[p]`.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self._take(summed(functools.partial(_without_answers, x) for x in batches))

    @classmethod
    def of_sums(cls, sums: Sums) -> HiddenMoments:
        moments = cls.__new__(cls)
        moments._take(sums)
        return moments

    def _take(self, sums: Sums) -> None:
        centre = sums.total / sums.rows
        super().__init__(sums.rows, sums.origin.double() + centre, sums.gram / sums.rows - torch.outer(centre, centre))
        self.mean_abs = sums.total_abs / sums.rows


@dataclasses.dataclass
class Sums:
    """Sums over tokens of an input x and of answers y to it, x and y taken relative to their origins.

    A channel whose mean is large against its variance would otherwise lose the variance to rounding, and its covariance
    would no longer be positive.

    Attributes:
        origins: of x `[p]`, and of each y `[out]`: their means in the first batch.
        rows: number of tokens.
        total_abs: of |x| itself.  total: of x.  gram: of x x^T.
        totals: of each y.  products: of each y x^T.
    """

    origins: tuple[Tensor, ...]
    rows: int
    total_abs: Tensor
    total: Tensor
    gram: Tensor
    totals: tuple[Tensor, ...]
    products: tuple[Tensor, ...]

    @property
    def origin(self) -> Tensor:
        return self.origins[0]

    def __iadd__(self, other: Sums) -> Sums:
        self.rows += other.rows
        self.total_abs += other.total_abs
        self.total += other.total
        self.gram += other.gram
        for ours, theirs in zip((*self.totals, *self.products), (*other.totals, *other.products), strict=True):
            ours.add_(theirs)
        return self


Batch = tuple[Tensor, Sequence[Tensor]]
"""x `[..., p]`, and each answer to it, `[..., out]`."""
STRIPE = 1280
"""Columns of a Gram matrix that are computed together."""


def _without_answers(x: Tensor) -> Batch:
    return x, ()


def summed(batches: Iterable[Callable[[], Batch]]) -> Sums:
    """Sums over all batches, of which there is at least one; each is made by the thread that adds it up."""
    coming = iter(batches)
    first = next(coming)()
    origins = tuple(x.flatten(0, -2).mean(0) for x in (first[0], *first[1]))
    parts = each(functools.partial(_sums, origins), itertools.chain([lambda: first], coming))
    return functools.reduce(operator.iadd, parts)


def _sums(origins: tuple[Tensor, ...], make: Callable[[], Batch]) -> Sums:
    inputs, outputs = make()
    x, *answers = (part.flatten(0, -2) for part in (inputs, *outputs))
    centred = x - origins[0]
    wanted = [y - origin for y, origin in zip(answers, origins[1:], strict=True)]
    return Sums(
        origins,
        len(x),
        x.abs().sum(0).double(),
        centred.sum(0).double(),
        gram(centred).double(),
        tuple(y.sum(0).double() for y in wanted),
        tuple((y.T @ centred).double() for y in wanted),
    )


def gram(x: Tensor) -> Tensor:
    """`x^T x` of `[n, p]`, stripe by stripe: what lies above the diagonal is the mirror image of what lies below."""
    p = x.shape[1]
    if p <= STRIPE:
        return x.T @ x
    found = x.new_empty(p, p)
    for begin in range(0, p, STRIPE):
        end = begin + STRIPE
        found[begin:, begin:end] = x[:, begin:].T @ x[:, begin:end]
        found[begin:end, end:] = found[end:, begin:end].T
    return found
