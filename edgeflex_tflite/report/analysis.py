"""What a file costs, as text: one file in full, several side by side."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from edgeflex_tflite.analysis.analysis import Analysis, GraphAnalysis
from edgeflex_tflite.analysis.edgetpu import EdgeTpuForecast
from edgeflex_tflite.analysis.edgetpu_compiler import EdgeTpuCompilation
from edgeflex_tflite.analysis.inventory import GraphInventory, Port
from edgeflex_tflite.analysis.kernels import Kernel
from edgeflex_tflite.analysis.macs import Arithmetic
from edgeflex_tflite.analysis.vela import EthosUReport
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.memory import ArenaPlan
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.analysis_ops import HEADERS, op_rows

MOST_ROWS = 10
MOST_PARTITIONS = 5
_BARS = " ▁▂▃▄▅▆▇█"
_TIMELINE_COLUMNS = 72


def analysis_text(analyses: Sequence[Analysis], ops: bool = False) -> str:
    """One file in full; several as a table, with what is surprising of each.

    Args:
        analyses: The files.
        ops: Add a row for each op of each graph.
    """
    if len(analyses) == 1:
        sections = [full_text(analyses[0])]
    else:
        sections = [compare_table(analyses), *filter(None, (_named_surprises(a) for a in analyses))]
    if ops:
        sections += [_ops_text(a, graph) for a in analyses for graph in a.graphs]
    return "\n\n".join(sections)


def _ops_text(a: Analysis, graph: GraphAnalysis) -> str:
    widths = [None] * (len(HEADERS) - 1) + [60]
    table = tabulate(op_rows(a, graph), headers=HEADERS, disable_numparse=True, maxcolwidths=widths)
    return f"{a.file}, graph {graph.index}, op by op\n\n{table}"


def full_text(a: Analysis) -> str:
    """All sections of one file."""
    sections = [
        _heading(a),
        _ports(a.inventory.graphs),
        _weights(a),
        *(_graph_text(graph, len(a.graphs) > 1) for graph in a.graphs),
        _accelerators(a),
        _surprises(a),
    ]
    return "\n\n".join(section for section in sections if section)


def compare_table(analyses: Sequence[Analysis]) -> str:
    """Files as rows."""
    headers, rows = compare_rows(analyses)
    return tabulate(rows, headers=headers, disable_numparse=True)


def compare_rows(analyses: Sequence[Analysis]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Column names, and a row for each file; arenas are the primary graph's with those of the graphs that it runs."""
    headers = (
        "file", "MB", "weights MB", "mostly", "ops", "M MACs", "integer MACs", "arena MB", "lower bound MB",
        "on XNNPACK", "parts", "Edge TPU", "Ethos-U", "needs TFLite",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for a, name in zip(analyses, labels(analyses), strict=True):
        placed = a.main.placement
        share = a.integer_share
        rows.append(
            (
                name,
                _mb(a.inventory.file_bytes),
                _mb(a.inventory.weights_bytes),
                a.inventory.weights[0].dtype if a.inventory.weights else "-",
                str(len(placed.ops)),
                f"{a.main.macs.total / 1e6:.1f}",
                "-" if share is None else f"{share:.0%}",
                _mb(a.main.arena.total_bytes),
                _mb(_least_bytes(a.main.arena)),
                f"{placed.counts.get(Kernel.XNNPACK, 0)}/{len(placed.ops)}",
                str(len(placed.partitions)),
                f"{a.edgetpu.mapped}/{len(a.edgetpu.ops)}",
                _npu_share(a),
                a.runtime.release,
            )
        )
    return headers, rows


def labels(analyses: Sequence[Analysis]) -> list[str]:
    """Each file's name; its path as it was given where another file has the same name."""
    names = Counter(Path(a.file).name for a in analyses)
    return [a.file if names[Path(a.file).name] > 1 else Path(a.file).name for a in analyses]


def _least_bytes(plan: ArenaPlan) -> int:
    """No plan of the same graphs takes less than this; to be held against `total_bytes`."""
    return plan.lower_bound_bytes + plan.persistent_bytes + sum(map(_least_bytes, plan.callees))


def _npu_share(a: Analysis) -> str:
    """Of the first accelerator that Vela was asked for."""
    first = a.compilers.ethos_u[0].report if a.compilers and a.compilers.ethos_u else None
    return f"{first.npu_share:.0%}" if isinstance(first, EthosUReport) else "-"


def sparkline(values: Sequence[int], columns: int = _TIMELINE_COLUMNS) -> str:
    """A line of bars; each stands for the largest of its share of the values."""
    if not values:
        return ""
    width = min(columns, len(values))
    groups = [values[len(values) * i // width : len(values) * (i + 1) // width] for i in range(width)]
    top = max(*values, 1)
    return "".join(_BARS[max(group) * (len(_BARS) - 1) // top] for group in groups)


def _accelerators(a: Analysis) -> str:
    lines = ["accelerators", f"  Edge TPU, forecast: {a.edgetpu.verdict}", *_edgetpu_parts(a.edgetpu)]
    lines += _obstacles(a.edgetpu)
    if a.compilers is not None:
        lines.append(f"  Edge TPU, by its compiler: {_said(a.compilers.edgetpu)}")
        lines += [f"  Ethos-U: {_said(one.report)}" for one in a.compilers.ethos_u]
    return "\n".join(dict.fromkeys(lines))


def _edgetpu_parts(forecast: EdgeTpuForecast) -> list[str]:
    if not forecast.mapped and not forecast.parts_with_all:
        return []
    least, most = forecast.streamed_bytes
    return [
        f"    parts on the Edge TPU: {forecast.parts}, or {forecast.parts_with_all} with the compiler's -a",
        f"    {_mb(forecast.weight_bytes)} MB of mapped weights: at most {_mb(forecast.cached_bytes)} MB stay in the "
        f"cache, {_mb(least)} to {_mb(most)} MB are sent for every inference",
    ]


def _obstacles(forecast: EdgeTpuForecast) -> list[str]:
    most = forecast.obstacles[:MOST_ROWS]
    return [f"    {count} ops: {reason}" for reason, count in most] if forecast.mapped < len(forecast.ops) else []


def _said(report: EdgeTpuCompilation | EthosUReport | NotMeasured) -> str:
    return f"not measured: {report.reason}" if isinstance(report, NotMeasured) else report.verdict


def _heading(a: Analysis) -> str:
    needs = a.runtime
    lines = [
        f"{a.file}: {a.inventory.file_bytes:,} bytes, sha256 {a.sha256[:16]}",
        f"  made by {a.inventory.description or 'a converter that does not say'}"
        + (f"; metadata {', '.join(a.inventory.metadata)}" if a.inventory.metadata else ""),
        f"  needs TensorFlow Lite {needs.release} ({', '.join(needs.because[:3]) or 'any'})"
        + (f"; of unknown age: {', '.join(needs.unlisted)}" if needs.unlisted else ""),
    ]
    if a.inventory.signatures:
        named = ", ".join(f"{name} (graph {graph})" for name, graph in a.inventory.signatures.items())
        lines.append(f"  signatures {named}" + _arenas_of_signatures(a))
    return "\n".join(lines)


def _arenas_of_signatures(a: Analysis) -> str:
    """What the arenas of all signatures take together; nothing for one alone."""
    graphs = sorted(set(a.inventory.signatures.values()))
    if len(graphs) < 2:
        return ""
    return f"; planned arenas of all of them: {sum(a.graphs[graph].arena.total_bytes for graph in graphs):,} bytes"


def _ports(graphs: Sequence[GraphInventory]) -> str:
    rows = []
    for graph in graphs:
        for kind, ports in (("in", graph.inputs), ("out", graph.outputs)):
            rows += [(graph.index, kind, p.name, p.dtype, list(p.shape), _quantized(p)) for p in ports]
    headers = ("graph", "", "name", "type", "shape", "quantization")
    table = tabulate(rows, headers=headers, disable_numparse=True, maxcolwidths=[None, None, None, 44])
    return table if rows else ""


def _quantized(port: Port) -> str:
    return port.granularity if port.scale is None else f"{port.scale:.6g} * (q - {port.zero_point or 0})"


def _weights(a: Analysis) -> str:
    total = max(a.inventory.weights_bytes, 1)
    rows = [
        (g.dtype + (", sparse" if g.sparse else ""), g.granularity, g.tensors, _mb(g.bytes), f"{g.bytes / total:.1%}")
        for g in a.inventory.weights
    ]
    headers = ("constants", "scales", "tensors", "MB", "share")
    return tabulate(rows, headers=headers, disable_numparse=True) if rows else ""


def _graph_text(graph: GraphAnalysis, several: bool) -> str:
    title = [f"graph {graph.index} {graph.name}"] if several else []
    parts = [_ops_table(graph), _macs(graph), _arena(graph.arena), _placement(graph)]
    return "\n\n".join([*title, *filter(None, parts)])


def _ops_table(graph: GraphAnalysis) -> str:
    macs = {op.op: op for op in graph.macs.ops}
    rows: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for name, version, place in zip(graph.op_names, graph.op_versions, graph.placement.ops, strict=True):
        row = rows[f"{name} v{version}", place.kernel.value]
        row[0] += 1
        row[1] += macs[place.op].macs if place.op in macs else 0
    ranked = sorted(rows.items(), key=lambda item: (-item[1][1], -item[1][0]))
    total = max(graph.macs.total, 1)
    table = [
        (name, kernel, count, f"{m / 1e6:.2f}" if m else "", f"{m / total:.1%}" if m else "")
        for (name, kernel), (count, m) in ranked
    ]
    headers = ("operator", "runs on", "count", "M MACs", "share")
    return tabulate(table, headers=headers, disable_numparse=True)


def _macs(graph: GraphAnalysis) -> str:
    shares = ", ".join(
        f"{graph.macs.shares[kind]:.1%} {kind.value}" for kind in Arithmetic if kind in graph.macs.shares
    )
    text = f"{graph.macs.total / 1e6:,.1f} million MACs" + (f": {shares}" if shares else "")
    return text + (f"; not counted: {', '.join(graph.macs.uncounted)}" if graph.macs.uncounted else "")


def _arena(plan: ArenaPlan) -> str:
    lines = [
        f"planned arena without delegate: {plan.total_bytes:,} bytes = {plan.peak_bytes:,} reused + "
        f"{plan.persistent_bytes:,} kept" + (" + the graphs that it runs" if plan.callees else "")
    ]
    if plan.peak_op is None:
        return lines[0]
    index, name = plan.peak_op
    lines += [
        f"  lower bound of the reused part: {plan.lower_bound_bytes:,}; {_won(plan)}",
        f"  over {len(plan.timeline_bytes)} ops |{sparkline(plan.timeline_bytes)}|",
        f"  the peak is set by op {index}, {name}, with these alive:",
    ]
    alive = sorted(plan.live_at_peak, key=lambda one: -one.bytes)
    rows = [(f"{one.bytes:,}", one.offset_bytes, one.name, f"{one.first_op} to {one.last_op}") for one in alive]
    table = tabulate(
        rows[:MOST_ROWS],
        headers=("bytes", "offset", "tensor", "ops"),
        disable_numparse=True,
        maxcolwidths=[None, None, 60],
    )
    more = [f"    and {len(rows) - MOST_ROWS} smaller ones"] if len(rows) > MOST_ROWS else []
    return "\n".join([*lines, *("    " + line for line in table.splitlines()), *more])


def _won(plan: ArenaPlan) -> str:
    spare = plan.peak_bytes - plan.lower_bound_bytes
    return f"a better plan could win {spare:,}" if spare else "no plan does better, only another graph"


def placement_line(graph: GraphAnalysis) -> str:
    """Which kernels run how many ops, with their share of the MACs."""
    placed = graph.placement
    macs = {op.op: op.macs for op in graph.macs.ops}
    by_kernel: Counter[Kernel] = Counter()
    for op in placed.ops:
        by_kernel[op.kernel] += macs.get(op.op, 0)
    total = max(graph.macs.total, 1)
    counts = [
        f"{kernel.value} {placed.counts[kernel]} ops ({by_kernel[kernel] / total:.0%} of MACs)"
        for kernel in Kernel
        if kernel in placed.counts
    ]
    return f"{', '.join(counts) or 'nothing to run'}; XNNPACK partitions: {len(placed.partitions)}"


def _placement(graph: GraphAnalysis) -> str:
    placed = graph.placement
    lines = [
        f"on a CPU: {placement_line(graph)}",
        f"  {placed.boundary_bytes:,} bytes cross the partitions' borders in memory"
        + (", the most at these:" if len(placed.partitions) > 1 else ""),
    ]
    if len(placed.partitions) > 1:
        largest = sorted(enumerate(placed.partitions), key=lambda item: -item[1].boundary_bytes)[:MOST_PARTITIONS]
        lines += [
            f"    partition {index}: {len(part.ops)} ops from {part.ops[0]} on, {part.boundary_bytes:,} bytes"
            for index, part in largest
        ]
    return "\n".join([*lines, *(f"  {line}" for line in placement_reasons(graph))])


def placement_reasons(graph: GraphAnalysis) -> list[str]:
    """Why XNNPACK does not take an op, the most frequent reasons first."""
    placed = zip(graph.op_names, graph.placement.ops, strict=True)
    why = Counter((name, op.reason) for name, op in placed if op.reason)
    return [f"{count} {name}: {reason}" for (name, reason), count in why.most_common(MOST_ROWS)]


def _surprises(a: Analysis) -> str:
    if not a.surprises:
        return "no surprises found"
    several = len(a.graphs) > 1
    return "surprises\n" + "\n".join(
        f"  {s.kind}{f' (graph {s.graph})' if several else ''}: {s.text}" for s in a.surprises
    )


def _named_surprises(a: Analysis) -> str:
    return f"{a.file}\n{_surprises(a)}" if a.surprises else ""


def _mb(count: int) -> str:
    return f"{count / MEGABYTE:.2f}"
