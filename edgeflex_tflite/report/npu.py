"""What becomes of a file on its target, as Markdown."""

from __future__ import annotations

from tabulate import tabulate

from edgeflex_tflite.artifacts import Figure, NpuReport

KIB = 1024


def npu_text(report: NpuReport) -> str:
    """Share, what stays on the CPU and why, and what else the compiler says."""
    compiled = f" The compiled file is `{report.compiled}`." if report.compiled else ""
    left = [(each.op, each.count, each.reason) for each in report.on_cpu]
    figures = [(figure.what, _value(figure)) for figure in report.figures]
    parts = [
        f"{report.verdict}.{compiled}",
        tabulate(figures, headers=("what", "value"), tablefmt="github", disable_numparse=True) if figures else "",
        tabulate(left, headers=("on the CPU", "operators", "why"), tablefmt="github") if left else "",
        " ".join(report.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def _value(figure: Figure) -> str:
    if figure.unit == "bytes":
        return f"{figure.value / KIB:,.0f} KiB"
    number = f"{figure.value:,.0f}" if float(figure.value).is_integer() else f"{figure.value:,.2f}"
    return f"{number} {figure.unit}"
