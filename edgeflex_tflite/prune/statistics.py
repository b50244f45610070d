"""Moments of one block's hidden activations."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class HiddenMoments:
    """First and second moments of hidden activations x over calibration tokens, in float64.

    Attributes:
        rows: number of tokens.
        mean: E[x], `[p]`.  mean_abs: E|x|, `[p]`.  second: E[x x^T], `[p, p]`.  covariance: second - mean mean^T.
    """

    def __init__(self, batches: Iterable[Tensor]) -> None:
        self.rows = 0
        total = total_abs = gram = torch.zeros(())
        for batch in batches:
            x = batch.flatten(0, -2)
            total = total + x.sum(0, dtype=torch.float64)
            total_abs = total_abs + x.abs().sum(0, dtype=torch.float64)
            gram = gram + (x.T @ x).double()
            self.rows += len(x)
        self.mean, self.mean_abs, self.second = total / self.rows, total_abs / self.rows, gram / self.rows
        self.covariance = self.second - torch.outer(self.mean, self.mean)
