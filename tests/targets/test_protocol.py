"""Timing: who runs when, what is kept, and what the samples say against themselves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets import protocol
from edgeflex_tflite.targets.apart import Apart
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Latency, Ratio
from edgeflex_tflite.targets.session import Round

TIMES = st.lists(st.floats(0.01, 1000), min_size=1, max_size=50)


@dataclass
class Clockwork:
    """Stands for a session: each inference takes a fixed time, and it keeps a log of who was called."""

    name: str
    ms: float
    log: list[tuple[str, int, float]] = field(default_factory=list)

    def run(self, min_runs: int, min_secs: float) -> Round:
        self.log.append((self.name, min_runs, min_secs))
        count = max(min_runs, int(np.ceil(1000 * min_secs / self.ms)))
        return Round((self.ms,) * count, 0)


def in_turn(sessions: list[Clockwork], how: Protocol) -> list[list[Round]]:
    return protocol.in_turn(cast("list[Apart]", sessions), how, lambda: None)


def test_files_are_measured_in_turn_after_a_warm_up() -> None:
    log: list[tuple[str, int, float]] = []
    in_turn([Clockwork("a", 1, log), Clockwork("b", 1, log)], Protocol(warmup_runs=3, min_runs=7, min_secs=0, rounds=3))
    assert log[:2] == [("a", 3, 0), ("b", 3, 0)]
    assert log[2:] == [("a", 3, 0), ("b", 3, 0)] * 3, "7 runs in 3 rounds are 3 a round"


@given(runs=st.integers(1, 200), secs=st.floats(0, 2), rounds=st.integers(1, 9), ms=st.floats(0.5, 50))
def test_each_file_gets_at_least_the_runs_and_seconds_asked_for(runs: int, secs: float, rounds: int, ms: float) -> None:
    (kept,) = in_turn([Clockwork("a", ms)], Protocol(min_runs=runs, min_secs=secs, rounds=rounds))
    latency = protocol.latency(kept)
    assert latency.count >= runs
    assert latency.count * ms >= 1000 * secs * (1 - 1e-9)
    assert len(kept) == rounds


def test_a_sustained_run_has_no_turns() -> None:
    log: list[tuple[str, int, float]] = []
    how = Protocol(warmup_runs=0, sustained_mins=0.5, min_runs=5)
    rounds = in_turn([Clockwork("a", 10, log), Clockwork("b", 10, log)], how)
    assert log[2:] == [("a", 5, 30.0), ("b", 5, 30.0)]
    assert [len(kept) for kept in rounds] == [1, 1]


@given(TIMES)
def test_a_latency_keeps_its_samples_and_orders_its_percentiles(samples: list[float]) -> None:
    latency = Latency.of(samples)
    assert latency.samples_ms == tuple(samples)
    assert latency.count == len(samples)
    ordered = [latency.min_ms, latency.p5_ms, latency.median_ms, latency.p95_ms, latency.p99_ms, latency.max_ms]
    assert ordered == sorted(ordered)
    assert latency.median_ms == pytest.approx(np.median(samples))
    assert latency.std_ms == pytest.approx(np.std(samples))


def test_ratios_are_of_medians_within_the_same_round() -> None:
    """A machine that slows down by 10 in the second round changes no ratio."""
    a = [Round((1.0, 2.0, 3.0), 0), Round((10.0, 20.0, 30.0), 0)]
    b = [Round((4.0, 4.0, 100.0), 0), Round((40.0, 40.0, 41.0), 0)]
    (ratio,) = protocol.ratios(["a", "b"], [a, b])
    assert ratio == Ratio("b", "a", 2.0, 2.0, 2.0, (2.0, 2.0))


def test_every_pair_has_its_ratio() -> None:
    rounds = [[Round((time,), 0)] for time in (1.0, 2.0, 8.0)]
    found = protocol.ratios(["a", "b", "c"], rounds)
    assert [(r.file, r.over, r.median) for r in found] == [("b", "a", 2.0), ("c", "a", 8.0), ("c", "b", 4.0)]


def test_drift_is_the_slope_over_time() -> None:
    """Latency grows linearly with time by a tenth a minute of what it was at first."""
    now, samples = 0.0, []
    while now < 10:
        samples.append(100 * (1 + 0.1 * now))
        now += samples[-1] / 60_000
    drift = protocol.drift(samples)
    assert len(drift.window_medians_ms) == protocol.DRIFT_WINDOWS
    assert drift.percent_per_minute == pytest.approx(10, rel=0.05)
    assert drift.last_over_first == pytest.approx(1.95 / 1.025, rel=0.05)


@pytest.mark.parametrize("samples", [[5.0], [5.0] * 7, [5.0] * 1000])
def test_a_steady_run_does_not_drift(samples: list[float]) -> None:
    drift = protocol.drift(samples)
    assert drift.percent_per_minute == pytest.approx(0)
    assert drift.last_over_first == 1


def test_steady_samples_raise_no_warning() -> None:
    assert protocol.spread_warnings([Round((1.0, 1.01) * 50, 3), Round((1.02, 1.0) * 50, 0)]) == []


def test_a_long_tail_and_unlike_rounds_are_warned_of() -> None:
    tail, unlike = Round((1.0,) * 90 + (2.0,) * 10, 7), Round((1.3,) * 100, 1)
    (warning,) = protocol.spread_warnings([tail])
    assert "95th percentile is 2.00 times the median" in warning
    assert "7 times" in warning
    assert any("medians of the rounds differ by 30%" in one for one in protocol.spread_warnings([tail, unlike]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("warmup_runs", -1), ("min_runs", 0), ("min_secs", -0.1), ("min_secs", float("nan")), ("rounds", 0),
     ("sustained_mins", float("inf"))],
)  # fmt: skip
def test_figures_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        replace(Protocol(), **{name: value}).check()


def test_the_defaults_are_in_range() -> None:
    Protocol().check()
