"""Memory before and after: of the model as it came, and of each file that was measured."""

from __future__ import annotations

import dataclasses

from edgeflex_tflite.artifacts import Metrics, NotMeasured
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.benchmark import Reasons, measurement_names
from edgeflex_tflite.report.tables import Table
from edgeflex_tflite.targets.measurement import Measurement
from edgeflex_tflite.targets.results import Results

NOT_WRITTEN = NotMeasured("the FP32 file of the model as it came is never written; its bytes are predicted")
NOT_PLANNED = NotMeasured("weights and arena are read from the written file alone")
NOT_RUN = NotMeasured("`--nobenchmark` was given")


@dataclasses.dataclass(frozen=True)
class Footprint:
    """One file; every figure is bytes, or why there are none.

    Attributes:
        weights, planned_arena: read from the file, or predicted for the one that is never written.
        arena, runtime, process_peak, anonymous, file_backed: of the process that ran it, as the benchmark has them.
    """

    name: str
    file: int | NotMeasured
    weights: int | NotMeasured
    planned_arena: int | NotMeasured
    arena: int | NotMeasured
    runtime: int | NotMeasured
    process_peak: int | NotMeasured
    anonymous: int | NotMeasured
    file_backed: int | NotMeasured


TITLES = {
    "file": "file",
    "weights": "weights",
    "planned_arena": "arena, planned without a delegate",
    "arena": "arena, as it ran",
    "runtime": "runtime-owned",
    "process_peak": "process, peak",
    "anonymous": "process, anonymous",
    "file_backed": "process, file-backed",
}


def footprints(metrics: Metrics, sha256: str, benchmark: Results | None) -> list[Footprint]:
    """The model as it came first; `sha256` is the written file's."""
    dense, file = metrics.dense_memory, metrics.memory
    before = Footprint(
        "FP32, not pruned (predicted)", dense.file_bytes, dense.weights_bytes, dense.arena_bytes, *[NOT_WRITTEN] * 5
    )
    planned = (file.weights_bytes, file.arena_bytes)
    if benchmark is None:
        return [before, Footprint("the written file", file.file_bytes, *planned, *[NOT_RUN] * 5)]
    names = measurement_names(benchmark.measurements)
    return [
        before,
        *(
            _measured(name, m, planned if m.sha256 == sha256 else (NOT_PLANNED, NOT_PLANNED))
            for name, m in zip(names, benchmark.measurements, strict=True)
        ),
    ]


def _measured(name: str, m: Measurement, planned: tuple[int | NotMeasured, int | NotMeasured]) -> Footprint:
    memory = m.memory
    return Footprint(
        name,
        m.file_bytes,
        *planned,
        memory.arena_bytes,
        memory.runtime_bytes,
        memory.process_peak_bytes,
        memory.process_anonymous_bytes,
        memory.process_file_bytes,
    )


def footprint_table(found: list[Footprint]) -> tuple[Table, list[str]]:
    """One row a figure and one column a file, in MB; and the reasons for the blanks."""
    reasons = Reasons()
    rows = [
        (title, *(reasons.cell(getattr(each, name), unit=MEGABYTE) for each in found)) for name, title in TITLES.items()
    ]
    return Table(("MB", *(each.name for each in found)), rows), reasons.lines()
