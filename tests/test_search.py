"""The search for the smallest file that holds, with files that are only made up."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.artifacts import Tried
from edgeflex_tflite.search import TRIES, Found, smallest
from edgeflex_tflite.store import StageStore

LEAST, MOST = 1_000, 33_000


class Files:
    """Files that hold as long as their budget is at least `needed`; each leaves a folder of its making."""

    def __init__(self, needed: float, fails_at: int | None = None) -> None:
        self.needed, self.fails_at = needed, fails_at
        self.asked: list[int | None] = []

    def __call__(self, budget: int | None, folder: Path) -> Tried:
        self.asked.append(budget)
        if len(self.asked) == self.fails_at:
            raise KeyboardInterrupt
        (folder / "lower").mkdir()
        memory = MOST if budget is None else budget
        return Tried(budget, memory, max(self.needed - memory, 0) / 1e3, memory >= self.needed)


def search(folder: Path, attempt: Files, resume: bool = False) -> Found:
    store = StageStore(folder, lambda *_: None)
    store.open({}, resume)
    return smallest(store, attempt, LEAST, MOST)


@given(st.floats(1, MOST))
def test_smallest_that_holds_to_within_a_part_of_the_range(needed: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = search(Path(folder, "run"), Files(needed))
    holding = [tried.memory_bytes for tried in found.tried if tried.holds]
    failing = [tried.memory_bytes for tried in found.tried if not tried.holds]
    assert len(found.tried) == 1 + TRIES
    assert min(holding) >= needed > max(failing, default=0)
    assert min(holding) - max(needed, LEAST) <= (MOST - LEAST) / 2**TRIES


def test_folder_of_the_best_is_whole_and_of_the_others_only_figures_stay(tmp_path: Path) -> None:
    found = search(tmp_path / "run", Files(20_000))
    best = min((tried.memory_bytes, number) for number, tried in enumerate(found.tried) if tried.holds)[1]
    assert found.folder == tmp_path / "run" / f"try_{best}"
    for number in range(1 + TRIES):
        assert (tmp_path / "run" / f"try_{number}" / "lower").is_dir() == (number == best)
        assert (tmp_path / "run" / f"try_{number}" / "tried.json").is_file()


def test_nothing_is_tried_where_the_first_file_loses_too_much(tmp_path: Path) -> None:
    files = Files(MOST + 1)
    found = search(tmp_path / "run", files)
    assert files.asked == [None]
    assert found.folder.name == "try_0" and not found.tried[0].holds and (found.folder / "lower").is_dir()


@pytest.mark.parametrize("stopped_at", [1, 2, 4, 6])
def test_a_stopped_search_goes_on_and_finds_the_same(tmp_path: Path, stopped_at: int) -> None:
    expected = search(tmp_path / "whole", Files(12_345))
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "run", Files(12_345, fails_at=stopped_at))
    rest = Files(12_345)
    found = search(tmp_path / "run", rest, resume=True)
    assert len(rest.asked) == 1 + TRIES - (stopped_at - 1)
    assert found.tried == expected.tried
    assert found.folder.name == expected.folder.name and (found.folder / "lower").is_dir()


def test_a_range_without_a_middle_is_not_searched(tmp_path: Path) -> None:
    store = StageStore(tmp_path / "run", lambda *_: None)
    store.open({}, resume=False)
    files: Any = Files(0)
    assert len(smallest(store, files, 7, 8).tried) == 1
