"""What a graph looks like once the runtime has prepared its ops: homes, sizes and scratch tensors.

The order of events is that of `tflite/core/subgraph.cc` (PrepareOpsStartingAt): ops are prepared in execution
order up to the first one whose outputs cannot be sized yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import OPTIONAL, Graph, Op
from edgeflex_tflite.memory.control import callees, changes_shapes, without_forwarded_outputs
from edgeflex_tflite.memory.homes import Home, changed_homes, first_home, has_unknown_shape, stops_preparation
from edgeflex_tflite.memory.scratch import Setting
from edgeflex_tflite.memory.temporaries import rule_for

_RESOURCE_ID_BYTES = 4
"""A VAR_HANDLE keeps the number of its variable (`tflite/kernels/var_handle.cc`)."""


@dataclass(frozen=True)
class Prepared:
    """A graph after its first preparation.

    Attributes:
        graph: The graph, without the outputs that preparing its ops dropped.
        names: Name of each tensor, the kernels' scratch tensors after the file's.
        sizes_bytes: Bytes of each tensor.
        homes: Home of each tensor.
        temporaries: For each op, the indices of its scratch tensors.
        last_op: Index of the last op that could be prepared; -1 when there are no ops.
        is_dynamic: Some tensor gets its size while the model runs.
        unmodelled: Names of the op types whose kernels were never looked up.
    """

    graph: Graph
    names: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    homes: tuple[Home, ...]
    temporaries: tuple[tuple[int, ...], ...]
    last_op: int
    is_dynamic: bool
    unmodelled: tuple[str, ...]


def prepare(graphs: Sequence[Graph], index: int = 0, num_threads: int = 1) -> Prepared:
    """Prepare a graph's ops as `allocate_tensors` does.

    Args:
        graphs: All graphs of the file.
        index: Position of the graph.
        num_threads: Threads of the interpreter; some kernels ask for other scratch tensors with more than one.

    Raises:
        UserError: An op has tensors that its kernel refuses.
    """
    return _Preparation(graphs, index, num_threads).run()


def real_indices(indices: Sequence[int]) -> list[int]:
    """The tensors among an op's inputs or outputs that are there."""
    return [i for i in indices if i != OPTIONAL]


class _Preparation:
    def __init__(self, graphs: Sequence[Graph], index: int, num_threads: int) -> None:
        self.graphs, self.graph, self.num_threads = graphs, graphs[index], num_threads
        tensors = self.graph.tensors
        self.ops = list(self.graph.ops)
        self.names = [t.name for t in tensors]
        self.sizes = [t.bytes for t in tensors]
        self.homes = [Home.BORROWED if t.index in self.graph.borrowed else first_home(t) for t in tensors]
        self.temporaries: list[tuple[int, ...]] = [() for _ in self.ops]
        self.rules = [rule_for(op) for op in self.ops]
        self.reserved_at_load = [
            self._reserve(rule.reserved or 1) if rule is not None and rule.at_load else None for rule in self.rules
        ]

    def run(self) -> Prepared:
        is_dynamic = any(self.homes[i] is Home.DYNAMIC for i in real_indices(self.graph.outputs))
        last = -1
        for op in self.graph.ops:
            self._prepare(op)
            last = op.index
            if stops_preparation(self.ops[last], self.homes):
                is_dynamic = True
                break
        return Prepared(
            graph=replace(self.graph, ops=tuple(self.ops)),
            names=tuple(self.names),
            sizes_bytes=tuple(self.sizes),
            homes=tuple(self.homes),
            temporaries=tuple(self.temporaries),
            last_op=last,
            is_dynamic=is_dynamic,
            unmodelled=tuple(sorted({op.name for op, rule in zip(self.ops, self.rules, strict=True) if not rule})),
        )

    def _prepare(self, op: Op) -> None:
        try:
            self._prepare_callees(op)
            self._prepare_outputs(op)
            self._prepare_temporaries(op)
        except (IndexError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            message = f"Op {op.index} ({op.name}) has tensors that its kernel refuses: load it in LiteRT to see why."
            raise UserError(message) from error

    def _prepare_callees(self, op: Op) -> None:
        """An op that runs other graphs prepares them first, and takes its outputs' sizes from theirs."""
        indices = callees(op)
        if not indices or op.name == "CALL_ONCE":
            return
        if op.name == "WHILE":
            self.ops[op.index] = without_forwarded_outputs(self.graph, op, self.graphs[indices[1]])
            indices = indices[1:]
        prepared = [prepare(self.graphs, i, self.num_threads) for i in indices]
        if any(p.is_dynamic for p in prepared) or changes_shapes(self.graphs, op):
            for index in real_indices(self.ops[op.index].outputs):
                self.homes[index] = Home.DYNAMIC

    def _prepare_outputs(self, op: Op) -> None:
        for index, home in changed_homes(self.graph, op, self.homes).items():
            self.homes[index] = home
        if has_unknown_shape(op, self.homes):
            self.sizes[op.outputs[0]] = self.sizes[op.inputs[0]]
        if op.name == "VAR_HANDLE":
            self.sizes[op.outputs[0]] = _RESOURCE_ID_BYTES

    def _prepare_temporaries(self, op: Op) -> None:
        rule, first = self.rules[op.index], self.reserved_at_load[op.index]
        if rule is None:
            return
        wanted = rule.temporaries(Setting(self.graph, op, self.homes, self.num_threads))
        if first is None:
            first = self._reserve(len(wanted) if rule.reserved is None else rule.reserved)
        for index, temporary in enumerate(wanted, first):
            self.names[index] = f"{op.name} #{op.index} {temporary.role}"
            self.sizes[index], self.homes[index] = temporary.bytes, temporary.home
        self.temporaries[op.index] = tuple(range(first, first + len(wanted)))

    def _reserve(self, count: int) -> int:
        first = len(self.sizes)
        self.names += [""] * count
        self.sizes += [0] * count
        self.homes += [Home.NOWHERE] * count
        return first
