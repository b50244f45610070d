"""Statistics of a stream of tensors in constant memory."""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST_OCTAVE, HIGHEST_OCTAVE, BINS_PER_OCTAVE = -30, 30, 16
BINS = (HIGHEST_OCTAVE - LOWEST_OCTAVE) * BINS_PER_OCTAVE


class StreamingStatistics:
    """Mean, mean |x|, max |x| per channel, and percentiles of |x|, summed in float64.

    Percentiles come from a histogram with 16 bins an octave, so they are right to within 4.5 %.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.rows = 0
        self._sum = self._sum_abs = self._max_abs = torch.zeros(0)
        self._histogram = torch.zeros(BINS, dtype=torch.float64)

    def add(self, x: Tensor, channel_dim: int = -1) -> None:
        """Take in a tensor of any shape whose dimension `channel_dim` has the same length every time."""
        rows = x.detach().movedim(channel_dim, -1).flatten(0, -2)
        magnitude = rows.abs()
        total, total_abs = rows.sum(0, dtype=torch.float64), magnitude.sum(0, dtype=torch.float64)
        if self.calls == 0:
            self._sum, self._sum_abs, self._max_abs = total, total_abs, magnitude.amax(0)
        else:
            self._sum = self._sum + total
            self._sum_abs = self._sum_abs + total_abs
            self._max_abs = torch.maximum(self._max_abs, magnitude.amax(0))
        octaves = magnitude.clamp_min(2.0**LOWEST_OCTAVE).log2()
        self._histogram += torch.histc(octaves, BINS, LOWEST_OCTAVE, HIGHEST_OCTAVE).double()
        self.calls += 1
        self.rows += rows.shape[0]

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
        """Of |x| over all channels."""
        if self.calls == 0:
            return 0.0
        shares = self._histogram.cumsum(0) / self._histogram.sum()
        index = int(torch.searchsorted(shares, percent / 100).clamp_max(BINS - 1))
        return 2.0 ** (LOWEST_OCTAVE + (index + 0.5) / BINS_PER_OCTAVE)
