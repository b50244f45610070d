"""Ops that run other graphs of the file, and what that changes for those graphs.

The rules are those of LiteRT's `tflite/kernels/while.cc`, `if.cc`, `call_once.cc`, `stablehlo_composite.cc` and
`stablehlo_case.cc`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import OPTIONAL, UNSIZED_DTYPES, Graph, Op

_CALLEES = {
    "CALL_ONCE": ("initSubgraphIndex",),
    "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
    "STABLEHLO_COMPOSITE": ("decompositionSubgraphIndex",),
    "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
}
"""The options that name an op's graphs. Those of a WHILE are its condition and its body."""


def callees(op: Op) -> tuple[int, ...]:
    """Positions of the graphs that an op runs."""
    if op.name == "STABLEHLO_CASE":
        return tuple(int(index) for index in op.options["branchSubgraphIndices"])
    return tuple(op.options[option] for option in _CALLEES.get(op.name, ()))


def check_calls(graphs: Sequence[Graph]) -> None:
    """Make sure that every call finds its graph, with as many inputs as it gives, and comes to an end.

    Raises:
        UserError: A call does not.
    """
    calls = {graph.index: {i for op in graph.ops for i in _checked_callees(graphs, op)} for graph in graphs}
    while calls:
        leaves = [index for index, called in calls.items() if not called.intersection(calls)]
        if not leaves:
            raise UserError(f"The model's graphs {sorted(calls)} call each other without end: convert it again.")
        for index in leaves:
            del calls[index]


def _checked_callees(graphs: Sequence[Graph], op: Op) -> tuple[int, ...]:
    try:
        indices = callees(op)
        called = [graphs[i] for i in indices if i >= 0]
    except (IndexError, KeyError, TypeError) as error:
        raise UserError(
            f"Op {op.index} ({op.name}) runs a graph that is not there: convert the model again."
        ) from error
    given = len(op.inputs) - (op.name in ("IF", "STABLEHLO_CASE"))
    if len(called) < len(indices) or any(len(graph.inputs) != given for graph in called):
        raise UserError(f"Op {op.index} ({op.name}) does not fit the graphs that it runs: convert the model again.")
    return indices


def reads(graph: Graph) -> Counter[int]:
    """How often ops read each tensor, or the graph gives it away."""
    indices = [i for op in graph.ops for i in op.inputs] + list(graph.outputs)
    return Counter(i for i in indices if i != OPTIONAL)


def adapt_callees(graphs: Sequence[Graph]) -> tuple[Graph, ...]:
    """The graphs as their callers leave them: inputs lie in the caller's memory, and unread ones are dropped.

    Raises:
        UserError: A graph's calls cannot be followed.
    """
    check_calls(graphs)
    adapted = list(graphs)
    for op in (op for graph in graphs for op in graph.ops):
        indices = callees(op)
        for position, index in enumerate(indices):
            is_body, is_condition = op.name == "WHILE" and position == 1, op.name == "WHILE" and position == 0
            if not is_body:
                adapted[index] = _without_unread_inputs(adapted[index])
            if not is_condition:
                adapted[index] = _borrowing(adapted[index])
    return tuple(adapted)


def without_forwarded_outputs(caller: Graph, op: Op, body: Graph) -> Op:
    """A WHILE without those outputs that the body only passes on and that nobody reads."""
    read = reads(caller)

    def kept(position: int, output: int) -> bool:
        tensor = body.tensors[body.outputs[position]]
        forwarded = body.inputs[position] == body.outputs[position] and tensor.dtype not in UNSIZED_DTYPES
        return bool(read[output]) or not forwarded

    return replace(op, outputs=tuple(o if kept(i, o) else OPTIONAL for i, o in enumerate(op.outputs)))


def changes_shapes(graphs: Sequence[Graph], op: Op) -> bool:
    """Whether a loop's state changes its shape from turn to turn, or branches give different shapes."""
    first, second = _compared(graphs, op)
    pairs = zip(first, second, strict=True)
    if op.name != "WHILE":
        return any(a != b for a, b in pairs)
    return any(a != b and sum((*a[:1], *b[:1])) != 1 for a, b in pairs)


def _compared(graphs: Sequence[Graph], op: Op) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    indices = callees(op)
    first, last = graphs[indices[0]], graphs[indices[-1]]
    if op.name == "WHILE":
        return _shapes(last, last.inputs), _shapes(last, last.outputs)
    return _shapes(first, first.outputs), _shapes(last, last.outputs)


def _shapes(graph: Graph, indices: Sequence[int]) -> list[tuple[int, ...]]:
    return [graph.tensors[i].shape for i in indices]


def _without_unread_inputs(graph: Graph) -> Graph:
    read = reads(graph)
    return replace(graph, inputs=tuple(i if read[i] else OPTIONAL for i in graph.inputs))


def _borrowing(graph: Graph) -> Graph:
    lent = {i for i in graph.inputs if i != OPTIONAL and graph.tensors[i].dtype not in {"RESOURCE", "VARIANT"}}
    return replace(graph, borrowed=frozenset(lent))
