"""Plots of what was done to each block, and of what was known of it before."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from plotly import graph_objects

from edgeflex_tflite.artifacts import BlockShape, Dtype, PrecisionPlan, PrunePlan
from edgeflex_tflite.report.html.page import figure, rows_pixels
from edgeflex_tflite.report.tables import block_name

PARTS = {"width": "MLP neurons", "num_heads": "heads", "key_dim": "key channels", "value_dim": "value channels"}
COLORS = {
    Dtype.FP32: "#8a94a0",
    Dtype.FP16: "#4b93d1",
    Dtype.INT16: "#8f6fd0",
    Dtype.INT8: "#43a06c",
    Dtype.INT4: "#dd8438",
}
"""That can be told apart on a light and on a dark page."""


def shapes_plot(plan: PrunePlan, dense: Sequence[BlockShape]) -> graph_objects.Figure:
    """What is left of each block, in percent of what the dense model has."""
    kept = [
        dataclasses.replace(cut.shape or shape, width=cut.width) for cut, shape in zip(plan.cuts, dense, strict=True)
    ]
    bars = []
    for part, title in PARTS.items():
        before, after = ([getattr(shape, part) for shape in shapes] for shapes in (dense, kept))
        bars.append(
            graph_objects.Bar(
                name=title,
                x=list(range(len(dense))),
                y=[100 * now / was for now, was in zip(after, before, strict=True)],
                customdata=list(zip(after, before, strict=True)),
                hovertemplate=f"block %{{x}}: %{{customdata[0]}} of %{{customdata[1]}} {title}<extra></extra>",
            )
        )
    return figure(*bars, x="block", y="% kept", xaxis_dtick=1, barmode="group")


def precision_map(plan: PrecisionPlan) -> graph_objects.Figure:
    """Each linear of each block, and those outside of the blocks."""
    places = {site: _place(site) for site in plan.weights}
    rows, columns = (list(dict.fromkeys(place[i] for place in places.values())) for i in (0, 1))
    columns.sort(key=lambda column: (not column.isdigit(), int(column) if column.isdigit() else 0))
    used = [dtype for dtype in COLORS if any(each.dtype is dtype for each in plan.weights.values())]
    sites = {place: site for site, place in places.items()}
    cells = [[sites.get((row, column)) for column in columns] for row in rows]
    steps = [(edge, COLORS[dtype]) for i, dtype in enumerate(used) for edge in (i / len(used), (i + 1) / len(used))]
    squares = graph_objects.Heatmap(
        x=columns,
        y=rows,
        z=[[None if site is None else used.index(plan.weights[site].dtype) for site in row] for row in cells],
        zmin=-0.5,
        zmax=len(used) - 0.5,
        colorscale=steps,
        colorbar={"tickvals": list(range(len(used))), "ticktext": [dtype.value for dtype in used], "thickness": 14},
        customdata=[["" if site is None else f"{site}: {_words(plan, site)}" for site in row] for row in cells],
        hovertemplate="%{customdata}<extra></extra>",
        xgap=2,
        ygap=2,
    )
    drawn = figure(squares, x="block", height=rows_pixels(len(rows)), yaxis_autorange="reversed")
    return drawn.update_xaxes(type="category", showgrid=False).update_yaxes(showgrid=False)


def _place(site: str) -> tuple[str, str]:
    """Row and column: `blocks.3.mlp.fc1` is (`mlp.fc1`, `3`), what is in no block stands in a column of its own."""
    if site.startswith("blocks."):
        _, block, part = site.split(".", 2)
        return part, block
    return site, block_name(None)


def _words(plan: PrecisionPlan, site: str) -> str:
    return f"{plan.weights[site].dtype.value}, {plan.weights[site].reason}"


def sensitivity_map(plan: PrunePlan) -> graph_objects.Figure:
    """The divergence of the logits for each single change of each block; the colour is its logarithm."""
    found = {(each.change, block_name(each.block)): each.divergence for each in plan.sensitivities}
    rows, columns = (list(dict.fromkeys(key[i] for key in found)) for i in (0, 1))
    values = [[found.get((row, column)) for column in columns] for row in rows]
    logarithms = [[math.log10(value) if value else None for value in row] for row in values]
    known = [value for row in logarithms for value in row if value is not None]
    ticks = range(math.floor(min(known)), math.ceil(max(known)) + 1) if known else ()
    squares = graph_objects.Heatmap(
        x=columns,
        y=rows,
        z=logarithms,
        autocolorscale=True,
        customdata=values,
        hovertemplate="block %{x}, %{y}<br>%{customdata:.2e} nats<extra></extra>",
        colorbar={"tickvals": list(ticks), "ticktext": [f"1e{tick}" for tick in ticks], "thickness": 14},
        xgap=1,
        ygap=1,
    )
    drawn = figure(squares, x="block", height=rows_pixels(len(rows)), yaxis_autorange="reversed")
    return drawn.update_xaxes(type="category", showgrid=False).update_yaxes(showgrid=False)


def errors_plot(plan: PrunePlan) -> graph_objects.Figure | None:
    """What the plan expected of each cut MLP, and what was measured; None where nothing was."""
    measured = [(index, cut) for index, cut in enumerate(plan.cuts) if cut.error is not None]
    if not measured:
        return None
    blocks = [index for index, _ in measured]
    lines = {
        "planned": [cut.predicted_error for _, cut in measured],
        "measured, cut alone": [cut.error_cut_alone for _, cut in measured],
        "measured, with compensation": [cut.error for _, cut in measured],
    }
    marks = [
        graph_objects.Scatter(
            name=name,
            x=blocks,
            y=values,
            mode="lines+markers",
            hovertemplate=f"block %{{x}}: %{{y:.2e}} {name}<extra></extra>",
        )
        for name, values in lines.items()
        if any(values)
    ]
    return figure(*marks, x="block", y="error of the MLP, relative", yaxis_type="log", xaxis_dtick=1)
