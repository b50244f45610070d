"""The first TensorFlow Lite release that runs a graph's operators."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import Graph

Release = tuple[int, ...]


@dataclass(frozen=True)
class RuntimeNeeds:
    """What a file asks of the runtime's age.

    Attributes:
        release: The oldest TensorFlow Lite release that has all listed operator versions, e.g. "2.13.0".
        because: Operators that need just that one, as "NAME version N".
        unlisted: Operators for which `op_versions.json` does not know the version.
    """

    release: str
    because: tuple[str, ...]
    unlisted: tuple[str, ...]


@cache
def _table() -> dict[str, dict[str, str]]:
    content: dict = json.loads(Path(__file__).with_name("op_versions.json").read_text())
    operators: dict[str, dict[str, str]] = content["operators"]
    return operators


def release(text: str) -> Release:
    """ "2.13.0" as numbers.

    Raises:
        UserError: It is no release.
    """
    parts = text.split(".")
    if not 2 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        raise UserError(f"{text!r} is no TensorFlow Lite release: give one as in 2.13.0")
    return tuple(int(part) for part in [*parts, "0"][:3])


def runtime_needs(graphs: Iterable[Graph]) -> RuntimeNeeds:
    """The oldest release for a file's builtin operators."""
    used = {(op.name, op.version) for graph in graphs for op in graph.ops if not op.is_custom}
    known = {key: _table().get(key[0], {}).get(str(key[1])) for key in used}
    listed = {key: found for key, found in known.items() if found is not None}
    oldest = max(listed.values(), key=release, default="1.5.0")
    return RuntimeNeeds(
        release=oldest,
        because=tuple(sorted(_says(key) for key, found in listed.items() if found == oldest)),
        unlisted=tuple(sorted(_says(key) for key, found in known.items() if found is None)),
    )


def newer_than(graphs: Iterable[Graph], runtime: str) -> tuple[str, ...]:
    """Operators that a given release does not run yet, as "NAME version N (2.13.0)".

    Raises:
        UserError: `runtime` is no release.
    """
    given = release(runtime)
    used = {(op.name, op.version) for graph in graphs for op in graph.ops if not op.is_custom}
    found = ((key, _table().get(key[0], {}).get(str(key[1]))) for key in sorted(used))
    return tuple(f"{_says(key)} ({first})" for key, first in found if first is not None and release(first) > given)


def _says(key: tuple[str, int]) -> str:
    return f"{key[0]} version {key[1]}"
