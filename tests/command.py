"""The convert command in this process or in one of its own, and what it said."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeflex_tflite import cli, convert

QUICK = (
    "--eval_samples=50",
    "--calibration_samples=16",
    "--awq_tokens=64",
    "--probe_samples=8",
    "--num_threads=1",
    "--nobenchmark",
)
"""Flags that make a whole run of the embedded default short, and the same on every machine."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str


def exit_code(flags: tuple[str, ...]) -> int:
    """Of the command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["convert", *flags])
        return cli.run(convert.main, convert.define_flags, convert.__doc__ or "")


def run_here(flags: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> Outcome:
    """The command in this process. What native code writes is captured too."""
    capfd.readouterr()
    code = exit_code(flags)
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


def arguments(*flags: str) -> list[str]:
    return [sys.executable, "-m", "edgeflex_tflite.convert", *flags]


def environment() -> dict[str, str]:
    """This process's, with the package on the path and one thread for whatever does not ask --num_threads."""
    root = Path(convert.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}


def run_apart(*flags: str, cwd: Path) -> Outcome:
    """The command in a process of its own."""
    done = subprocess.run(
        arguments(*flags), cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=600
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def error_line(outcome: Outcome) -> str:
    """The one line of a refusal, after checking that it is all that the command said."""
    assert outcome.code == cli.BAD_INPUT, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    return outcome.err.rstrip("\n")
