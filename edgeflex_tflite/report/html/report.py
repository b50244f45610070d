"""The report in the bundle as a page: what was asked and reached, with a plot for everything that was measured."""

from __future__ import annotations

import base64
from typing import Any

from edgeflex_tflite.artifacts import NpuReport
from edgeflex_tflite.report import sentences, tables
from edgeflex_tflite.report.analysis import placement_line, placement_reasons
from edgeflex_tflite.report.analysis_html import arena_map, boxes_left_out
from edgeflex_tflite.report.benchmark import benchmark_text, measurement_names
from edgeflex_tflite.report.changes import changes
from edgeflex_tflite.report.distribution import distributions
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.footprint import footprint_table, footprints
from edgeflex_tflite.report.goals import Goal, goals
from edgeflex_tflite.report.html.accuracy import changes_map, ladder_plot
from edgeflex_tflite.report.html.cost import latency_plot, memory_plot, placement_plot, stages_plot
from edgeflex_tflite.report.html.method import errors_plot, precision_map, sensitivity_map, shapes_plot
from edgeflex_tflite.report.html.page import render
from edgeflex_tflite.report.npu import figures_table, on_cpu_table, verdict_text
from edgeflex_tflite.report.signatures import signatures_table, signatures_text
from edgeflex_tflite.report.summary import reached
from edgeflex_tflite.report.warnings import warnings
from edgeflex_tflite.targets.measurement import Latency
from edgeflex_tflite.targets.results import Results

_TEMPLATE = "report.html.jinja"


def report_html(found: Findings) -> str:
    """The whole page."""
    return render(
        _TEMPLATE,
        title=f"{found.model} as a .tflite",
        headline=sentences.headline(found.metrics),
        warnings=warnings(found),
        reached=reached(found),
        goals=tables.Table(Goal._fields, [tuple(goal) for goal in goals(found)]),
        recipe=found.recipe.to_json(),
        accuracy=_accuracy(found),
        worse=_worse(found),
        memory=_memory(found),
        latency=None if found.benchmark is None else _latency(found.benchmark),
        not_benchmarked=sentences.NOT_BENCHMARKED,
        placement=_placement(found),
        signatures={
            "text": signatures_text(found.metrics),
            "table": signatures_table(found.metrics, found.analysis.sha256, found.benchmark),
        },
        npu=None if found.npu is None else _npu(found.npu),
        method=_method(found),
        sensitivity=_sensitivity(found),
        outliers=tables.outlier_table(found.profile),
        profiled=found.profile.images,
        stages={"plot": stages_plot(found.stages), "table": tables.stages_table(found.stages)},
        command=found.command,
    )


def _npu(report: NpuReport) -> dict[str, Any]:
    return {
        "target": report.target,
        "verdict": verdict_text(report),
        "figures": figures_table(report),
        "on_cpu": on_cpu_table(report),
        "notes": report.notes,
    }


def _accuracy(found: Findings) -> dict[str, Any]:
    metrics = found.metrics
    lines = [sentences.evaluated_text(metrics, found.evaluated_on), sentences.agreement_text(metrics)]
    return {
        "plot": ladder_plot(metrics),
        "table": tables.accuracy_table(metrics),
        "lines": [*lines, sentences.parity_text(metrics.parity)],
    }


def _worse(found: Findings) -> dict[str, Any]:
    changed = changes(found.confusion)
    return {
        "line": sentences.flips_text(found.confusion),
        "table": tables.classes_table(found.confusion, found.labels),
        "plot": changes_map(changed, found.labels) if changed.answers else None,
        "pictures": [
            {
                "uri": "data:image/png;base64," + base64.b64encode(picture.png).decode(),
                "label": found.labels[picture.flip.label],
                "answer": found.labels[picture.flip.answer],
                "label_percent": f"{picture.flip.label_probability:.0%}",
                "answer_percent": f"{picture.flip.answer_probability:.0%}",
            }
            for picture in found.pictures
        ],
    }


def _memory(found: Findings) -> dict[str, Any]:
    graph = max(found.analysis.graphs, key=lambda each: each.arena.total_bytes)
    table, reasons = footprint_table(footprints(found.metrics, found.analysis.sha256, found.benchmark))
    return {
        "plot": memory_plot(found.metrics),
        "note": sentences.memory_note(found.metrics),
        "table": table,
        "reasons": reasons,
        "arena": arena_map(graph.arena, graph.op_names),
        "left_out": boxes_left_out(graph.arena),
        "peak": f"{found.metrics.memory.peak_op} {found.metrics.memory.peak_site}".rstrip(),
    }


def _latency(benchmark: Results) -> dict[str, Any]:
    names = measurement_names(benchmark.measurements)
    samples = {
        name: m.latency.samples_ms
        for name, m in zip(names, benchmark.measurements, strict=True)
        if isinstance(m.latency, Latency)
    }
    found = distributions(samples)
    return {
        "plot": latency_plot(found) if found else None,
        "text": benchmark_text(benchmark),
        "note": sentences.THREE_FIGURES,
    }


def _placement(found: Findings) -> dict[str, Any]:
    graph = found.analysis.main
    return {
        "plot": placement_plot(graph),
        "lines": [
            f"On a CPU, as the file's ops and XNNPACK's rules say: {placement_line(graph)}.",
            sentences.partitions_text(found.partitions, len(graph.op_names)),
        ],
        "reasons": placement_reasons(graph),
    }


def _method(found: Findings) -> dict[str, Any]:
    metrics = found.metrics
    lines = [
        sentences.merging_text(metrics.merging, found.tokens),
        sentences.awq_text(found.groups),
        sentences.rounding_text(found.sites),
        sentences.READ_BACK,
    ]
    return {
        "shapes": shapes_plot(found.plan, found.shapes),
        "widths": tables.widths_table(found.plan),
        "precisions": precision_map(found.precisions),
        "why": tables.precision_table(found.precisions),
        "lines": [line for line in lines if line],
        "merging": tables.merging_table(metrics.merging),
        "merging_line": sentences.merging_tried_text(metrics.merging),
        "tried": tables.tried_table(metrics),
        "tried_line": sentences.tried_text(metrics),
    }


def _sensitivity(found: Findings) -> dict[str, Any]:
    plan = found.plan
    return {
        "plot": sensitivity_map(plan) if plan.sensitivities else None,
        "line": sentences.SINGLE_CHANGES,
        "prediction": sentences.prediction_text(plan, found.metrics),
        "errors": errors_plot(plan),
    }
