"""Moments of activations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


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

    Products are summed relative to the first batch's mean: a neuron whose mean is large against its variance would
    otherwise lose the variance to rounding, and the covariance would no longer be positive.

    Attributes:
        mean_abs: E|x|, `[p]`.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        rows = 0
        origin = total = total_abs = gram = torch.zeros(())
        for batch in batches:
            x = batch.flatten(0, -2)
            origin = x.mean(0) if rows == 0 else origin
            total_abs = total_abs + x.abs().sum(0).double()
            x = x - origin
            total = total + x.sum(0).double()
            gram = gram + (x.T @ x).double()
            rows += len(x)
        centre = total / rows
        super().__init__(rows, origin.double() + centre, gram / rows - torch.outer(centre, centre))
        self.mean_abs = total_abs / rows
