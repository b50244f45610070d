"""Results of a target that is not there: blank, with the reason."""

from __future__ import annotations

from pathlib import Path

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.files import sha256_of_file
from edgeflex_tflite.targets.measurement import Environment, Measurement, Memory


def missing(file: str, target: str, reason: str) -> Measurement:
    """A file on a target that could not be reached, for that reason."""
    blank = NotMeasured(reason)
    path = Path(file)
    return Measurement(
        file=file,
        sha256=sha256_of_file(path),
        file_bytes=path.stat().st_size,
        environment=Environment(target, "not reached", blank, blank, 0, "none", "none", "unknown"),
        startup_ms=blank,
        first_ms=blank,
        latency=blank,
        memory=Memory.nothing(reason),
    )
