"""What a graph looks like once the runtime has prepared its ops: homes, sizes and scratch tensors.

The order of events is that of `tflite/core/subgraph.cc` (PrepareOpsStartingAt): ops are prepared in execution
order up to the first one whose outputs cannot be sized yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeflex_tflite.memory.graph import OPTIONAL, Graph, Op
from edgeflex_tflite.memory.homes import Home, first_home, has_unknown_shape, output_homes, stops_preparation
from edgeflex_tflite.memory.temporaries import Rule, Setting, rule_for


@dataclass(frozen=True)
class Prepared:
    """A graph after its first preparation.

    Attributes:
        graph: The graph.
        names: Name of each tensor, the kernels' scratch tensors after the file's.
        sizes_bytes: Bytes of each tensor.
        homes: Home of each tensor.
        temporaries: For each op, the indices of its scratch tensors.
        last_op: Index of the last op that could be prepared; -1 when there are no ops.
        unmodelled: Names of the op types whose kernels were never looked up.
    """

    graph: Graph
    names: tuple[str, ...]
    sizes_bytes: tuple[int, ...]
    homes: tuple[Home, ...]
    temporaries: tuple[tuple[int, ...], ...]
    last_op: int
    unmodelled: tuple[str, ...]


def prepare(graph: Graph, num_threads: int = 1) -> Prepared:
    """Prepare a graph's ops as `allocate_tensors` does.

    Args:
        graph: The graph.
        num_threads: Threads of the interpreter; some kernels ask for other scratch tensors with more than one.
    """
    preparation = _Preparation(graph, num_threads)
    return preparation.run()


class _Preparation:
    def __init__(self, graph: Graph, num_threads: int) -> None:
        self.graph, self.num_threads = graph, num_threads
        self.names = [t.name for t in graph.tensors]
        self.sizes = [0 if t.data is not None else t.bytes for t in graph.tensors]
        self.homes = [first_home(t) for t in graph.tensors]
        self.temporaries: list[tuple[int, ...]] = [() for _ in graph.ops]
        self.rules = [rule_for(op) for op in graph.ops]
        self.reserved_at_load = {op.index: self._reserve_at_load(op, rule) for op, rule in self._ruled()}

    def _ruled(self) -> list[tuple[Op, Rule]]:
        return [(op, rule) for op, rule in zip(self.graph.ops, self.rules, strict=True) if rule is not None]

    def run(self) -> Prepared:
        last = -1
        for op in self.graph.ops:
            self._prepare_outputs(op)
            self._prepare_temporaries(op)
            last = op.index
            if stops_preparation(op, self.homes):
                break
        return Prepared(
            graph=self.graph,
            names=tuple(self.names),
            sizes_bytes=tuple(self.sizes),
            homes=tuple(self.homes),
            temporaries=tuple(self.temporaries),
            last_op=last,
            unmodelled=tuple(
                sorted({op.name for op, rule in zip(self.graph.ops, self.rules, strict=True) if not rule})
            ),
        )

    def _prepare_outputs(self, op: Op) -> None:
        for index, home in output_homes(self.graph, op, self.homes).items():
            self.homes[index] = home
        if has_unknown_shape(op, self.homes):
            self.sizes[op.outputs[0]] = self.sizes[op.inputs[0]]

    def _prepare_temporaries(self, op: Op) -> None:
        rule = self.rules[op.index]
        if rule is None:
            return
        wanted = rule.temporaries(Setting(self.graph, op, self.homes, self.num_threads))
        first = self.reserved_at_load[op.index]
        if first is None:
            first = self._reserve(len(wanted) if rule.reserved is None else rule.reserved)
        for index, temporary in enumerate(wanted, first):
            self.names[index] = f"{op.name} #{op.index} {temporary.role}"
            self.sizes[index], self.homes[index] = temporary.bytes, temporary.home
        self.temporaries[op.index] = tuple(range(first, first + len(wanted)))

    def _reserve_at_load(self, op: Op, rule: Rule) -> int | None:
        return self._reserve(rule.reserved or 1) if rule.at_load else None

    def _reserve(self, count: int) -> int:
        first = len(self.sizes)
        self.names += [""] * count
        self.sizes += [0] * count
        self.homes += [Home.NOWHERE] * count
        return first


def real_indices(indices: tuple[int, ...]) -> list[int]:
    """The tensors among an op's inputs or outputs that are there."""
    return [i for i in indices if i != OPTIONAL]
