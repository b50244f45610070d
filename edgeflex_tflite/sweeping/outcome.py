"""What became of a point, and the file that outcomes are appended to."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

State = Literal["made", "refused", "lost"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One point, finished.

    Attributes:
        id, title, varied: of the point.
        state: `made`; `refused`, where `convert` said no, which it would say again; `lost`, where its process died.
        reason: of anything but `made`.
        seconds: that it took.
        weights_bytes, arena_bytes, file_bytes: of the file.
        top1_percent, drop_points, drop_low_points, drop_high_points, divergence: as in `Metrics`.
        folder: the bundle, within the sweep's own folder.
        sha256: of the file.
    """

    id: str
    title: str
    varied: dict[str, Any]
    state: State
    reason: str = ""
    seconds: float = 0.0
    weights_bytes: int | None = None
    arena_bytes: int | None = None
    file_bytes: int | None = None
    top1_percent: float | None = None
    drop_points: float | None = None
    drop_low_points: float | None = None
    drop_high_points: float | None = None
    divergence: float | None = None
    folder: str | None = None
    sha256: str | None = None

    @property
    def model(self) -> str | None:
        """The file, within the sweep's own folder."""
        return None if self.folder is None else f"{self.folder}/model.tflite"

    @property
    def memory_bytes(self) -> int | None:
        """Weights and arena."""
        if self.weights_bytes is None or self.arena_bytes is None:
            return None
        return self.weights_bytes + self.arena_bytes


def append(path: Path, outcome: Outcome) -> None:
    """Add one line; it is there whole, or (after a power cut) not at all for `read`."""
    line = TypeAdapter(Outcome).dump_json(outcome) + b"\n"
    before = path.read_bytes() if path.exists() else b""
    if before and not before.endswith(b"\n"):
        line = b"\n" + line  # behind one that was cut off
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> dict[str, Outcome]:
    """The last outcome of each point, by its id; a line that was cut off counts as not written."""
    found: dict[str, Outcome] = {}
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            outcome = TypeAdapter(Outcome).validate_json(line)
        except ValidationError:
            continue
        found[outcome.id] = outcome
    return found
