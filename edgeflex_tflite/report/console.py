"""Progress on the terminal: a bar for long work, one line a finished stage."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tqdm import tqdm


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

    def stage(self, name: str, seconds: float | None, summary: str) -> None:
        """One line for a finished stage; without seconds it was finished in a run before."""
        took = "  resumed" if seconds is None else f"{seconds:7.1f} s"
        self.line(f"{name:<16}{took}  {summary}")

    def line(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stdout, flush=True)
