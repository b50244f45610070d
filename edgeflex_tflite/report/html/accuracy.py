"""Plots of what the file still knows."""

from __future__ import annotations

from collections.abc import Sequence

from plotly import graph_objects

from edgeflex_tflite.artifacts import Metrics
from edgeflex_tflite.report.changes import Changes
from edgeflex_tflite.report.html.page import figure, rows_pixels
from edgeflex_tflite.report.tables import ladder


def ladder_plot(metrics: Metrics) -> graph_objects.Figure:
    """Top-1 of each model on the way, with its 95 % interval."""
    names, found = zip(*((name, accuracy.top1) for name, accuracy in ladder(metrics)), strict=True)
    points = graph_objects.Scatter(
        x=[top1.percent for top1 in found],
        y=names,
        mode="markers",
        marker={"size": 11},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [top1.high_percent - top1.percent for top1 in found],
            "arrayminus": [top1.percent - top1.low_percent for top1 in found],
        },
        customdata=[(top1.low_percent, top1.high_percent, top1.hits, top1.images) for top1 in found],
        hovertemplate=(
            "%{y}<br>%{x:.2f} % (%{customdata[0]:.2f} to %{customdata[1]:.2f})<br>"
            "%{customdata[2]:,} of %{customdata[3]:,} images<extra></extra>"
        ),
    )
    return figure(points, x="top-1 %", height=rows_pixels(len(names)), yaxis_autorange="reversed")


def changes_map(found: Changes, labels: Sequence[str]) -> graph_objects.Figure:
    """Rows: the classes that got worse; columns: what more, or fewer, of their images are taken for."""
    cells = graph_objects.Heatmap(
        x=[labels[answer] for answer in found.answers],
        y=[labels[label] for label in found.labels],
        z=found.counts,
        zmid=0,
        autocolorscale=True,
        text=[[f"{count:+d}" if count else "" for count in row] for row in found.counts],
        texttemplate="%{text}",
        xgap=2,
        ygap=2,
        showscale=False,
        hovertemplate="%{y} taken for %{x}: %{z:+d} images<extra></extra>",
    )
    drawn = figure(cells, x="taken for", y="class", height=rows_pixels(len(found.labels)))
    return drawn.update_layout(yaxis_autorange="reversed").update_xaxes(type="category").update_yaxes(type="category")
