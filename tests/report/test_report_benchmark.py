"""The benchmark's text: every figure in its place, blanks with reasons, each warning once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.report.benchmark import benchmark_text
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Drift, Environment, Latency, Measurement, Memory, OpTime, Ratio
from edgeflex_tflite.targets.results import Change, Results

PLACE = Environment("host", "desk", "some CPU", "2000 MHz (powersave)", 2, "ai-edge-litert 2", "xnnpack", "Linux")
MEMORY = Memory(1_250_000, 2_500_000, 30_750_000, 10_500_000, 20_250_000)
PLAIN = Measurement("in/a.tflite", "aa", 5_000_000, PLACE, 12.25, 3.5, Latency.of([1.5, 2.5, 3.5]), MEMORY)


def text(*measurements: Measurement, ratios: tuple[Ratio, ...] = (), changes: tuple[Change, ...] = ()) -> str:
    return benchmark_text(Results(1, "now", "0.1", "", Protocol(), measurements, ratios), changes)


def cells(text: str, first: str, table: int) -> list[str]:
    """The cells of the row that begins so, in the table of that number."""
    rows = [line for line in text.splitlines() if line.startswith(first)]
    return rows[table].removeprefix(first).split()


def test_each_figure_stands_in_its_column() -> None:
    said = text(PLAIN)
    assert cells(said, "a.tflite", 0) == [
        "12.25", "3.50", "1.50", "1.60", "2.50", "3.40", "3.48", "2.50", "0.82", "3",
    ]  # fmt: skip
    assert cells(said, "a.tflite", 1) == ["5.00", "1.25", "2.50", "30.75", "10.50", "20.25"]
    for fact in ("desk", "some CPU", "2000 MHz (powersave)", "2 threads", "ai-edge-litert 2", "xnnpack"):
        assert fact in said


def test_a_blank_has_its_reason_below_once() -> None:
    hidden = NotMeasured("the arena is hidden")
    blank = replace(PLAIN, memory=replace(MEMORY, arena_bytes=hidden, runtime_bytes=hidden))
    said = text(blank)
    assert cells(said, "a.tflite", 1)[1:5] == ["-", "[1]", "-", "[1]"]
    assert said.count("the arena is hidden") == 1
    assert "[1] not measured: the arena is hidden" in said


def test_a_latency_that_was_not_measured_leaves_no_zero() -> None:
    said = text(replace(PLAIN, latency=NotMeasured("no device")))
    assert cells(said, "a.tflite", 0) == ["12.25", "3.50", "-", "[1]", "-", "-", "-", "-", "-", "-", "-"]


def test_ratios_show_their_spread_over_rounds() -> None:
    said = text(PLAIN, ratios=(Ratio.of("in/b.tflite (cached)", "in/a.tflite", [0.5, 0.75, 1.0]),))
    assert "in 3 rounds" in said
    assert "b.tflite (cached)  a.tflite        0.750    0.500 to 1.000" in said


def test_a_warning_stands_once_with_all_that_it_is_about() -> None:
    other = replace(PLAIN, file="b.tflite", warnings=("busy", "hot"))
    said = text(replace(PLAIN, warnings=("busy",)), other)
    assert "warning: a.tflite, b.tflite: busy" in said
    assert "warning: b.tflite: hot" in said
    assert said.count("busy") == 1


def test_targets_are_named_where_there_are_several() -> None:
    phone = replace(PLAIN, environment=replace(PLACE, target="android", device="phone"))
    said = text(PLAIN, phone)
    assert "host: a.tflite" in said
    assert "android: a.tflite" in said


def test_drift_and_profile_are_told_where_they_are() -> None:
    said = text(replace(PLAIN, drift=Drift((1.0, 1.1), 1.1, 4.5), ops=(OpTime("CONV_2D", 3, 0.125),)))
    assert "+4.50 % a minute" in said
    assert "1.100 times the first" in said
    assert "CONV_2D" in said
    assert "0.125" in said


@pytest.mark.parametrize(("same", "says"), [(True, "the same file"), (False, "another file")])
def test_changes_are_beside_a_word_about_their_worth(same: bool, says: str) -> None:
    before = replace(PLAIN, latency=Latency.of([5.0]))
    said = text(PLAIN, changes=(Change(PLAIN, before, "2026-01-01", same, False),))
    assert says in said
    assert "0.500" in said
    assert "another device or runtime" in said
    assert "measure both in one call" in said
