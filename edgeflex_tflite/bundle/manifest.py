"""Where a file came from: hashes, versions and the recipe, so that anyone can get the same file again."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflex_tflite import files, serialize
from edgeflex_tflite.artifacts import Signature

if TYPE_CHECKING:
    from edgeflex_tflite.run import Run

PACKAGES = (
    "edgeflex-tflite",
    "ai-edge-litert",
    "ai-edge-quantizer",
    "litert-converter",
    "litert-torch",
    "numpy",
    "pillow",
    "timm",
    "torch",
    "torchvision",
)


@dataclasses.dataclass(frozen=True)
class Origin:
    """How the user named the model and the data.

    Attributes:
        model: timm name.
        checkpoint: file of weights, or None for timm's own.
        data, calibration_data: sources as the user wrote them.
        command: the whole command, where there was one.
    """

    model: str | None = None
    checkpoint: str | None = None
    data: str | None = None
    calibration_data: str | None = None
    command: str | None = None


def versions() -> dict[str, str]:
    """Of everything that can change a byte of the result."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def fingerprint(run: Run) -> dict[str, Any]:
    """What makes one run the same as another."""
    return {
        "recipe": run.recipe.sha256,
        "weights": serialize.sha256_of_weights(run.source.state_dict()),
        "calibration images": run.data.calibration.fingerprint,
        "evaluation images": run.data.evaluation.fingerprint,
        "preprocessing": run.preprocessing.to_json(),
        "labels": list(run.labels),
        "versions": versions(),
        "threads": run.threads,
        "machine": platform.machine(),
    }


def manifest(
    run: Run, origin: Origin, identity: dict[str, Any], signatures: Sequence[Signature], folder: Path
) -> dict[str, Any]:
    """The manifest of a bundle whose other files are in `folder`; `identity` is the run's fingerprint."""
    return {
        "origin": dataclasses.asdict(origin),
        "architecture": type(run.source).__name__,
        "seed": run.recipe.seed,
        "run": identity,
        "signatures": {signature.name: signature.batch for signature in signatures},
        "files": hashes(folder),
    }


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under a folder, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): files.sha256_of_file(path) for path in paths}
