"""Moments of one block's hidden activations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class HiddenMoments:
    """First and second moments of hidden activations x over calibration tokens, in float64.

    Products are summed relative to the first batch's mean: a neuron whose mean is large against its variance would
    otherwise lose the variance to rounding, and the covariance would no longer be positive.

    Attributes:
        rows: number of tokens.
        mean: E[x], `[p]`.  mean_abs: E|x|, `[p]`.  second: E[x x^T], `[p, p]`.  covariance: second - mean mean^T.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.rows = 0
        origin = total = total_abs = gram = torch.zeros(())
        for batch in batches:
            x = batch.flatten(0, -2)
            origin = x.mean(0) if self.rows == 0 else origin
            total_abs = total_abs + x.abs().sum(0, dtype=torch.float64)
            x = x - origin
            total = total + x.sum(0, dtype=torch.float64)
            gram = gram + (x.T @ x).double()
            self.rows += len(x)
        centre = total / self.rows
        self.mean, self.mean_abs = origin.double() + centre, total_abs / self.rows
        self.covariance = gram / self.rows - torch.outer(centre, centre)
        self.second = self.covariance + torch.outer(self.mean, self.mean)
