"""Results as files: JSON that is checked against its dataclass, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")
CHUNK_BYTES = 1 << 22


def to_json(artifact: Any, kind: Any = None) -> str:
    """A dataclass, or anything that `kind` describes, as indented JSON."""
    return TypeAdapter(kind or type(artifact)).dump_json(artifact, indent=2).decode() + "\n"


def write_json(path: Path, artifact: Any, kind: Any = None) -> None:
    """Write what `to_json` gives under a temporary name, and rename it."""
    write_bytes(path, to_json(artifact, kind).encode())


def read_json(path: Path, kind: type[T]) -> T:
    """What `write_json` wrote, checked against its type."""
    return TypeAdapter(kind).validate_json(path.read_bytes())


def write_object(path: Path, content: object, indent: int = 2) -> None:
    """Write plain dictionaries and lists as JSON, under a temporary name, and rename it."""
    write_bytes(path, (json.dumps(content, indent=indent) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def replace_folder(finished: Path, place: Path) -> None:
    """Move a finished folder to its place by a rename; what was there goes."""
    replaced = place.with_name(place.name + ".old")
    if place.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        place.replace(replaced)
    finished.replace(place)
    shutil.rmtree(replaced, ignore_errors=True)


def sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
