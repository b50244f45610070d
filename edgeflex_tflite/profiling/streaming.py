"""Statistics of a stream of tensors in constant memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST_OCTAVE, HIGHEST_OCTAVE = -30, 30
MANTISSA_BITS, BIN_BITS = 23, 4
"""Of a float32; and how many of them, after the exponent, tell bins of a histogram apart."""
SHIFT = MANTISSA_BITS - BIN_BITS
BINS = (HIGHEST_OCTAVE - LOWEST_OCTAVE) << BIN_BITS
FIRST_BIN = (LOWEST_OCTAVE + 127) << BIN_BITS
"""The leading bits of 2^-30."""


class StreamingStatistics:
    """Mean, mean |x|, max |x| per channel, and percentiles of |x|; tensors are added up in float64.

    Percentiles come from a histogram over the leading bits of |x|, 16 bins an octave, so they are right to within
    3.2 %; magnitudes below 2^-30 count as 2^-30, above 2^30 as 2^30.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0
        self._sum = self._sum_abs = self._max_abs = torch.zeros(0)
        self._histogram = torch.zeros(BINS, dtype=torch.int64)

    def add(self, x: Tensor, channel_dim: int = -1) -> None:
        """Take in a tensor of any shape whose dimension `channel_dim` has the same length every time."""
        rows = x.detach().movedim(channel_dim, -1).flatten(0, -2)
        magnitude = rows.abs()
        total, total_abs = rows.sum(0).double(), magnitude.sum(0).double()
        largest = magnitude.amax(0)
        leading = (magnitude.float().view(torch.int32) >> SHIFT).sub_(FIRST_BIN).clamp_(0, BINS - 1)
        histogram = torch.bincount(leading.flatten(), minlength=BINS)
        self._take(1, len(rows), total, total_abs, largest, histogram)

    def __iadd__(self, other: StreamingStatistics) -> StreamingStatistics:
        """Take in what another one has taken in."""
        self._take(other.calls, other.rows, other._sum, other._sum_abs, other._max_abs, other._histogram)
        return self

    def _take(
        self, calls: int, rows: int, total: Tensor, total_abs: Tensor, largest: Tensor, histogram: Tensor
    ) -> None:
        if self.calls == 0:
            self._sum, self._sum_abs, self._max_abs = total, total_abs, largest
        elif calls:
            self._sum = self._sum + total
            self._sum_abs = self._sum_abs + total_abs
            self._max_abs = torch.maximum(self._max_abs, largest)
        self._histogram += histogram
        self.calls += calls
        self.rows += rows

    @property
    def mean(self) -> Tensor:
        return self._sum / max(self.rows, 1)

    @property
    def mean_abs(self) -> Tensor:
        return self._sum_abs / max(self.rows, 1)

    @property
    def max_abs(self) -> Tensor:
        return self._max_abs

    def percentile(self, percent: float) -> float:
        """The smallest |x| over all channels that at least `percent` of them do not exceed."""
        if self.calls == 0:
            return 0.0
        counts = self._histogram.cumsum(0)
        rank = max(1, math.ceil(percent * counts[-1].item() / 100))
        index = min(int(torch.searchsorted(counts, rank)), BINS - 1)
        middle = ((FIRST_BIN + index) << SHIFT) + (1 << SHIFT - 1)
        return torch.tensor(middle, dtype=torch.int32).view(torch.float32).item()
