"""What a run reached in a few figures: the head of the page, and the last lines on the terminal."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from tabulate import tabulate

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.tables import BLANK, mb, percent
from edgeflex_tflite.report.warnings import warnings
from edgeflex_tflite.targets.measurement import Latency, Measurement


class Reached(NamedTuple):
    """One figure before and now; `BLANK` where it was not measured."""

    what: str
    before: str
    now: str


def reached(found: Findings) -> list[Reached]:
    """Accuracy and bytes against the model as it came, time and process against its FP32 graph in the same turn."""
    metrics, dense = found.metrics, found.metrics.dense_memory
    before, now = _float_and_file(found)
    return [
        Reached("top-1 %", f"{metrics.dense.top1.percent:.2f}", percent(metrics.file.top1)),
        Reached("weights + planned arena, MB", _predicted(dense.total_bytes), mb(metrics.memory.total_bytes)),
        Reached("file, MB", _predicted(dense.file_bytes), mb(metrics.memory.file_bytes)),
        Reached("median latency here, ms", _unquantized(_median(before)), _median(now)),
        Reached("process peak here, MB", _unquantized(_peak(before)), _peak(now)),
    ]


def summary_text(found: Findings) -> str:
    """The figures as a table, and what kinds of warnings the report begins with."""
    kinds = Counter(warned.kind for warned in warnings(found))
    named = [kind if count == 1 else f"{kind} ({count})" for kind, count in kinds.items()]
    lines = [f"warnings, see the report: {', '.join(named)}"] if named else []
    table = tabulate(reached(found), headers=("", "FP32", "the file"), disable_numparse=True)
    return "\n".join([table, *lines]) + "\n"


def _float_and_file(found: Findings) -> tuple[Measurement | None, Measurement | None]:
    """The measurements of the FP32 graph that was quantized, and of the written file."""
    measured = found.benchmark.measurements if found.benchmark else ()
    files = [m for m in measured if m.sha256 == found.analysis.sha256]
    others = [m for m in measured if m.sha256 != found.analysis.sha256]
    return others[0] if others else None, files[0] if files else None


def _predicted(count: int) -> str:
    return f"{mb(count)} (predicted)"


def _unquantized(figure: str) -> str:
    return figure if figure == BLANK else f"{figure} (the same, not quantized)"


def _median(m: Measurement | None) -> str:
    median = m.latency.median_ms if m is not None and isinstance(m.latency, Latency) else NotMeasured("")
    return BLANK if isinstance(median, NotMeasured) else f"{median:.2f}"


def _peak(m: Measurement | None) -> str:
    peak = NotMeasured("") if m is None else m.memory.process_peak_bytes
    return BLANK if isinstance(peak, NotMeasured) else f"{peak / MEGABYTE:.1f}"
