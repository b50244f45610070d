"""What files cost, as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plotly import graph_objects

from edgeflex_tflite.analysis.analysis import Analysis
from edgeflex_tflite.memory import ArenaPlan
from edgeflex_tflite.report.analysis import compare_rows, full_text, labels
from edgeflex_tflite.report.analysis_ops import HEADERS, op_rows
from edgeflex_tflite.report.html.page import figure, render

_TEMPLATE = "analysis.html.jinja"
_MOST_BOXES = 4000
"""Beyond so many buffers a browser draws too slowly; the smallest are left out, and the caption says so."""


def analysis_html(analyses: Sequence[Analysis]) -> str:
    """The page: a table of all files, then for each its arena as a map, and everything else as text."""
    headers, rows = compare_rows(analyses)
    return render(
        _TEMPLATE,
        headers=headers,
        rows=rows,
        files=[_file(a, name) for a, name in zip(analyses, labels(analyses), strict=True)],
    )


def _file(a: Analysis, name: str) -> dict[str, Any]:
    plan = a.main.arena
    return {
        "name": name,
        "surprises": [(s.kind, s.text) for s in a.surprises],
        "plot": arena_map(plan, a.main.op_names) if plan.timeline_bytes else None,
        "left_out": boxes_left_out(plan),
        "text": full_text(a),
        "op_headers": HEADERS,
        "ops": [(graph.name or str(graph.index), op_rows(a, graph)) for graph in a.graphs],
    }


def boxes_left_out(plan: ArenaPlan) -> int:
    """How many buffers, the smallest, `arena_map` does not draw."""
    return max(sum(not one.persistent for one in plan.allocations) - _MOST_BOXES, 0)


def arena_map(plan: ArenaPlan, op_names: Sequence[str]) -> graph_objects.Figure:
    """Each buffer of the reused arena as a box, ops across and bytes up, under the sum of live bytes."""
    placed = [one for one in plan.allocations if not one.persistent and one.bytes]
    shown = sorted(placed, key=lambda one: -one.bytes)[:_MOST_BOXES]
    boxes = graph_objects.Bar(
        name="buffers",
        orientation="h",
        base=[one.first_op - 0.5 for one in shown],
        x=[one.last_op - one.first_op + 1 for one in shown],
        y=[one.offset_bytes + one.bytes / 2 for one in shown],
        width=[one.bytes for one in shown],
        customdata=[(one.name, one.bytes, one.offset_bytes, one.first_op, one.last_op) for one in shown],
        hovertemplate=(
            "%{customdata[0]}<br>%{customdata[1]:,} bytes at %{customdata[2]:,}<br>"
            "ops %{customdata[3]} to %{customdata[4]}<extra></extra>"
        ),
        marker={"line": {"width": 0.5}, "opacity": 0.55},
    )
    live = graph_objects.Scatter(
        name="live bytes",
        x=list(range(len(plan.timeline_bytes))),
        y=list(plan.timeline_bytes),
        text=list(op_names[: len(plan.timeline_bytes)]),
        mode="lines",
        line={"shape": "hvh", "width": 1.5},
        hovertemplate="op %{x} %{text}<br>%{y:,} bytes live<extra></extra>",
    )
    traces = [boxes, live, *_peak(plan)]
    drawn = figure(
        *traces, x="op, in execution order", y="bytes", barmode="overlay", bargap=0, yaxis_rangemode="tozero"
    )
    return drawn.add_hline(y=plan.lower_bound_bytes, line={"dash": "dot", "width": 1}, annotation_text="lower bound")


def _peak(plan: ArenaPlan) -> list[graph_objects.Scatter]:
    if plan.peak_op is None:
        return []
    index, name = plan.peak_op
    mark = graph_objects.Scatter(
        name=f"peak: op {index}, {name}",
        x=[index],
        y=[plan.timeline_bytes[index]],
        mode="markers",
        marker={"size": 11, "symbol": "diamond"},
        hovertemplate="the peak is set by op %{x}<br>%{y:,} bytes live<extra></extra>",
    )
    return [mark]
