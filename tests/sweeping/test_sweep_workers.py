"""Points on several workers, of which some die."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.sweeping import make, workers
from edgeflex_tflite.sweeping.make import Task
from edgeflex_tflite.sweeping.outcome import Outcome
from edgeflex_tflite.sweeping.points import make_points

ray = pytest.importorskip("ray", reason="Ray is not installed")


@pytest.fixture(autouse=True)
def _found_by_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's workers import this module, for what stands in for `make`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def tasks_in(folder: Path, count: int, retries: int = 2) -> list[Task]:
    points = make_points(Recipe(), {}, {"seed": list(range(count))}, None, 0)
    return [Task(point, str(folder), 1, retries) for point in points]


def slow_point(task: Task) -> Outcome:
    """Says in whose process it runs, and takes its time."""
    started = Path(task.folder, f"{task.point.id}.{os.getpid()}")
    started.touch()
    time.sleep(0.3)
    return Outcome(task.point.id, task.point.title, task.point.varied, "made")


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_costs_its_task_one_more_attempt(tmp_path: Path) -> None:
    tasks = tasks_in(tmp_path, 24)
    found: list[Outcome] = []
    killed = None
    for outcome in workers.on_ray(tasks, workers.LOCAL, 2, slow_point):
        found.append(outcome)
        if len(found) == 6:
            killed = _running(tmp_path, found)
            os.kill(killed, signal.SIGKILL)
    assert Counter(each.id for each in found) == Counter(task.point.id for task in tasks)
    assert {each.state for each in found} == {"made"}
    attempts = Counter(path.name.partition(".")[0] for path in tmp_path.iterdir())
    assert killed is not None and max(attempts.values()) == 2, "the killed worker's task was tried twice"


def _running(folder: Path, found: list[Outcome]) -> int:
    """The process of a point that has begun and not ended."""
    finished = {each.id for each in found}
    for _ in range(100):
        for path in folder.iterdir():
            point, _, process = path.name.partition(".")
            if point not in finished:
                return int(process)
        time.sleep(0.05)
    raise AssertionError("no point is being made")


def dies(task: Task) -> Outcome:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


@pytest.mark.slow
def test_a_task_that_kills_every_worker_is_lost_alone(tmp_path: Path) -> None:
    (outcome,) = workers.on_ray(tasks_in(tmp_path, 2, retries=1)[:1], workers.LOCAL, 1, dies)
    assert outcome.state == "lost"
    assert outcome.reason.startswith("WorkerCrashedError: ")


def test_no_cluster() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        next(workers.on_ray(tasks_in(Path("x"), 2), "127.0.0.1:1", 1))


@pytest.mark.parametrize("code", [2, 3, -9, 0])
def test_what_becomes_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Only what died is tried again, or what left nothing, whatever it says; nothing half-made stays."""
    attempts = []

    def run(command: list[str], stdout: Any, **_: Any) -> subprocess.CompletedProcess:
        attempts.append(command)
        Path(command[-1].removeprefix("--output_dir=") + ".partial").mkdir()
        stdout.write(b"profile 1.0 s\nerror: an impossible budget\n")
        return subprocess.CompletedProcess(command, code)

    monkeypatch.setattr(make.subprocess, "run", run)
    (task, *_) = tasks_in(tmp_path, 2)
    make.prepare(task)
    (tmp_path / "points" / f"{task.point.id}.killed.partial" / "profile").mkdir(parents=True)
    (outcome,) = workers.on_this_machine([task], 1)
    if code in (2, 3):
        assert (outcome.state, outcome.reason, len(attempts)) == ("refused", "an impossible budget", 1)
    else:
        assert (outcome.state, len(attempts)) == ("lost", 3)
        assert outcome.reason == f"exit code {code}, see logs/{task.point.id}.txt"
    assert list((tmp_path / "points").iterdir()) == []
