"""The sweep command: whole sweeps on the embedded model, and clear refusals."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from edgeflex_tflite import cli, sweep
from tests.command import Outcome, error_line


def run(*flags: str, capfd: pytest.CaptureFixture[str]) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["sweep", *flags])
        code = cli.run(sweep.main, sweep.define_flags, sweep.__doc__ or "", sweep.INTERRUPTED)
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


@pytest.mark.slow
def test_a_sweep_with_a_point_that_cannot_be(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One point is made and one is refused; then what is known of one is taken away, and found out again."""
    quick = {"eval_samples": 50, "calibration_samples": 16, "awq": False, "rounding": "nearest", "refit": False}
    (tmp_path / "quick.json").write_text(json.dumps(quick | {"allocation": "uniform"}))
    monkeypatch.chdir(tmp_path)
    flags = ("--recipe=quick.json", "--vary=memory_budget_mb=0.01,0.7", "--num_threads=1", "--output_dir=out")
    outcome = run(*flags, "--target=", capfd=capfd)
    assert outcome.code == 0, outcome
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    found = {each["title"]: each for each in map(json.loads, lines)}
    assert {title: each["state"] for title, each in found.items()} == {
        "memory_budget_mb 0.01": "refused",
        "memory_budget_mb 0.7": "made",
    }
    small = found["memory_budget_mb 0.7"]
    assert small["weights_bytes"] + small["arena_bytes"] <= 700_000
    assert (tmp_path / "out" / small["folder"] / "model.tflite").stat().st_size == small["file_bytes"]
    text = (tmp_path / "out" / "sweep.md").read_text()
    assert "a budget of 0.01 MB is impossible" in text
    assert "* Not measured." in text
    assert re.search(r"\| memory_budget_mb 0\.7 .*\* ", text), "the smallest point is in the front"
    page = (tmp_path / "out" / "sweep.html").read_text()
    assert "memory_budget_mb 0.7" in page and 'class="plot"' in page
    assert not re.search(r"(src|href)=.?http", page.replace(get_plotlyjs(), ""))

    (tmp_path / "out" / "results.jsonl").write_text("\n".join(lines[1:]) + "\n")
    again = run(*flags, "--resume", capfd=capfd)
    assert again.code == 0, again
    (measured,) = json.loads((tmp_path / "out" / "benchmark.json").read_text())["measurements"]
    assert measured["file"] == f"{small['folder']}/model.tflite"
    text = (tmp_path / "out" / "sweep.md").read_text()
    assert "ms, host" in text and f" {measured['latency']['median_ms']:.2f} " in text
    assert len((tmp_path / "out" / "results.jsonl").read_text().splitlines()) == len(lines)
    assert len(re.findall(r"(made|refused): memory", again.out)) == 1


def test_a_dry_run_names_the_points(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = ("--vary=prune_ratio=0.25,0.5", "--vary=precision=mixed,fp32", f"--output_dir={tmp_path / 'out'}")
    outcome = run(*flags, "--dry_run", capfd=capfd)
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) == 4
    assert "prune_ratio 0.5, precision fp32" in outcome.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "there is nothing to sweep over"),
        (("--vary=precision=int5,mixed",), "is no recipe: precision is 'int5'"),
        (("--vary=seed=0,1", "--model=vit_tiny_patch16_224"), "--data is missing"),
        (("--vary=seed=0,1", "--workers=0"), "workers"),
        (("--vary=seed=0,1", "--recipe=nowhere.json"), "neither a preset"),
        (("--vary=seed=0,1", "--output_dir={tmp}/file"), "is not a folder"),
        (("--vary=seed=0,1", "--output_dir={tmp}/other"), "holds something that is no sweep"),
        (("--vary=seed=0,1", "--output_dir={tmp}/sweep"), "holds a sweep: give --resume"),
        (("--vary=seed=0,1", "--output_dir={tmp}/sweep", "--resume"), "holds a sweep over other points"),
        (("points",), "unexpected 'points'"),
    ],
)
def test_bad_input(flags: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "sweep.json").write_text('["a", "b"]')
    outcome = run(*(flag.format(tmp=tmp_path) for flag in flags), capfd=capfd)
    assert message in error_line(outcome)
    assert (tmp_path / "other" / "thesis.txt").exists()
