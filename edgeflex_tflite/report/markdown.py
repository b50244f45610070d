"""The report in the bundle: every figure comes from the written file or a named torch model."""

from __future__ import annotations

from tabulate import tabulate

from edgeflex_tflite.analysis.analysis import Analysis
from edgeflex_tflite.artifacts import NpuReport
from edgeflex_tflite.report import sentences, tables
from edgeflex_tflite.report.analysis import placement_line
from edgeflex_tflite.report.benchmark import benchmark_text
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.npu import figures_table, on_cpu_table, verdict_text
from edgeflex_tflite.report.signatures import signatures_table, signatures_text
from edgeflex_tflite.targets.results import Results


def report(found: Findings) -> str:
    """The whole report as Markdown."""
    metrics, plan = found.metrics, found.plan
    sections = [
        f"# {found.model} as a .tflite",
        sentences.headline(metrics),
        "## What it still knows",
        github(tables.accuracy_table(metrics)),
        sentences.agreement_text(metrics),
        sentences.evaluated_text(metrics, found.evaluated_on),
        sentences.flips_text(found.confusion),
        github(tables.classes_table(found.confusion, found.labels)),
        "## What it costs",
        github(tables.memory_table(metrics)),
        sentences.memory_note(metrics),
        _signatures_text(found),
        "## On this machine",
        _benchmark_text(found.benchmark),
        "## Where it runs",
        _placement_text(found.analysis),
        sentences.partitions_text(found.partitions, len(found.analysis.main.op_names)),
        "" if found.npu is None else f"## On {found.npu.target}\n\n{npu_text(found.npu)}",
        "## What was done",
        github(tables.widths_table(plan)),
        github(tables.precision_table(found.precisions)),
        sentences.merging_text(metrics.merging, found.tokens),
        _titled(sentences.merging_tried_text(metrics.merging), tables.merging_table(metrics.merging)),
        sentences.awq_text(found.groups),
        sentences.rounding_text(found.sites),
        _titled(sentences.tried_text(metrics), tables.tried_table(metrics)),
        sentences.prediction_text(plan, metrics),
        _titled(sentences.SINGLE_CHANGES, tables.sensitivity_table(plan)),
        sentences.parity_text(metrics.parity),
        sentences.READ_BACK,
        "## Activations",
        github(tables.outlier_table(found.profile)),
        f"Profiled on {found.profile.images} calibration images; sites that were never called: "
        f"{', '.join(found.profile.never_called) or 'none'}.",
        "## What it took",
        github(tables.stages_table(found.stages)),
    ]
    if found.command:
        sections += ["## Again", f"```\n{found.command}\n```"]
    return "\n\n".join(section for section in sections if section) + "\n"


def github(table: tables.Table) -> str:
    """The table in Markdown; nothing for one without rows."""
    if not table.rows:
        return ""
    return tabulate(table.rows, headers=table.headers, tablefmt="github", disable_numparse=True)


def npu_text(report: NpuReport) -> str:
    """What becomes of the file on its target: the share, what else the compiler says, what stays on the CPU and why."""
    parts = [verdict_text(report), github(figures_table(report)), github(on_cpu_table(report)), " ".join(report.notes)]
    return "\n\n".join(part for part in parts if part)


def _signatures_text(found: Findings) -> str:
    table = signatures_table(found.metrics, found.analysis.sha256, found.benchmark)
    return f"## Signatures\n\n{signatures_text(found.metrics)}\n\n{github(table)}" if table.rows else ""


def _titled(title: str, table: tables.Table) -> str:
    return f"{title}\n\n{github(table)}" if table.rows else ""


def _benchmark_text(benchmark: Results | None) -> str:
    if benchmark is None:
        return sentences.NOT_BENCHMARKED
    return f"{benchmark_text(benchmark, tablefmt='github')}\n\n{sentences.THREE_FIGURES}"


def _placement_text(analysis: Analysis) -> str:
    found = [f"* **{surprise.kind}**: {surprise.text}." for surprise in analysis.surprises]
    return "\n".join([f"On a CPU, {placement_line(analysis.main)}.", "", *found]).rstrip()
