"""Rounds on a device whose tool gives summaries: pooled exactly where a summary allows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.targets.measurement import Environment, Latency, Measurement, Memory
from edgeflex_tflite.targets.turns import measure_in_turn, pool

NOTHING = NotMeasured("the tool does not tell")
PLACE = Environment("android", "phone", "cpu", "2 GHz", 4, "benchmark_model", "xnnpack", "Android 13")
ROUNDS = st.lists(st.lists(st.floats(0.1, 100), min_size=1, max_size=20), min_size=2, max_size=5)


def summary(samples: list[float]) -> Latency:
    """What a tool tells of them."""
    return replace(Latency.of(samples), samples_ms=())


def measurement(latency: Latency | NotMeasured, file: str = "a", warnings: tuple[str, ...] = ()) -> Measurement:
    memory = Memory.nothing("no tool")
    return Measurement(file, "00", 1, PLACE, 1.0, 2.0, latency, memory, warnings=warnings)


@given(ROUNDS)
def test_count_mean_spread_and_ends_are_those_of_all_samples(rounds: list[list[float]]) -> None:
    found = pool([measurement(summary(samples)) for samples in rounds]).latency
    together = [sample for samples in rounds for sample in samples]
    assert isinstance(found, Latency)
    assert found.count == len(together)
    assert (found.min_ms, found.max_ms) == (min(together), max(together))
    assert found.mean_ms == pytest.approx(np.mean(together))
    assert found.std_ms == pytest.approx(np.std(together), abs=1e-6)
    assert found.median_ms == pytest.approx(np.median([np.median(samples) for samples in rounds]))


def test_percentiles_of_several_rounds_are_blank() -> None:
    found = pool([measurement(summary([1.0, 2.0]))] * 2).latency
    assert isinstance(found, Latency)
    assert all(isinstance(figure, NotMeasured) for figure in (found.p5_ms, found.p95_ms, found.p99_ms))


def test_one_round_stays_as_it_is() -> None:
    one = measurement(summary([1.0, 2.0, 9.0]))
    assert pool([one]) == one


def test_a_median_that_one_round_lacks_is_blank() -> None:
    old = measurement(replace(summary([1.0, 2.0]), median_ms=NOTHING))
    found = pool([measurement(summary([1.0])), old]).latency
    assert isinstance(found, Latency)
    assert found.median_ms == NOTHING


def test_warnings_of_all_rounds_are_kept_once() -> None:
    rounds = [measurement(summary([1.0]), warnings=warnings) for warnings in (("hot",), ("hot", "throttled"))]
    assert pool(rounds).warnings == ("hot", "throttled")


def test_files_take_turns_and_ratios_are_within_a_round() -> None:
    """The device is twice as slow in its second round."""
    called: list[str] = []
    steps: list[None] = []

    def measure(file: str) -> Measurement:
        slow = 1 + called.count(file)
        called.append(file)
        return measurement(summary([slow * {"a": 4.0, "b": 6.0}[file]]), file)

    found, ratios = measure_in_turn(["a", "b"], 2, measure, lambda: steps.append(None))
    assert called == ["a", "b", "a", "b"]
    assert len(steps) == 4
    assert [m.file for m in found] == ["a", "b"]
    assert [(r.file, r.over, r.rounds) for r in ratios] == [("b", "a", (1.5, 1.5))]


def test_without_medians_ratios_are_of_means_and_without_latency_there_are_none() -> None:
    old = replace(summary([3.0]), median_ms=NOTHING)
    _, ratios = measure_in_turn(["a", "b"], 1, lambda file: measurement(old, file), lambda: None)
    assert [r.median for r in ratios] == [1.0]
    _, none = measure_in_turn(["a", "b"], 1, lambda file: measurement(NOTHING, file), lambda: None)
    assert none == []
