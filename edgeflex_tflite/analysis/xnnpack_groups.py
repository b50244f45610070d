"""How the runtime groups the ops that a delegate takes into as few nodes as their order allows.

The rule is that of LiteRT's `tflite/graph_info.cc`: turn about, all ops that are ready and of one side (taken or
not) are gathered, in as many passes over the graph as find one more; ops that change state keep their order. There
is no limit on the number of groups, and none on how few ops make one.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from edgeflex_tflite.graph import OPTIONAL, Graph, Op

_STATEFUL = frozenset({"CALL_ONCE", "IF", "WHILE"})


@dataclass(frozen=True)
class Border:
    """What crosses the edge of a group of ops, constants left out.

    Attributes:
        inputs: Tensors that come in.
        outputs: Tensors that go out.
        bytes: Of both together; a tensor whose size is only known at run time counts 0.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    bytes: int


def group_ops(graph: Graph, taken: Set[int]) -> list[tuple[int, ...]]:
    """Groups of the taken ops, in the order in which they run; each in the order in which its ops run.

    Args:
        graph: The graph.
        taken: Indices of the ops that the delegate takes.
    """
    return [tuple(group) for side, group in _Grouping(graph, taken).run() if side]


def border(graph: Graph, ops: Set[int]) -> Border:
    """What a group exchanges with the rest of its graph."""
    read, made = _touched(graph, ops)
    elsewhere, _ = _touched(graph, {op.index for op in graph.ops} - ops)
    inputs = tuple(sorted(i for i in read - made if not graph.tensors[i].is_constant))
    outputs = tuple(sorted(made & (elsewhere | set(graph.outputs))))
    size = sum(graph.tensors[i].bytes for i in {*inputs, *outputs})
    return Border(inputs, outputs, size)


def _touched(graph: Graph, ops: Set[int]) -> tuple[set[int], set[int]]:
    read = {i for op in graph.ops if op.index in ops for i in op.inputs if i != OPTIONAL}
    made = {i for op in graph.ops if op.index in ops for i in op.outputs if i != OPTIONAL}
    return read, made


class _Grouping:
    def __init__(self, graph: Graph, taken: Set[int]) -> None:
        self.graph, self.taken = graph, taken
        self.waiting = list(graph.ops)
        self.done: set[int] = set()
        self.missing = {i for op in graph.ops for i in op.outputs if i != OPTIONAL}
        stateful = [op.index for op in graph.ops if self._is_stateful(op)]
        self.before = dict(zip(stateful[1:], stateful, strict=False))

    def run(self) -> list[tuple[bool, list[int]]]:
        groups: list[tuple[bool, list[int]]] = []
        while self.waiting:
            side, group = self._gather()
            if not group:
                break
            groups.append((side, group))
        return groups

    def _gather(self) -> tuple[bool, list[int]]:
        side: bool | None = None
        group: list[int] = []
        found = True
        while found:
            found, left = False, []
            for op in self.waiting:
                if self._is_ready(op) and side in (None, op.index in self.taken):
                    side, found = op.index in self.taken, True
                    group.append(op.index)
                    self.done.add(op.index)
                    self.missing.difference_update(op.outputs)
                else:
                    left.append(op)
            self.waiting = left
        return bool(side), group

    def _is_ready(self, op: Op) -> bool:
        earlier = self.before.get(op.index)
        return self.missing.isdisjoint(op.inputs) and (earlier is None or earlier in self.done)

    def _is_stateful(self, op: Op) -> bool:
        touched = [i for i in (*op.inputs, *op.outputs) if i != OPTIONAL]
        return op.name in _STATEFUL or any(self.graph.tensors[i].dtype == "RESOURCE" for i in touched)
