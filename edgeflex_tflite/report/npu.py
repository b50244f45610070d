"""What becomes of a file on its target."""

from __future__ import annotations

from edgeflex_tflite.artifacts import Figure, NpuReport
from edgeflex_tflite.report.tables import Table

KIB = 1024


def verdict_text(report: NpuReport) -> str:
    """How much of the file runs there, and which file does."""
    compiled = f" The compiled file is `{report.compiled}`." if report.compiled else ""
    return f"{report.verdict}.{compiled}"


def figures_table(report: NpuReport) -> Table:
    """What else the compiler says."""
    return Table(("what", "value"), [(figure.what, _value(figure)) for figure in report.figures])


def on_cpu_table(report: NpuReport) -> Table:
    """What stays on the CPU, and why."""
    rows = [(each.op, str(each.count), each.reason) for each in report.on_cpu]
    return Table(("on the CPU", "operators", "why"), rows)


def _value(figure: Figure) -> str:
    if figure.unit == "bytes":
        return f"{figure.value / KIB:,.0f} KiB"
    number = f"{figure.value:,.0f}" if float(figure.value).is_integer() else f"{figure.value:,.2f}"
    return f"{number} {figure.unit}"
