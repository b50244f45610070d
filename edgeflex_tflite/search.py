"""The smallest file that loses no more accuracy than is allowed, found by making files and measuring them.

What single changes cost is measured once and decides what goes first at every budget; the budget itself is halved in
on, since predictions do not add up well enough to be spent: what the search believes is the written file on the
evaluation images (as NNCF's quantization with accuracy control does). A handful of files is tried, so these images
choose little; the report lists every one of them.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Tried
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.store import StageStore

TRIES = 5
"""Budgets that are tried, each in the middle of what is still open: the last is within 1/32 of the first range."""

Attempt = Callable[[int | None, Path], Tried]
"""Makes and measures the file of a budget (None: of none) in a folder."""


@dataclasses.dataclass(frozen=True)
class Found:
    """The smallest file that holds.

    Attributes:
        folder: what was made on the way to it.
        tried: every file, in the order of trying.
    """

    folder: Path
    tried: tuple[Tried, ...]


def smallest(store: StageStore, attempt: Attempt, least: int, most: int) -> Found:
    """Try the file of no budget, and then budgets between `least` and `most` bytes.

    Where not even the first file holds, it is what is found. What files other than the best so far have left on disk
    is removed, apart from their figures; so a search that was stopped goes on where it was.
    """
    best, tried = _try(store, attempt, 0, None)
    found = [tried]
    while tried.holds and len(found) <= TRIES and most - least > 1:
        middle = (least + most) // 2
        folder, latest = _try(store, attempt, len(found), middle)
        found.append(latest)
        if latest.holds:
            _forget(best)
            best, most = folder, middle
        else:
            _forget(folder)
            least = middle
    return Found(best, tuple(found))


def _try(store: StageStore, attempt: Attempt, number: int, budget: int | None) -> tuple[Path, Tried]:
    def work(folder: Path) -> str:
        tried = attempt(budget, folder)
        files.write_json(folder / "tried.json", tried)
        verdict = "holds" if tried.holds else "too much"
        return f"{tried.memory_bytes / MEGABYTE:.2f} MB, drop {tried.drop_points:+.2f} points: {verdict}"

    folder = store.run(f"try_{number}", work)
    return folder, files.read_json(folder / "tried.json", Tried)


def _forget(folder: Path) -> None:
    """Remove what a file was made from, but not what was found out about it."""
    for made in folder.iterdir():
        if made.is_dir():
            shutil.rmtree(made)
