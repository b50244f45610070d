"""Several files in turn on a device whose tool only gives summaries."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.targets.measurement import Latency, Measurement, Ratio

_PER_ROUND = NotMeasured("the tool gives percentiles of each round, not of all rounds together")


def measure_in_turn(
    files: Sequence[str], rounds: int, measure: Callable[[str], Measurement], done: Callable[[], None]
) -> tuple[list[Measurement], list[Ratio]]:
    """Measure A B A B ..., and put each file's rounds together.

    Args:
        files: What to measure.
        rounds: Turns that each file gets.
        measure: Measures one file for one round.
        done: Called after each round of each file.
    """
    turns: list[list[Measurement]] = [[] for _ in files]
    for _ in range(rounds):
        for file, kept in zip(files, turns, strict=True):
            kept.append(measure(file))
            done()
    centres = [[_centre(m) for m in kept] for kept in turns]
    ratios = [
        Ratio.of(files[b], files[a], [later / earlier for earlier, later in zip(centres[a], centres[b], strict=True)])
        for a, b in combinations(range(len(files)), 2)
        if not any(math.isnan(centre) for centre in (*centres[a], *centres[b]))
    ]
    return [pool(kept) for kept in turns], ratios


def pool(rounds: Sequence[Measurement]) -> Measurement:
    """All rounds of a file as one measurement: start and memory of the first, latency of all."""
    latencies = [m.latency for m in rounds if isinstance(m.latency, Latency)]
    if len(rounds) == 1 or len(latencies) < len(rounds):
        return rounds[0]
    warnings = tuple(dict.fromkeys(warning for m in rounds for warning in m.warnings))
    return replace(rounds[0], latency=_pool(latencies), warnings=warnings)


def _pool(parts: Sequence[Latency]) -> Latency:
    """Exact where a summary of summaries is; `median_ms` is the median of the rounds' medians."""
    counts = np.array([part.count for part in parts])
    means, variances = np.array([part.mean_ms for part in parts]), np.array([part.std_ms for part in parts]) ** 2
    mean = float(np.average(means, weights=counts))
    medians = [part.median_ms for part in parts]
    return Latency(
        count=int(counts.sum()),
        min_ms=min(part.min_ms for part in parts),
        mean_ms=mean,
        max_ms=max(part.max_ms for part in parts),
        std_ms=float(np.sqrt(np.average(variances + (means - mean) ** 2, weights=counts))),
        p5_ms=_PER_ROUND,
        median_ms=next((m for m in medians if isinstance(m, NotMeasured)), float(np.median(_figures(medians)))),
        p95_ms=_PER_ROUND,
        p99_ms=_PER_ROUND,
    )


def _figures(values: Sequence[float | NotMeasured]) -> list[float]:
    return [value for value in values if not isinstance(value, NotMeasured)] or [math.nan]


def _centre(m: Measurement) -> float:
    """The median where the tool gives it, else the mean; NaN without either."""
    if isinstance(m.latency, NotMeasured):
        return math.nan
    return m.latency.mean_ms if isinstance(m.latency.median_ms, NotMeasured) else m.latency.median_ms
