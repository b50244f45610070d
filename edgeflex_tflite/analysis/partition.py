"""Where the ops of a graph really run: the partition of LiteRT's interpreter once tensors are allocated.

The interpreter lists the file's ops and, behind them, one DELEGATE node for each of XNNPACK's partitions, with the
tensors that cross its border. Which ops are inside is what reaches from its outputs back to its inputs. Ops that
nothing needs show by their outputs: inside a delegate these have no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflex_tflite.analysis.kernels import Partition
from edgeflex_tflite.graph import OPTIONAL, UNSIZED_DTYPES, Graph
from edgeflex_tflite.memory.runtime import allocated_interpreter
from edgeflex_tflite.parse import load_graphs

_Edge = tuple[set[int], set[int]]
"""Tensors that come in, constants too, and tensors that go out."""


@dataclass(frozen=True)
class RuntimePartitions:
    """What the runtime did with the primary graph.

    Attributes:
        partitions: XNNPACK's partitions in the order in which they run; their ops by index.
        unseen: Ops of which the interpreter does not show where they run: nothing reads what they give.
    """

    partitions: tuple[Partition, ...]
    unseen: tuple[int, ...]

    @property
    def delegated(self) -> frozenset[int]:
        """Indices of all ops inside a partition."""
        return frozenset(op for partition in self.partitions for op in partition.ops)


def runtime_partitions(path: str | Path, *, num_threads: int = 1) -> RuntimePartitions:
    """The partition of a file's primary graph by the interpreter's default delegate.

    Args:
        path: The .tflite file.
        num_threads: Threads of the interpreter.

    Raises:
        UserError: There is no such file, it is damaged, or LiteRT does not load it.
    """
    graph = load_graphs(path)[0]
    interpreter = allocated_interpreter(Path(path), num_threads, delegate=True)
    nodes = interpreter._get_ops_details()[len(graph.ops) :]
    borders = [(_real(node["inputs"]), _real(node["outputs"])) for node in nodes]
    members = [_reached(graph, *edge) for edge in borders]
    hidden = _hidden_tensors(interpreter, graph)
    unseen = tuple(sorted(_place_dead_ops(graph, members, borders, hidden)))
    found = zip(members, borders, strict=True)
    return RuntimePartitions(tuple(_partition(graph, ops, *edge) for ops, edge in found), unseen)


def _partition(graph: Graph, ops: set[int], inputs: set[int], outputs: set[int]) -> Partition:
    computed = {i for i in inputs if not graph.tensors[i].is_constant}
    size = sum(graph.tensors[i].bytes for i in computed | outputs)
    return Partition(tuple(sorted(ops)), tuple(sorted(computed)), tuple(sorted(outputs)), size)


def _reached(graph: Graph, inputs: set[int], outputs: set[int]) -> set[int]:
    """Ops between a node's outputs and its inputs."""
    producer = {i: op for op in graph.ops for i in _real(op.outputs)}
    found: set[int] = set()
    waiting = list(outputs)
    while waiting:
        op = producer.get(waiting.pop())
        if op is not None and op.index not in found:
            found.add(op.index)
            waiting += [i for i in op.inputs if i not in inputs]
    return found


def _place_dead_ops(graph: Graph, members: Sequence[set[int]], borders: Sequence[_Edge], hidden: set[int]) -> set[int]:
    """Add the ops that no output needs to the partitions; the ones for which that is not decided are returned.

    Such an op is inside a delegate if it reads what that computes and does not give away. Otherwise its outputs
    tell, for those of an op outside have memory; but not in a graph where some tensors get theirs only later.
    """
    inside, outside = set().union(*members), _outside(graph, members, borders)
    dead = [op for op in graph.ops if op.index not in inside | outside]
    all_allocated = hidden.isdisjoint(i for op in graph.ops if op.index in outside for i in op.outputs)
    unseen = set()
    for op in dead:
        enclosing = [p for p in range(len(members)) if _secrets(graph, members[p], borders[p]).intersection(op.inputs)]
        outputs = {i for i in _real(op.outputs) if graph.tensors[i].dtype not in UNSIZED_DTYPES}
        if enclosing:
            members[enclosing[0]].add(op.index)
        elif not outputs or (outputs <= hidden and not (all_allocated and len(members) == 1)):
            unseen.add(op.index)
        elif outputs <= hidden:
            members[0].add(op.index)
    return unseen


def _outside(graph: Graph, members: Sequence[set[int]], borders: Sequence[_Edge]) -> set[int]:
    """Ops that give something to others and are in no partition: had a delegate run them, they would show."""
    inside = set().union(*members)
    producer = {i: op for op in graph.ops if op.index not in inside for i in _real(op.outputs)}
    waiting = [*graph.outputs, *(i for inputs, _ in borders for i in inputs)]
    found: set[int] = set()
    while waiting:
        op = producer.get(waiting.pop())
        if op is not None and op.index not in found:
            found.add(op.index)
            waiting += op.inputs
    return found


def _secrets(graph: Graph, ops: set[int], border: _Edge) -> set[int]:
    """Tensors that a delegate computes and does not give away."""
    return {i for op in graph.ops if op.index in ops for i in op.outputs} - border[1]


def _hidden_tensors(interpreter: Any, graph: Graph) -> set[int]:
    """Computed tensors that have no memory of their own."""
    made = {i for op in graph.ops for i in _real(op.outputs) if graph.tensors[i].dtype not in UNSIZED_DTYPES}
    return {i for i in made if not _has_memory(interpreter, i)}


def _has_memory(interpreter: Any, index: int) -> bool:
    wrapper = interpreter._interpreter
    try:
        wrapper.TensorSize(index, 0)
        return wrapper.tensor(wrapper, index, 0) is not None
    except ValueError:
        return False


def _real(indices: Iterable[int]) -> set[int]:
    return {int(i) for i in indices if i != OPTIONAL}
