"""Moments of activations."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from edgeflex_tflite.side_by_side import each
from edgeflex_tflite.symmetric import gram


class Moments:
    """First and second moments of activations x over calibration tokens, in float64.

    Attributes:
        rows: number of tokens.
        mean: E[x], `[p]`.  second: E[x x^T], `[p, p]`.  covariance: second - mean mean^T.
    """

    def __init__(self, rows: int, mean: Tensor, covariance: Tensor) -> None:
        self.rows, self.mean, self.covariance = rows, mean, covariance

    @functools.cached_property
    def second(self) -> Tensor:
        return self.covariance + torch.outer(self.mean, self.mean)

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
        self._take(summed(functools.partial(_without_answer, x) for x in batches))

    @classmethod
    def of_sums(cls, sums: Sums) -> HiddenMoments:
        moments = cls.__new__(cls)
        moments._take(sums)
        return moments

    def _take(self, sums: Sums) -> None:
        centre = sums.total / sums.rows
        super().__init__(sums.rows, sums.origin.double() + centre, centre_(sums.gram, centre, centre, sums.rows))
        self.mean_abs = sums.total_abs / sums.rows


@dataclasses.dataclass
class Sums:
    """Sums over tokens of an input x and of the answer y to it, if any, x and y taken relative to their origins.

    A channel whose mean is large against its variance would otherwise lose the variance to rounding, and its covariance
    would no longer be positive.

    Attributes:
        origin, origin_of_answer: means of x `[p]` and of y `[out]` in the first batch.
        rows: number of tokens.
        total_abs: of |x| itself.  total: of x.  gram: of x x^T.
        total_of_answer: of y.  product: of y x^T.
    """

    origin: Tensor
    origin_of_answer: Tensor
    rows: int
    total_abs: Tensor
    total: Tensor
    gram: Tensor
    total_of_answer: Tensor
    product: Tensor

    def __iadd__(self, other: Sums) -> Sums:
        self.rows += other.rows
        self.total_abs += other.total_abs
        self.total += other.total
        self.gram += other.gram
        self.total_of_answer += other.total_of_answer
        self.product += other.product
        return self


Batch = tuple[Tensor, Tensor]
"""x `[..., p]`, and the answer to it, `[..., out]`, which may have no channels."""


def _without_answer(x: Tensor) -> Batch:
    return x, x[..., :0]


def summed(batches: Iterable[Callable[[], Batch]]) -> Sums:
    """Sums over all batches, of which there is at least one; each is made by the thread that adds it up."""
    coming = iter(batches)
    first = next(coming)()
    origin, origin_of_answer = (part.flatten(0, -2).mean(0) for part in first)
    parts = each(functools.partial(_sums, origin, origin_of_answer), itertools.chain([lambda: first], coming))
    return functools.reduce(operator.iadd, parts)


def _sums(origin: Tensor, origin_of_answer: Tensor, make: Callable[[], Batch]) -> Sums:
    x, answer = (part.flatten(0, -2) for part in make())
    total_abs = x.abs().sum(0).double()
    x, answer = x - origin, answer - origin_of_answer
    return Sums(
        origin,
        origin_of_answer,
        len(x),
        total_abs,
        x.sum(0).double(),
        gram(x).double(),
        answer.sum(0).double(),
        (answer.T @ x).double(),
    )


def centre_(products: Tensor, left: Tensor, right: Tensor, rows: int) -> Tensor:
    """A covariance from sums of products relative to any origins, given the means relative to them; in place."""
    return products.div_(rows).addr_(left, right, alpha=-1)


def plus_diagonal(matrix: Tensor, amount: float | Tensor) -> Tensor:
    """`matrix + amount I`, as a new one."""
    changed = matrix.clone()
    changed.diagonal().add_(amount)
    return changed
