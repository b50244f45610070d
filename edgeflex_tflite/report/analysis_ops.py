"""A file op by op: what it computes, where it runs, and why not elsewhere."""

from __future__ import annotations

from edgeflex_tflite.analysis.analysis import Analysis, GraphAnalysis
from edgeflex_tflite.analysis.edgetpu import OpForecast

HEADERS = ("op", "operator", "M MACs", "arithmetic", "live bytes", "on a CPU", "why not XNNPACK", "Edge TPU")
Row = tuple[str, ...]


def op_rows(a: Analysis, graph: GraphAnalysis) -> list[Row]:
    """A row for each op of a graph; the Edge TPU's column is of the primary graph alone.

    Args:
        a: The file.
        graph: One of its graphs.
    """
    macs = {op.op: op for op in graph.macs.ops}
    forecasts = {op.index: op for op in a.edgetpu.ops} if graph.index == 0 else {}
    live = graph.arena.timeline_bytes
    rows: list[Row] = []
    for place, name, version in zip(graph.placement.ops, graph.op_names, graph.op_versions, strict=True):
        count = macs.get(place.op)
        rows.append(
            (
                str(place.op),
                f"{name} v{version}",
                f"{count.macs / 1e6:.2f}" if count else "",
                count.arithmetic.value if count else "",
                f"{live[place.op]:,}" if place.op < len(live) else "",
                place.kernel.value + ("" if place.partition is None else f" {place.partition}"),
                place.reason,
                _forecast(forecasts.get(place.op)),
            )
        )
    return rows


def _forecast(op: OpForecast | None) -> str:
    if op is None:
        return ""
    return "mapped" if op.mapped else "; ".join(op.reasons)
