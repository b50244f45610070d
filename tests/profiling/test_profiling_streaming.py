"""Statistics of a stream are those of all of it at once, however it was split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.profiling.streaming import StreamingStatistics

SIZES = st.lists(st.integers(1, 6), min_size=1, max_size=6)
PERCENTS = (1.0, 50.0, 99.0, 99.9, 100.0)
ERROR = 0.032
SINGLE = 1e-6
"""Sums of one batch are in float32."""


def parts_of(sizes: list[int], channels: int, seed: int) -> list[torch.Tensor]:
    """Batches `[size, 3, channels]` with channels of very different magnitude, and one that is zero."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.linspace(-4, 4, channels)
    scale[-1] = 0
    return [(torch.randn(size, 3, channels, generator=generator) + 0.5) * scale for size in sizes]


def statistics_of(parts: list[torch.Tensor]) -> StreamingStatistics:
    statistics = StreamingStatistics()
    for part in parts:
        statistics.add(part)
    return statistics


def rank_value(values: np.ndarray, percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed."""
    ordered = np.sort(values)
    return float(ordered[max(1, math.ceil(percent * len(ordered) / 100)) - 1])


@settings(deadline=None, max_examples=40)
@given(sizes=SIZES, channels=st.integers(2, 9), seed=st.integers(0, 10**6))
def test_equal_to_all_at_once(sizes: list[int], channels: int, seed: int) -> None:
    parts = parts_of(sizes, channels, seed)
    statistics = statistics_of(parts)
    rows = torch.cat(parts).double().numpy().reshape(-1, channels)
    assert statistics.calls == len(sizes)
    assert statistics.rows == len(rows)
    mean_abs = np.abs(rows).mean(0)
    assert (np.abs(statistics.mean.numpy() - rows.mean(0)) <= SINGLE * mean_abs).all()
    np.testing.assert_allclose(statistics.mean_abs, mean_abs, rtol=SINGLE)
    np.testing.assert_array_equal(statistics.max_abs, np.abs(rows).max(0))


def test_of_parts_taken_in_apart_and_then_together() -> None:
    parts = parts_of([3, 1, 4], 5, seed=0)
    together, found = statistics_of(parts), StreamingStatistics()
    for part in parts:
        found += statistics_of([part])
        found += StreamingStatistics()
    assert (found.calls, found.rows) == (together.calls, together.rows)
    assert torch.equal(found.mean, together.mean) and torch.equal(found.mean_abs, together.mean_abs)
    assert torch.equal(found.max_abs, together.max_abs) and found.percentile(90) == together.percentile(90)


@settings(deadline=None, max_examples=40)
@given(sizes=SIZES, seed=st.integers(0, 10**6), percent=st.sampled_from(PERCENTS))
def test_percentiles(sizes: list[int], seed: int, percent: float) -> None:
    parts = parts_of(sizes, 6, seed)
    expected = rank_value(torch.cat(parts).abs().flatten().numpy(), percent)
    assert statistics_of(parts).percentile(percent) == pytest.approx(expected, rel=ERROR, abs=2**-29)


@settings(deadline=None, max_examples=40)
@given(st.floats(2.0**-29, 2.0**29, width=32), st.booleans())
def test_percentile_of_one_value(value: float, negative: bool) -> None:
    found = statistics_of([torch.full((2, 3), -value if negative else value)]).percentile(50)
    assert found == pytest.approx(value, rel=ERROR)


@pytest.mark.parametrize("percent", [0, 50, 100])
@pytest.mark.parametrize(("value", "counted_as"), [(0.0, 2.0**-30), (1e-20, 2.0**-30), (1e20, 2.0**30)])
def test_magnitudes_out_of_range_are_counted(value: float, counted_as: float, percent: float) -> None:
    assert statistics_of([torch.full((2, 3), value)]).percentile(percent) == pytest.approx(counted_as, rel=ERROR)


def test_magnitudes_out_of_range_keep_their_rank() -> None:
    statistics = statistics_of([torch.tensor([[0.0, 3.0, 1e20, 1e20, 1e20]])])
    assert statistics.percentile(40) == pytest.approx(3, rel=ERROR)
    assert statistics.percentile(50) == pytest.approx(2.0**30, rel=ERROR)


def test_lowest_percentile_is_the_smallest_magnitude() -> None:
    assert statistics_of([torch.tensor([[-5.0, 7.0], [3.0, -9.0]])]).percentile(0) == pytest.approx(3, rel=ERROR)


def test_counts_beyond_single_precision() -> None:
    """float32 cannot count further than this; ten values more must still shift a percentile."""
    statistics = statistics_of([torch.full((1, 1), 1.0)])
    statistics._histogram[statistics._histogram.argmax()] = 2**24
    statistics.add(torch.full((10, 1), 8.0))
    assert statistics.percentile(100 * 2**24 / (2**24 + 10)) == pytest.approx(1, rel=ERROR)
    assert statistics.percentile(100 * (2**24 + 2) / (2**24 + 10)) == pytest.approx(8, rel=ERROR)


def test_channels_of_an_image() -> None:
    statistics, x = StreamingStatistics(), torch.randn(2, 4, 3, 5)
    statistics.add(x, channel_dim=1)
    assert statistics.rows == 2 * 3 * 5
    torch.testing.assert_close(statistics.mean, x.double().mean((0, 2, 3)))


def test_input_is_not_kept() -> None:
    x = torch.ones(2, 3)
    statistics = statistics_of([x])
    x.fill_(100)
    assert statistics.max_abs.tolist() == statistics.mean.tolist() == [1, 1, 1]


def test_nothing_seen() -> None:
    statistics = StreamingStatistics()
    assert (statistics.calls, statistics.rows, statistics.percentile(50)) == (0, 0, 0)
    assert statistics.mean.numel() == statistics.mean_abs.numel() == statistics.max_abs.numel() == 0
