"""The arena that LiteRT's own kernels will allocate for a model, from its file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeflex_tflite.graph import Graph
from edgeflex_tflite.memory.control import adapt_callees, callees
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.lifetimes import FOREVER, Lifetime, lifetimes
from edgeflex_tflite.memory.ordering import hash_set_order, introsort
from edgeflex_tflite.memory.placement import Placed, Request, extent_bytes, place, placing_key
from edgeflex_tflite.memory.plan import Allocation, ArenaPlan
from edgeflex_tflite.memory.prepare import Prepared, prepare, real_indices
from edgeflex_tflite.memory.sharing import shared_buffers
from edgeflex_tflite.parse import load_graphs

_PLANNED = (Home.ARENA, Home.PERSISTENT)


def plan_arena(model: bytes | str | Path, *, graph: int = 0, num_threads: int = 1) -> ArenaPlan:
    """Plan a graph's arena as the runtime does with its own kernels, without delegates.

    Args:
        model: A .tflite file, or its content.
        graph: Position of the graph in the file; signatures may have one each.
        num_threads: Threads of the interpreter.

    Raises:
        UserError: There is no such file, or it is not a .tflite flatbuffer.
    """
    return plan_graph(adapt_callees(load_graphs(model)), graph, num_threads=num_threads)


def plan_graph(graphs: Sequence[Graph], index: int = 0, *, num_threads: int = 1) -> ArenaPlan:
    """Plan one of a file's graphs, and those that it runs.

    Args:
        graphs: All graphs of the file, as `adapt_callees` gives them.
        index: Position of the graph.
        num_threads: Threads of the interpreter.
    """
    called = {i for op in graphs[index].ops for i in callees(op)}
    plans = tuple(plan_graph(graphs, i, num_threads=num_threads) for i in sorted(called))
    return _plan(prepare(graphs, index, num_threads), plans)


def _plan(prepared: Prepared, called: tuple[ArenaPlan, ...]) -> ArenaPlan:
    graph = prepared.graph
    owners = shared_buffers(prepared)
    spans = lifetimes(prepared, owners)
    requests = _requests(prepared, owners, spans)
    arena = place(r for r in requests if prepared.homes[r.tensor] is Home.ARENA)
    persistent = place(_kept(r) for r in requests if prepared.homes[r.tensor] is Home.PERSISTENT)
    sharers = {t: owner for t, owner in owners.items() if prepared.homes[t] is Home.ARENA}
    allocations = tuple(_allocation(prepared, sharers, placed) for placed in [*arena, *persistent])
    timeline = _timeline(allocations, prepared.last_op + 1)
    peak_op = _peak_op(graph, allocations, timeline)
    return ArenaPlan(
        graph_index=graph.index,
        peak_bytes=extent_bytes(arena),
        persistent_bytes=extent_bytes(persistent),
        lower_bound_bytes=max(timeline, default=extent_bytes(arena)),
        peak_op=peak_op,
        live_at_peak=tuple(
            a for a in allocations if peak_op and not a.persistent and a.first_op <= peak_op[0] <= a.last_op
        ),
        timeline_bytes=timeline,
        allocations=allocations,
        unmodelled_ops=prepared.unmodelled,
        dynamic_tensors=tuple(
            n for n, home in zip(prepared.names, prepared.homes, strict=True) if home is Home.DYNAMIC
        ),
        planned_ops=prepared.last_op + 1,
        open_shapes=tuple(t.name for t in graph.tensors if t.unknown_shape and prepared.homes[t.index] in _PLANNED),
        callees=called,
    )


def _requests(prepared: Prepared, owners: dict[int, int], spans: dict[int, Lifetime]) -> list[Request]:
    """The buffers to place, in placing order: tensors in another arena buffer are sorted too, but not placed."""
    sizes, homes = prepared.sizes_bytes, prepared.homes
    met = [t for t in _meeting_order(prepared) if homes[t] is Home.PERSISTENT or (homes[t] is Home.ARENA and sizes[t])]
    ordered = introsort([Request(t, sizes[t], spans[t]) for t in met], lambda a, b: placing_key(a) < placing_key(b))
    return [r for r in ordered if r.bytes and not (r.tensor in owners and homes[owners[r.tensor]] is Home.ARENA)]


def _meeting_order(prepared: Prepared) -> list[int]:
    """Tensors of the prepared ops in the order in which the runtime collects them."""
    graph = prepared.graph
    variables = [t.index for t in graph.tensors if t.is_variable]
    first_met = [*variables, *real_indices(graph.inputs)]
    order: list[int] = [] if graph.ops else hash_set_order(first_met)
    for op in graph.ops[: prepared.last_op + 1]:
        order += hash_set_order([*first_met, *real_indices(op.outputs), *prepared.temporaries[op.index]])
        first_met = []
    return order


def _kept(request: Request) -> Request:
    return Request(request.tensor, request.bytes, Lifetime(request.lifetime.first, FOREVER))


def _allocation(prepared: Prepared, sharers: dict[int, int], placed: Placed) -> Allocation:
    request = placed.request
    return Allocation(
        tensor=request.tensor,
        name=prepared.names[request.tensor],
        sharers=tuple(t for t, owner in sharers.items() if owner == request.tensor),
        bytes=request.bytes,
        offset_bytes=placed.offset_bytes,
        first_op=request.lifetime.first,
        last_op=min(request.lifetime.last, max(len(prepared.graph.ops) - 1, 0)),
        persistent=prepared.homes[request.tensor] is Home.PERSISTENT,
    )


def _timeline(allocations: tuple[Allocation, ...], ops: int) -> tuple[int, ...]:
    change = [0] * (ops + 1)
    for a in allocations:
        if not a.persistent and ops:
            change[a.first_op] += a.bytes
            change[min(a.last_op + 1, ops)] -= a.bytes
    live, timeline = 0, []
    for delta in change[:ops]:
        live += delta
        timeline.append(live)
    return tuple(timeline)


def _peak_op(graph: Graph, allocations: tuple[Allocation, ...], timeline: tuple[int, ...]) -> tuple[int, str] | None:
    arena = [a for a in allocations if not a.persistent]
    if not arena or not timeline:
        return None
    furthest = max(arena, key=lambda a: a.offset_bytes + a.bytes)
    ops = range(furthest.first_op, min(furthest.last_op, len(timeline) - 1) + 1)
    peak = max(ops, key=lambda op: timeline[op])
    return peak, graph.ops[peak].name
