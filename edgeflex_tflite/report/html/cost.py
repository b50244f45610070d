"""Plots of what the file and its making cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from plotly import graph_objects

from edgeflex_tflite.analysis.analysis import GraphAnalysis
from edgeflex_tflite.analysis.kernels import Kernel
from edgeflex_tflite.artifacts import Metrics, StageRecord
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.distribution import Distribution
from edgeflex_tflite.report.html.page import figure, rows_pixels


def memory_plot(metrics: Metrics) -> graph_objects.Figure:
    """Weights and planned arena of the model as it came and of the file, with the budget."""
    costs = {"FP32, not pruned (predicted)": metrics.dense_memory, "the written file": metrics.memory}
    parts = {
        "weights": [cost.weights_bytes / MEGABYTE for cost in costs.values()],
        "planned arena": [cost.arena_bytes / MEGABYTE for cost in costs.values()],
    }
    bars = [
        graph_objects.Bar(
            name=name,
            orientation="h",
            x=values,
            y=list(costs),
            hovertemplate="%{y}<br>" + name + " %{x:.2f} MB<extra></extra>",
        )
        for name, values in parts.items()
    ]
    budget, title = metrics.memory_budget_bytes, "MB of 1,000,000 bytes"
    if budget is not None:
        title += f"; dotted: the budget of {budget / MEGABYTE:.2f}"
    drawn = figure(*bars, x=title, barmode="stack", height=230, yaxis_autorange="reversed")
    if budget is not None:
        drawn.add_vline(x=budget / MEGABYTE, line={"dash": "dot", "width": 2})
    return drawn


def latency_plot(found: Mapping[str, Distribution]) -> graph_objects.Figure:
    """Shares of inferences over their time; the time's axis is logarithmic, so that tails show too."""
    lines = [
        graph_objects.Scatter(
            name=f"{name}, median {each.median_ms:.2f} ms",
            x=each.edges_ms,
            y=(*each.percent, 0),
            mode="lines",
            line={"shape": "hv", "width": 1.5},
            fill="tozeroy",
            hovertemplate="from %{x:.3f} ms: %{y:.1f} %<extra></extra>",
        )
        for name, each in found.items()
    ]
    drawn = figure(*lines, x="ms, one inference", y="% of inferences", xaxis_type="log")
    ticks = _ticks([edge for each in found.values() for edge in (each.edges_ms[0], each.edges_ms[-1])])
    return drawn.update_xaxes(tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 of every power of ten between the values."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))))
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5)]


def placement_plot(graph: GraphAnalysis) -> graph_objects.Figure:
    """How many ops of each type which kernels run."""
    counted = Counter((name, place.kernel) for name, place in zip(graph.op_names, graph.placement.ops, strict=True))
    types = [name for name, _ in Counter(graph.op_names).most_common()]
    bars = [
        graph_objects.Bar(
            name=kernel.value,
            orientation="h",
            x=[counted[name, kernel] for name in types],
            y=types,
            hovertemplate="%{y}: %{x} ops on " + kernel.value + "<extra></extra>",
        )
        for kernel in Kernel
        if kernel in graph.placement.counts
    ]
    height = rows_pixels(len(types))
    return figure(*bars, x="ops", barmode="stack", height=height, yaxis_autorange="reversed", showlegend=True)


def stages_plot(stages: Sequence[StageRecord]) -> graph_objects.Figure:
    """Seconds of each."""
    bars = graph_objects.Bar(
        orientation="h",
        x=[stage.seconds for stage in stages],
        y=[stage.name for stage in stages],
        customdata=[stage.summary for stage in stages],
        hovertemplate="%{y}: %{x:.1f} s<br>%{customdata}<extra></extra>",
    )
    return figure(bars, x="seconds", height=rows_pixels(len(stages)), yaxis_autorange="reversed")
