"""What the stage that writes the file leaves beside it for later ones."""

from __future__ import annotations

from pathlib import Path

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Merging, Signature

MERGING_FILE, SIGNATURES_FILE = "merging.json", "signatures.json"


def merged(lowered: Path) -> Merging:
    """The tokens that the file's blocks merge; of the folder of the file, or of the one where that was decided."""
    return files.read_json(lowered / MERGING_FILE, Merging)


def signatures(lowered: Path) -> tuple[Signature, ...]:
    """The signatures of the file, not yet compared with each other."""
    return files.read_json(lowered / SIGNATURES_FILE, tuple[Signature, ...])
