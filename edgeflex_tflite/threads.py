"""How many threads a run gets when nobody says."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
