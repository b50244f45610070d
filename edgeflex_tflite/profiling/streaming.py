"""Statistics of a stream of tensors in constant memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST_OCTAVE, HIGHEST_OCTAVE, BINS_PER_OCTAVE = -30, 30, 16
BINS = (HIGHEST_OCTAVE - LOWEST_OCTAVE) * BINS_PER_OCTAVE
LARGEST_COUNT = 2**24
"""`torch.histc` counts in float32, which cannot count further."""


class StreamingStatistics:
    """Mean, mean |x|, max |x| per channel, and percentiles of |x|, summed in float64.

    Percentiles come from a histogram with 16 bins an octave, so they are right to within 4.5 %; magnitudes below 2^-30
    count as 2^-30, above 2^30 as 2^30.
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
        octaves = magnitude.clamp(2.0**LOWEST_OCTAVE, 2.0**HIGHEST_OCTAVE).log2().flatten()
        for part in octaves.split(LARGEST_COUNT):
            self._histogram += torch.histc(part, BINS, LOWEST_OCTAVE, HIGHEST_OCTAVE).double()
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
        """The smallest |x| over all channels that at least `percent` of them do not exceed."""
        if self.calls == 0:
            return 0.0
        counts = self._histogram.cumsum(0)
        rank = max(1, math.ceil(percent * counts[-1].item() / 100))
        index = min(int(torch.searchsorted(counts, float(rank))), BINS - 1)
        return 2.0 ** (LOWEST_OCTAVE + (index + 0.5) / BINS_PER_OCTAVE)
