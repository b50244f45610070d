"""One point of a sweep, made by `convert` in a process of its own: whatever happens to it costs this point alone."""

from __future__ import annotations

import ctypes
import dataclasses
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Metrics
from edgeflex_tflite.cli import BAD_INPUT, FAILED_CHECK
from edgeflex_tflite.sweeping.outcome import Outcome
from edgeflex_tflite.sweeping.points import Point

POINTS, RECIPES, LOGS = "points", "recipes", "logs"
PR_SET_PDEATHSIG = 1
REFUSALS = {BAD_INPUT, FAILED_CHECK}


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker needs to know.

    Attributes:
        point: what to make.
        folder: of the sweep, on a file system that every worker has.
        threads: of the conversion.
        retries: after attempts whose process died.
    """

    point: Point
    folder: str
    threads: int
    retries: int

    @property
    def arguments(self) -> list[str]:
        """Of `convert`, but for the output folder."""
        inputs = [f"--{name}={value}" for name, value in self.point.inputs.items()]
        recipe = Path(self.folder, RECIPES, f"{self.point.id}.json")
        return [f"--recipe={recipe}", *inputs, f"--num_threads={self.threads}", "--nobenchmark"]


def prepare(task: Task) -> None:
    """Write the recipe where the worker will look for it."""
    for name in (POINTS, RECIPES, LOGS):
        Path(task.folder, name).mkdir(parents=True, exist_ok=True)
    files.write_bytes(Path(task.folder, RECIPES, f"{task.point.id}.json"), task.point.recipe.to_json().encode())


def make(task: Task) -> Outcome:
    """Make the point's bundle, with as many attempts as the task allows."""
    for _ in range(task.retries):
        if (outcome := _attempt(task)).state != "lost":
            return outcome
    return _attempt(task)


def _attempt(task: Task) -> Outcome:
    """One call of `convert`, in a folder of its own: an attempt that was given up cannot spoil another."""
    point, folder = task.point, Path(task.folder)
    finished = folder / POINTS / point.id
    attempt = finished.with_name(f"{point.id}.{uuid.uuid4().hex[:8]}")
    log, start = folder / LOGS / f"{point.id}.txt", time.monotonic()
    command = [sys.executable, "-m", "edgeflex_tflite.convert", *task.arguments, f"--output_dir={attempt}"]
    with log.open("wb") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, check=False, preexec_fn=_end_with_parent
        ).returncode
    outcome = Outcome(point.id, point.title, point.varied, "made", seconds=round(time.monotonic() - start, 1))
    if code == 0 and attempt.is_dir():
        shutil.rmtree(finished, ignore_errors=True)
        attempt.rename(finished)
        outcome = _measured(outcome, finished, folder)
    elif code in REFUSALS:
        outcome = dataclasses.replace(outcome, state="refused", reason=_last_error(log))
    else:
        outcome = dataclasses.replace(outcome, state="lost", reason=f"exit code {code}, see {log.relative_to(folder)}")
    for left in finished.parent.glob(f"{point.id}.*"):  # of this attempt, or of one that was killed before
        shutil.rmtree(left, ignore_errors=True)
    return outcome


def _end_with_parent() -> None:
    """In the child: what a worker that was killed had begun does not go on beside the attempt that takes its place."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else (lines or ["it said nothing"])[-1]


def _measured(outcome: Outcome, bundle: Path, folder: Path) -> Outcome:
    metrics, model = files.read_json(bundle / "metrics.json", Metrics), bundle / "model.tflite"
    return dataclasses.replace(
        outcome,
        weights_bytes=metrics.memory.weights_bytes,
        arena_bytes=metrics.memory.arena_bytes,
        file_bytes=metrics.memory.file_bytes,
        top1_percent=metrics.file.top1.percent,
        drop_points=metrics.drop_points,
        drop_low_points=metrics.drop_low_points,
        drop_high_points=metrics.drop_high_points,
        divergence=metrics.divergence,
        folder=str(bundle.relative_to(folder)),
        sha256=files.sha256_of_file(model),
    )
