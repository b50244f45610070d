"""How inferences are timed: warm-up, then all files in turn, round by round."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np

from edgeflex_tflite.targets.apart import Apart
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import WIDE_TAIL, Drift, Latency, Ratio
from edgeflex_tflite.targets.session import Round

DRIFT_WINDOWS = 20
WIDE_ROUNDS = 1.10
"""So are rounds whose medians differ by more than this."""


def in_turn(sessions: Sequence[Apart], protocol: Protocol, done: Callable[[], None]) -> list[list[Round]]:
    """Time started sessions.

    Args:
        sessions: One for each file.
        protocol: How long.
        done: Called after each round of each file.

    Returns:
        For each session, its rounds.
    """
    for session in sessions:
        session.run(protocol.warmup_runs, 0.0)
    if protocol.sustained_mins:
        return [[_told(session.run(protocol.min_runs, 60 * protocol.sustained_mins), done)] for session in sessions]
    runs, secs = math.ceil(protocol.min_runs / protocol.rounds), protocol.min_secs / protocol.rounds
    rounds: list[list[Round]] = [[] for _ in sessions]
    for _ in range(protocol.rounds):
        for session, kept in zip(sessions, rounds, strict=True):
            kept.append(_told(session.run(runs, secs), done))
    return rounds


def latency(rounds: Sequence[Round]) -> Latency:
    """Over all rounds of one file."""
    return Latency.of([sample for one in rounds for sample in one.samples_ms])


def ratios(names: Sequence[str], rounds: Sequence[Sequence[Round]]) -> tuple[Ratio, ...]:
    """Of every two files, the later one over the earlier one."""
    medians = [[float(np.median(one.samples_ms)) for one in kept] for kept in rounds]
    return tuple(
        Ratio.of(names[b], names[a], [later / earlier for earlier, later in zip(medians[a], medians[b], strict=True)])
        for a, b in combinations(range(len(names)), 2)
    )


def drift(samples_ms: Sequence[float]) -> Drift:
    """Of a run without pauses."""
    from scipy.stats import theilslopes

    windows = np.array_split(np.asarray(samples_ms), min(DRIFT_WINDOWS, len(samples_ms)))
    medians = [float(np.median(window)) for window in windows]
    minutes = np.cumsum([window.sum() for window in windows]) / 60_000
    slope = float(theilslopes(medians, minutes).slope) if len(medians) > 1 else 0.0
    return Drift(tuple(medians), medians[-1] / medians[0], 100 * slope / medians[0])


def spread_warnings(rounds: Sequence[Round]) -> list[str]:
    """What the samples themselves say against believing them."""
    whole = latency(rounds)
    medians = [float(np.median(one.samples_ms)) for one in rounds]
    p95, median = float(np.percentile(whole.samples_ms, 95)), float(np.median(whole.samples_ms))
    preempted = sum(one.preemptions for one in rounds)
    because = f"the machine was busy (the system took the processor away {preempted} times); believe ratios only"
    warnings = []
    if p95 > WIDE_TAIL * median:
        warnings.append(f"the 95th percentile is {p95 / median:.2f} times the median: {because}")
    if max(medians) > WIDE_ROUNDS * min(medians):
        warnings.append(f"medians of the rounds differ by {max(medians) / min(medians) - 1:.0%}: {because}")
    return warnings


def _told(one: Round, done: Callable[[], None]) -> Round:
    done()
    return one
