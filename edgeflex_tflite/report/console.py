"""Progress on the terminal: a bar for long work, one line a finished stage."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm

from edgeflex_tflite.artifacts import StageRecord


class Console:
    """Where a run tells what it does; `quiet` says nothing. Bars show on a terminal only."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def progress(self, items: Iterable, caption: str, total: int | None = None) -> Iterable:
        """The items, behind a bar; `total` says how many there are where they do not."""
        return tqdm(items, desc=caption, total=total, leave=False, disable=True if self._quiet else None)

    def bar(self, total: int, caption: str, unit: str = "image") -> tqdm:
        """A bar to update by hand."""
        return tqdm(total=total, desc=caption, unit=unit, leave=False, disable=True if self._quiet else None)

    def stage(self, record: StageRecord, resumed: bool = False) -> None:
        """One line for a finished stage: its time, and the largest memory of the process so far."""
        took = "  resumed" if resumed else f"{record.seconds:7.1f} s"
        peak = f"{record.peak_bytes / 1e9:5.1f} GB" if record.peak_bytes is not None and not resumed else " " * 8
        self.line(f"{record.name:<18}{took}{peak}  {record.summary}")

    def line(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stdout, flush=True)
