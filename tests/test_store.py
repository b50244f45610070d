"""A stage is done once and wholly, and a run goes on only as the run that it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.store import StageStore

Reported = list[tuple[str, bool, str]]
FINGERPRINT = {"recipe": "abc", "labels": ["a", "b"], "threads": 2}


def new_store(folder: Path) -> tuple[StageStore, Reported]:
    """A store, and what it reports: (stage, whether it was resumed, what it says of itself)."""
    reported: Reported = []
    store = StageStore(folder, lambda record, resumed: reported.append((record.name, resumed, record.summary)))
    return store, reported


def opened(folder: Path, *, resume: bool = False) -> tuple[StageStore, Reported]:
    store, reported = new_store(folder)
    store.open(FINGERPRINT, resume)
    return store, reported


def counting(content: str) -> tuple[Callable[[Path], str], list[Path]]:
    """A stage that writes `content`, and the folders that it was given."""
    given: list[Path] = []

    def work(folder: Path) -> str:
        given.append(folder)
        (folder / "result.txt").write_text(content)
        return f"wrote {content}"

    return work, given


def failing(error: BaseException) -> Callable[[Path], str]:
    """A stage that writes half of its result and raises."""

    def work(folder: Path) -> str:
        (folder / "half.txt").write_text("half")
        raise error

    return work


def test_a_stage_writes_its_folder(tmp_path: Path) -> None:
    store, reported = opened(tmp_path / "run")
    work, given = counting("one")
    done = store.run("first", work)
    assert done == tmp_path / "run" / "first"
    assert (done / "result.txt").read_text() == "one"
    assert given != [done]
    assert not given[0].exists()
    assert reported == [("first", False, "wrote one")]


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    store, reported = opened(tmp_path / "run")
    store.run("first", counting("one")[0])
    resumed, resumed_report = opened(tmp_path / "run", resume=True)
    work, given = counting("two")
    for again in (store, resumed):
        assert (again.run("first", work) / "result.txt").read_text() == "one"
    assert given == []
    assert resumed_report == [("first", True, "wrote one")]
    assert reported == [("first", False, "wrote one"), ("first", True, "wrote one")]


@pytest.mark.parametrize("error", [UserError("bad"), OSError("disk full"), KeyboardInterrupt()])
def test_a_stage_that_raises_leaves_no_finished_folder(tmp_path: Path, error: BaseException) -> None:
    store, reported = opened(tmp_path / "run")
    with pytest.raises(type(error)):
        store.run("first", failing(error))
    assert not (tmp_path / "run" / "first").exists()
    assert reported == []


def test_a_stage_that_failed_starts_from_an_empty_folder(tmp_path: Path) -> None:
    store, _ = opened(tmp_path / "run")
    with pytest.raises(OSError, match="disk full"):
        store.run("first", failing(OSError("disk full")))
    resumed, _ = opened(tmp_path / "run", resume=True)
    done = resumed.run("first", counting("one")[0])
    assert sorted(path.name for path in done.iterdir()) == ["result.txt"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "other"}, "recipe"),
        ({"labels": ["a"]}, "labels"),
        ({"recipe": "other", "threads": 1}, "recipe, threads"),
        ({"weights": "new"}, "weights"),
    ],
)
def test_another_run_is_refused_by_what_differs(tmp_path: Path, changes: dict, named: str) -> None:
    opened(tmp_path / "run")[0].run("first", counting("one")[0])
    with pytest.raises(UserError, match=f"had another {named}: .*--overwrite"):
        new_store(tmp_path / "run")[0].open(FINGERPRINT | changes, resume=True)
    assert (tmp_path / "run" / "first" / "result.txt").read_text() == "one"


def test_a_fingerprint_is_the_same_after_json(tmp_path: Path) -> None:
    """Tuples become lists in the file, which is no difference."""
    store, _ = new_store(tmp_path / "run")
    store.open({"size": (32, 32)}, resume=False)
    store.open({"size": (32, 32)}, resume=True)
    assert json.loads((tmp_path / "run" / "run.json").read_text()) == {"size": [32, 32]}


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    opened(tmp_path / "run")[0].run("first", counting("one")[0])
    store, reported = opened(tmp_path / "run")
    store.run("first", counting("two")[0])
    assert (tmp_path / "run" / "first" / "result.txt").read_text() == "two"
    assert reported == [("first", False, "wrote two")]


def test_resume_without_a_run_starts_one(tmp_path: Path) -> None:
    store, reported = opened(tmp_path / "deep" / "run", resume=True)
    store.run("first", counting("one")[0])
    assert reported == [("first", False, "wrote one")]


def test_a_folder_without_its_fingerprint_is_not_gone_on_with(tmp_path: Path) -> None:
    """Killed before it was known which run it is, so its stages may be of any."""
    (tmp_path / "run" / "first").mkdir(parents=True)
    (tmp_path / "run" / "first.txt").write_text("of another run")
    store, reported = opened(tmp_path / "run", resume=True)
    store.run("first", counting("one")[0])
    assert reported == [("first", False, "wrote one")]


def test_discard_removes_the_run(tmp_path: Path) -> None:
    store, _ = opened(tmp_path / "run")
    store.run("first", counting("one")[0])
    store.discard()
    assert list(tmp_path.iterdir()) == []
    shutil.rmtree(tmp_path)
    store.discard()
