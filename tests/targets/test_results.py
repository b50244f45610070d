"""What a call leaves for later: a document that reads back, and what changed since."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import read_json, write_json
from edgeflex_tflite.targets import results as stored
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Environment, Latency, Measurement, Memory, OpTime, Ratio
from edgeflex_tflite.targets.results import Results

PLACE = Environment("host", "desk", "cpu", NotMeasured("not told"), 2, "ai-edge-litert 2", "xnnpack", "Linux")
SCHEMA = Path(__file__).parents[2] / "docs" / "benchmark.schema.json"


def measurement(median: float = 2.0, file: str = "x/model.tflite", sha256: str = "aa", **more: object) -> Measurement:
    memory = Memory(1000, 2000, 3000, NotMeasured("no /proc"), NotMeasured("no /proc"))
    whole = Measurement(
        file, sha256, 10, PLACE, 1.5, 2.5, Latency.of([median] * 3), memory, ops=(OpTime("ADD", 1, 0.5),)
    )
    return replace(whole, **more)  # type: ignore[arg-type]


def results(*measurements: Measurement, created: str = "2026-01-01T00:00:00+00:00") -> Results:
    ratio = Ratio.of("a", "b", [1.0, 2.0])
    return Results(stored.SCHEMA_VERSION, created, "0.1", "command", Protocol(), measurements, (ratio,))


def test_a_document_reads_back_as_it_was(tmp_path: Path) -> None:
    whole = results(measurement(), measurement(latency=NotMeasured("no device"), warnings=("hot",), state={"a": "b"}))
    write_json(tmp_path / "r.json", whole)
    assert read_json(tmp_path / "r.json", Results) == whole


def test_raw_samples_are_in_the_document(tmp_path: Path) -> None:
    write_json(tmp_path / "r.json", results(measurement(7.25)))
    assert json.loads((tmp_path / "r.json").read_text())["measurements"][0]["latency"]["samples_ms"] == [7.25] * 3


def test_the_schema_in_the_docs_is_the_one_of_the_document() -> None:
    assert json.loads(SCHEMA.read_text()) == stored.schema()


def test_calls_are_appended_and_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    calls = [results(measurement(1.0)), results(measurement(2.0), measurement(3.0, "y.tflite"))]
    for call in calls:
        stored.append(path, call)
    assert stored.read_all(path) == calls


def test_a_file_that_is_no_results_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    stored.append(path, results(measurement()))
    good = path.read_text()
    for bad in ("not json\n", "[]\n", '{"schema_version": 1}\n'):
        path.write_text(good + bad)
        with pytest.raises(UserError, match="line 2"):
            stored.read_all(path)
    path.write_text(good.replace('"schema_version":1', '"schema_version":99'))
    with pytest.raises(UserError, match="99"):
        stored.read_all(path)
    with pytest.raises(UserError, match="no results file"):
        stored.read_all(tmp_path / "missing")


def test_a_change_is_against_the_last_earlier_one_of_the_same_kind() -> None:
    earlier = [results(measurement(8.0), created="1"), results(measurement(4.0), created="2")]
    (change,) = stored.changes([measurement(1.0, "elsewhere/model.tflite")], earlier)
    assert change.before_created == "2"
    assert change.latency_ratio == 0.25
    assert change.same_content
    assert change.same_place


@pytest.mark.parametrize(
    "other",
    [{"variant": "weight cache"}, {"file": "other.tflite"}, {"environment": replace(PLACE, threads=4)},
     {"environment": replace(PLACE, delegate="none")}, {"environment": replace(PLACE, target="android")}],
)  # fmt: skip
def test_unlike_measurements_are_not_compared(other: dict) -> None:
    assert stored.changes([measurement(**other)], [results(measurement())]) == []


def test_another_content_or_machine_is_told() -> None:
    now = measurement(sha256="bb", environment=replace(PLACE, device="laptop"))
    (change,) = stored.changes([now], [results(measurement())])
    assert not change.same_content
    assert not change.same_place


def test_no_ratio_without_both_latencies() -> None:
    (change,) = stored.changes([measurement(latency=NotMeasured("gone"))], [results(measurement())])
    assert change.latency_ratio is None


def test_the_document_names_its_version_and_time() -> None:
    now = Results.now("command", Protocol(), [measurement()], [])
    assert now.schema_version == stored.SCHEMA_VERSION
    assert now.created.endswith("+00:00")
    assert TypeAdapter(Results).validate_json(TypeAdapter(Results).dump_json(now)) == now
