"""The benchmark command: what it prints and leaves, and how it ends on bad input."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite import benchmark, cli
from edgeflex_tflite.files import read_json
from edgeflex_tflite.targets.results import Results
from tests.command import Outcome
from tests.targets.phone import SERIAL, FakePhone, phone
from tests.tiny import Tiny

__all__ = ["phone"]  # the fixture
QUICK = ("--min_runs=4", "--min_secs=0", "--rounds=2", "--warmup_runs=1", "--num_threads=1")
GOLDEN = Path(__file__).parent / "golden" / "benchmark_model"


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    paths = []
    for name, width in (("wide", 512), ("narrow", 8)):
        t = Tiny()
        x, y = t.tensor(1, width), t.tensor(1, width)
        weights = t.constant(np.ones((width, width)))
        t.op("FULLY_CONNECTED", [x, weights], [y], table="FullyConnectedOptions")
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(t.build([x], [y]))
        paths.append(str(path))
    return paths


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["benchmark", *arguments])
        code = cli.run(benchmark.main, benchmark.define_flags, benchmark.__doc__ or "")
    return Outcome(code, *capsys.readouterr())


def refused(outcome: Outcome) -> str:
    """The one line that bad input gets."""
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert (outcome.code, outcome.out, len(errors)) == (cli.BAD_INPUT, "", 1), outcome
    assert "Traceback" not in outcome.err
    return errors[0]


def test_a_whole_run_prints_tables_and_leaves_documents(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (f"--result_json={tmp_path / 'r.json'}", f"--results_file={tmp_path / 'all.jsonl'}")
    outcome = run(*models, *QUICK, *flags, capsys=capsys)
    assert outcome.code == 0, outcome
    results = read_json(tmp_path / "r.json", Results)
    assert [m.file for m in results.measurements] == models
    assert results.protocol.min_runs == 4
    for m in results.measurements:
        assert f"{m.memory.process_peak_bytes / 1e6:.2f}" in outcome.out  # type: ignore[operator]
    assert "narrow.tflite" in outcome.out
    assert f"{results.ratios[0].median:.3f}" in outcome.out
    again = run(*models, *QUICK, f"--compare_to={tmp_path / 'all.jsonl'}", capsys=capsys)
    assert results.created in again.out
    assert "the same file" in again.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--target=moon",), "android"),
        (("--target=",), "android"),
        (("--num_threads=0",), "num_threads"),
        (("--min_runs=0",), "min_runs"),
        (("--rounds=-1",), "rounds"),
        (("--delegate=gpu",), "--target=android"),
        (("--weight_cache",), "--api=compiled_model"),
        (("--signatures=batch_4",), "has no signature 'batch_4'"),
        (("--signatures=batch_4", "--target=android"), "give --target=host"),
        (("--signatures=batch_4", "--weight_cache", "--api=compiled_model"), "leave out --signatures"),
        (("--api=compiled_model", "--runtime=tflite_runtime"), "ai_edge_litert"),
        (("--result_json=/no/such/folder/r.json",), "no folder"),
        (("--compare_to=/no/such/file",), "no results file"),
        (("--target=coral",), "edgetpu_compiler"),
        (("--target=android", "--adb=/no/such/adb", "--benchmark_model=x"), "x"),
    ],
)
def test_bad_flags_end_at_once(
    flags: tuple[str, ...], says: str, models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(run(models[0], *QUICK, *flags, capsys=capsys))


def test_bad_files_end_at_once(models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no file is named" in refused(run(*QUICK, capsys=capsys))
    assert "missing.tflite" in refused(run(models[0], "missing.tflite", *QUICK, capsys=capsys))
    (tmp_path / "text.tflite").write_text("this is no flatbuffer")
    assert "text.tflite" in refused(run(str(tmp_path / "text.tflite"), *QUICK, capsys=capsys))


def test_nothing_is_written_when_a_measurement_fails(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "r.json"
    refused(run(models[0], "missing.tflite", *QUICK, f"--result_json={left}", capsys=capsys))
    assert not left.exists()


def test_a_device_that_is_not_there_is_blank_beside_one_that_is(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = tmp_path / "r.json"
    outcome = run(models[0], *QUICK, "--target=host,coral", f"--result_json={left}", capsys=capsys)
    assert outcome.code == 0, outcome
    assert "not measured: " in outcome.out
    host, coral = json.loads(left.read_text())["measurements"]
    assert host["latency"]["count"] == 4
    assert "reason" in coral["latency"]
    assert all("reason" in figure for figure in coral["memory"].values())


def test_files_take_turns_on_an_android_device(
    models: list[str], phone: FakePhone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = tmp_path / "benchmark_model"
    log = shlex.quote(str(GOLDEN / "new_xnnpack.txt"))
    tool.write_text(f'#!/bin/sh\nfor a; do case "$a" in --graph=*) echo "$a" >> $ROOT/graphs;; esac; done\ncat {log}\n')
    left = tmp_path / "r.json"
    flags = ("--target=android", f"--benchmark_model={tool}", f"--serial={SERIAL}", f"--result_json={left}")
    outcome = run(*models, *QUICK, *flags, capsys=capsys)
    assert outcome.code == 0, outcome
    graphs = [Path(line).name for line in (phone.root / "graphs").read_text().splitlines()]
    assert len(graphs) == 4, "two files, two rounds"
    first, second = read_json(left, Results).measurements
    assert (first.file, second.file) == tuple(models)
    assert first.environment.target == "android"
    assert "not measured: " in outcome.out
    assert phone.left() == []
