"""What files cost, as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from plotly import graph_objects
from plotly.offline import get_plotlyjs

from edgeflex_tflite.analysis.analysis import Analysis
from edgeflex_tflite.memory import ArenaPlan
from edgeflex_tflite.report.analysis import compare_rows, full_text, labels
from edgeflex_tflite.report.analysis_ops import HEADERS, op_rows

_TEMPLATE = "analysis.html.jinja"
_MOST_BOXES = 4000
"""Beyond so many buffers a browser draws too slowly; the smallest are left out, and the caption says so."""


def analysis_html(analyses: Sequence[Analysis]) -> str:
    """The page: a table of all files, then for each its arena as a map, and everything else as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    headers, rows = compare_rows(analyses)
    return environment.get_template(_TEMPLATE).render(
        headers=headers,
        rows=rows,
        files=[_file(a, name) for a, name in zip(analyses, labels(analyses), strict=True)],
        plotly=get_plotlyjs(),
    )


def _file(a: Analysis, name: str) -> dict[str, Any]:
    plan = a.main.arena
    left_out = max(sum(not one.persistent for one in plan.allocations) - _MOST_BOXES, 0)
    return {
        "name": name,
        "surprises": [(s.kind, s.text) for s in a.surprises],
        "plot": arena_map(plan, a.main.op_names).to_json() if plan.timeline_bytes else None,
        "left_out": left_out,
        "text": full_text(a),
        "op_headers": HEADERS,
        "ops": [(graph.name or str(graph.index), op_rows(a, graph)) for graph in a.graphs],
    }


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
        marker={"line": {"width": 0.5, "color": "rgba(128,128,128,0.9)"}, "color": "rgba(70,130,180,0.55)"},
    )
    live = graph_objects.Scatter(
        name="live bytes",
        x=list(range(len(plan.timeline_bytes))),
        y=list(plan.timeline_bytes),
        text=list(op_names[: len(plan.timeline_bytes)]),
        mode="lines",
        line={"shape": "hvh", "color": "rgb(220,110,50)", "width": 1.5},
        hovertemplate="op %{x} %{text}<br>%{y:,} bytes live<extra></extra>",
    )
    figure = graph_objects.Figure([boxes, live])
    figure.add_hline(y=plan.lower_bound_bytes, line={"dash": "dot", "width": 1}, annotation_text="lower bound")
    figure.update_layout(
        barmode="overlay",
        bargap=0,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": "gray"},
        xaxis={"title": {"text": "op, in execution order"}},
        yaxis={"title": {"text": "bytes"}, "rangemode": "tozero"},
        legend={"orientation": "h", "y": 1.08},
        margin={"l": 70, "r": 20, "t": 30, "b": 50},
    )
    return figure
