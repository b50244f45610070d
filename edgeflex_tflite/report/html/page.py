"""A template of this folder as a page that needs nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from plotly import graph_objects
from plotly.offline import get_plotlyjs


def render(template: str, **values: Any) -> str:
    """The page, with plotly's script inside; a figure among the values is drawn by the template's `plot`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(plotly=get_plotlyjs(), **values)


def rows_pixels(rows: int) -> int:
    """Height of a plot that has so many rows."""
    return 110 + 28 * rows


def figure(*traces: Any, x: str = "", y: str = "", height: int = 380, **layout: Any) -> graph_objects.Figure:
    """A plot without colours of its own: those, light or dark, are given in `page.js`, one to a trace in order.

    Args:
        traces: plotly's.
        x, y: titles of the axes.
        height: in pixels.
        layout: of plotly, beside what all plots share.
    """
    return (
        graph_objects.Figure(traces)
        .update_layout(
            template="none",
            height=height,
            legend={"orientation": "h", "traceorder": "normal", "x": 0, "y": 1, "yanchor": "bottom"},
            margin={"l": 60, "r": 15, "t": 30, "b": 50},
            **layout,
        )
        .update_xaxes(title_text=x)
        .update_yaxes(title_text=y)
    )
