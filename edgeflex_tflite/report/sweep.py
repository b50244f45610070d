"""A sweep as a table and as a page with a plot."""

from __future__ import annotations

from collections.abc import Sequence

from plotly import graph_objects
from tabulate import tabulate

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.html.page import figure, render
from edgeflex_tflite.sweeping.front import pareto_front
from edgeflex_tflite.sweeping.outcome import Outcome
from edgeflex_tflite.targets.measurement import Latency, Measurement

_TEMPLATE = "sweep.html.jinja"
HEADERS = ("point", "weights + arena MB", "file MB", "top-1 %", "drop, points", "KL", "seconds", "front")


def sweep_table(
    outcomes: Sequence[Outcome], measurements: Sequence[Measurement]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers, and one row a made point, the smallest first; a column of latencies for each target."""
    front = {each.id for each in pareto_front(outcomes)}
    made = sorted((each for each in outcomes if each.state == "made"), key=lambda each: each.memory_bytes or 0)
    targets = dict.fromkeys(each.environment.target for each in measurements)
    latency = {(each.environment.target, each.file): _milliseconds(each) for each in measurements}
    rows = [
        (
            each.title,
            f"{(each.memory_bytes or 0) / MEGABYTE:.2f}",
            f"{(each.file_bytes or 0) / MEGABYTE:.2f}",
            f"{each.top1_percent:.2f}",
            f"{each.drop_points:+.2f} ({each.drop_low_points:+.2f} to {each.drop_high_points:+.2f})",
            f"{each.divergence:.4f}",
            f"{each.seconds:.0f}",
            "*" if each.id in front else "",
            *(latency.get((target, each.model or ""), "-") for target in targets),
        )
        for each in made
    ]
    return (*HEADERS, *(f"ms, {target}" for target in targets)), rows


def _milliseconds(measurement: Measurement) -> str:
    found = measurement.latency
    return f"{found.median_ms:.2f}" if isinstance(found, Latency) and isinstance(found.median_ms, float) else "-"


def measured_lines(measurements: Sequence[Measurement]) -> list[str]:
    """Where latency was measured, and what to know before believing it."""
    places = {each.environment.target: each.environment for each in measurements}
    lines = [
        f"{name}: {place.device}, {place.runtime}, {place.delegate}, {place.threads} threads, all files in turn"
        for name, place in places.items()
    ]
    reasons = [each.latency.reason for each in measurements if isinstance(each.latency, NotMeasured)]
    warned = [each.warnings[0] for each in measurements if each.warnings]
    if warned:
        lines.append(f"{len(warned)} of {len(measurements)} measurements carry a warning, the first: {warned[0]}")
    return [*lines, *dict.fromkeys(reasons)] or ["Not measured."]


def not_made(outcomes: Sequence[Outcome]) -> list[str]:
    """What happened to the others."""
    return [f"{each.title}: {each.state}: {each.reason}" for each in outcomes if each.state != "made"]


def sweep_text(outcomes: Sequence[Outcome], measurements: Sequence[Measurement], command: str) -> str:
    """The table as Markdown; points of the Pareto front (memory against top-1) carry a star."""
    headers, rows = sweep_table(outcomes, measurements)
    parts = [f"# {len(outcomes)} points", tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)]
    missing = not_made(outcomes)
    if missing:
        parts.append("## Not made\n\n" + "\n".join(f"* {line}" for line in missing))
    parts.append("## Latency\n\n" + "\n".join(f"* {line}" for line in measured_lines(measurements)))
    return "\n\n".join([*parts, "## Again", f"    {command}"]) + "\n"


def sweep_html(outcomes: Sequence[Outcome], measurements: Sequence[Measurement], command: str) -> str:
    """The same as one page that needs nothing else, with memory against accuracy as a plot."""
    headers, rows = sweep_table(outcomes, measurements)
    return render(
        _TEMPLATE,
        headers=headers,
        rows=rows,
        missing=not_made(outcomes),
        latency=measured_lines(measurements),
        command=command,
        points=len(outcomes),
        front=front_plot(outcomes),
    )


def front_plot(outcomes: Sequence[Outcome]) -> graph_objects.Figure:
    """Weights and arena across, top-1 up, the front as a line."""
    made, front = [each for each in outcomes if each.state == "made"], pareto_front(outcomes)

    def places(points: Sequence[Outcome]) -> tuple[list[float], list[float | None]]:
        return [(each.memory_bytes or 0) / MEGABYTE for each in points], [each.top1_percent for each in points]

    (x, y), (front_x, front_y) = places(made), places(front)
    all_points = graph_objects.Scatter(
        name="points",
        x=x,
        y=y,
        mode="markers",
        customdata=[(each.title, each.drop_points) for each in made],
        hovertemplate="%{customdata[0]}<br>%{x:.2f} MB, top-1 %{y:.2f} %<br>drop %{customdata[1]:+.2f}<extra></extra>",
        marker={"size": 9},
    )
    line = graph_objects.Scatter(name="front", x=front_x, y=front_y, mode="lines", line={"shape": "hv"})
    title = "weights + planned arena, MB of 1,000,000 bytes"
    return figure(line, all_points, x=title, y="top-1 %", xaxis_rangemode="tozero")
