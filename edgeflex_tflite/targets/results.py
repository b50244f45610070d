"""What one benchmark call leaves: a JSON document, and a line in a file that later calls compare with."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Environment, Latency, Measurement, Ratio

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Results:
    """All that one call measured.

    Attributes:
        schema_version: Of this document; another number means that fields changed their meaning.
        created: When, in UTC, ISO 8601.
        version: Of this package.
        command: What was asked for.
        protocol: For how long was measured.
        measurements: One for each file, variant and target.
        ratios: Of every two files that were measured in turn.
    """

    schema_version: int
    created: str
    version: str
    command: str
    protocol: Protocol
    measurements: tuple[Measurement, ...]
    ratios: tuple[Ratio, ...]

    @classmethod
    def now(
        cls, command: str, protocol: Protocol, measurements: Sequence[Measurement], ratios: Sequence[Ratio]
    ) -> Results:
        created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        version = importlib.metadata.version("edgeflex-tflite")
        return cls(SCHEMA_VERSION, created, version, command, protocol, tuple(measurements), tuple(ratios))


@dataclass(frozen=True)
class Change:
    """A measurement beside the last earlier one of the same file name, variant, target, threads and delegate.

    Attributes:
        now, before: The two.
        before_created: When the earlier one was taken.
        same_content: The file is the same, byte for byte.
        same_place: Device and runtime are the same.
    """

    now: Measurement
    before: Measurement
    before_created: str
    same_content: bool
    same_place: bool

    @property
    def latency_ratio(self) -> float | None:
        """Median now over median before; None where one was not measured."""
        medians = [m.latency.median_ms if isinstance(m.latency, Latency) else None for m in (self.now, self.before)]
        if not all(isinstance(median, float) for median in medians):
            return None
        return medians[0] / medians[1]  # type: ignore[operator]


def schema() -> dict:
    """JSON Schema of the document."""
    return TypeAdapter(Results).json_schema()


def append(path: Path, results: Results) -> None:
    """Add the results to a file, as one line of JSON."""
    line = TypeAdapter(Results).dump_json(results) + b"\n"
    with path.open("ab") as file:
        file.write(line)


def read_all(path: Path) -> list[Results]:
    """What calls of `append` have left, the earliest first.

    Raises:
        UserError: There is no such file, or a line of it is not such a document.
    """
    if not path.is_file():
        raise UserError(f"there is no results file {path}: --results_file={path} makes one")
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            version = json.loads(line).get("schema_version")
            if version != SCHEMA_VERSION:
                raise UserError(f"{path}, line {number}, has schema version {version}; this program reads 1")
            found.append(TypeAdapter(Results).validate_json(line))
        except (ValidationError, json.JSONDecodeError, AttributeError) as error:
            raise UserError(f"{path}, line {number}, is not a benchmark result: name a --results_file") from error
    return found


def changes(now: Sequence[Measurement], earlier: Sequence[Results]) -> list[Change]:
    """What changed since; measurements that have no earlier one are left out."""
    last = {_key(m): (m, results.created) for results in earlier for m in results.measurements}
    return [_change(m, *last[_key(m)]) for m in now if _key(m) in last]


def _change(now: Measurement, before: Measurement, created: str) -> Change:
    return Change(
        now, before, created, now.sha256 == before.sha256, _place(now.environment) == _place(before.environment)
    )


def _key(m: Measurement) -> tuple[str, ...]:
    environment = m.environment
    return (Path(m.file).name, m.variant, environment.target, str(environment.threads), environment.delegate)


def _place(environment: Environment) -> tuple[str, ...]:
    return environment.device, environment.runtime, str(environment.cpu)
