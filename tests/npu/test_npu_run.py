"""Whole runs for a target, on the embedded model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeflex_tflite import files
from edgeflex_tflite.analysis.vela import vela_command
from edgeflex_tflite.artifacts import Metrics, NpuReport
from tests.command import QUICK, error_line, run_here

pytestmark = pytest.mark.slow


def test_a_file_for_an_edge_tpu(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    outcome = run_here((*QUICK, "--target=edgetpu", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == 0, outcome
    report = files.read_json(tmp_path / "out" / "npu.json", NpuReport)
    assert {each.op for each in report.on_cpu} >= {"BATCH_MATMUL", "SOFTMAX"}
    assert report.npu_ops > 10
    assert "## On edgetpu" in (tmp_path / "out" / "report.md").read_text()
    assert files.read_json(tmp_path / "out" / "metrics.json", Metrics).drop_points < 5


def test_the_real_vela_takes_the_embedded_model_whole(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vela = os.environ.get("EDGEFLEX_VELA")
    if vela_command(vela) is None:
        pytest.skip("Vela is not installed: pip install ethos-u-vela, or EDGEFLEX_VELA with the path of its vela")
    if vela is not None:
        monkeypatch.setenv("PATH", f"{Path(vela).parent}:{os.environ['PATH']}")
    outcome = run_here((*QUICK, "--target=ethos-u55-256", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == 0, outcome
    report = files.read_json(tmp_path / "out" / "npu.json", NpuReport)
    assert (report.share, report.cpu_ops) == (1, 0)
    assert report.compiled is not None
    assert (tmp_path / "out" / report.compiled).stat().st_size > 100_000


def test_a_missing_compiler_is_told_before_any_work(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr("edgeflex_tflite.analysis.vela.importlib.util.find_spec", lambda _: None)
    outcome = run_here(("--target=ethos-u55-256", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert "Vela is not installed" in error_line(outcome)
    assert not (tmp_path / "out").exists()
