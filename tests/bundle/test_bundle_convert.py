"""`convert --bundle`: refused before any long work, or made of the run's result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflex_tflite.bundle import litert_js
from edgeflex_tflite.bundle.manifest import hashes
from tests.command import QUICK, error_line, exit_code, run_here


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--bundle=web,ios",), "--bundle has 'ios': give some of web,android"),
        (("--bundle=web", "--precision=int8_full"), "the model takes int8, which LiteRT.js refuses"),
        (("--bundle=android,web",), "npm is not installed"),
    ],
)
def test_what_cannot_be_bundled_is_told_at_once(
    flags: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = run_here((*QUICK, *flags, f"--output_dir={tmp_path / 'out'}"), capfd)
    assert error_line(outcome).startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_leaves_its_bundles_and_a_resumed_one_adds_to_them(
    fetch_once: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_js, "vendor", fetch_once)
    output = tmp_path / "out"
    flags = (*QUICK, "--precision=fp32", f"--output_dir={output}")
    assert exit_code((*flags, "--bundle=android")) == 0
    before = hashes(output)
    assert exit_code((*flags, "--resume", "--bundle=web")) == 0
    after = hashes(output)
    assert {name for name in before if before[name] != after[name]} == {"manifest.json"}
    assert {"web/index.html", "web/vendor/core.js", "android/model.tflite"} <= set(after)
    listed = json.loads((output / "manifest.json").read_text())["files"]
    assert listed == {name: digest for name, digest in after.items() if name != "manifest.json"}
