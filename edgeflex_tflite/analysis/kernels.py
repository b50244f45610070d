"""Where each op of a graph runs on a CPU, from the flatbuffer alone: XNNPACK, or which kind of built-in kernel.

What is assumed: LiteRT's interpreter with its default delegate and default options, as its Python wheel builds it.
The rules are rows of `cpu_kernels.json`; each says how it was established.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from edgeflex_tflite.analysis.xnnpack import kernel_table, refused_ops, xnnpack_rows
from edgeflex_tflite.analysis.xnnpack_groups import border, group_ops
from edgeflex_tflite.analysis.xnnpack_site import Site
from edgeflex_tflite.graph import Graph, Op


class Kernel(Enum):
    """What runs an op."""

    XNNPACK = "xnnpack"
    """XNNPACK's kernels, behind one node for a whole partition."""
    OPTIMIZED = "optimized"
    """A built-in kernel written for speed."""
    REFERENCE = "reference"
    """A built-in kernel of plain loops."""
    MEMORY = "memory"
    """A built-in kernel that computes nothing while the model runs: it copies, keeps or renames memory."""
    CONTROL = "control"
    """A built-in kernel that runs other graphs of the file."""
    CUSTOM = "custom"
    """A kernel that the program must bring along."""
    UNKNOWN = "unknown"
    """A built-in kernel that was never looked up."""


@dataclass(frozen=True)
class OpPlacement:
    """One op.

    Attributes:
        op: Its index.
        kernel: What runs it.
        reason: Why XNNPACK does not take it; "" when it does.
        rule: The part of XNNPACK's row that is not met, "op" when there is no row; "" when XNNPACK takes it.
        partition: Position of its partition in `Placement.partitions`, None outside XNNPACK.
        established: How the row that says so was established.
    """

    op: int
    kernel: Kernel
    reason: str
    rule: str
    partition: int | None
    established: str


@dataclass(frozen=True)
class Partition:
    """A group of ops that runs as one XNNPACK node.

    Attributes:
        ops: Their indices, in the order in which they run.
        inputs: Tensors that come in, without constants.
        outputs: Tensors that go out.
        boundary_bytes: Bytes of inputs and outputs together. Nothing is copied at the border: XNNPACK gets the
            addresses of these tensors in the runtime's arena and reads and writes there (`xnnpack_delegate.cc`,
            Invoke). But each of them is written to memory and read again, cannot be fused away, and holds its place
            in the arena; tensors inside the partition live in XNNPACK's own workspace. Weights that the delegate
            unpacked for a later partition count, too: they have their place in the arena, and nobody writes there.
    """

    ops: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    boundary_bytes: int


@dataclass(frozen=True)
class Placement:
    """Where all ops of one graph run.

    Attributes:
        ops: One for each op of the graph.
        partitions: XNNPACK's, in the order in which they run.
    """

    ops: tuple[OpPlacement, ...]
    partitions: tuple[Partition, ...]

    @property
    def counts(self) -> dict[Kernel, int]:
        """Ops of each kernel, without those that run none."""
        return dict(Counter(op.kernel for op in self.ops))

    @property
    def boundary_bytes(self) -> int:
        """Bytes of all partitions' borders; a tensor between two partitions counts in both."""
        return sum(partition.boundary_bytes for partition in self.partitions)


def place_ops(graph: Graph) -> Placement:
    """Where each op of a graph runs.

    XNNPACK looks at each graph of a file by itself, those that control flow runs included.
    """
    refused = refused_ops(graph)
    taken = {op.index for op in graph.ops} - refused.keys()
    partitions = tuple(_partition(graph, ops) for ops in group_ops(graph, taken))
    position = {op: i for i, partition in enumerate(partitions) for op in partition.ops}
    placed = []
    for op in graph.ops:
        if op.index in refused:
            kernel, established = _built_in(graph, op)
            fault = refused[op.index]
            placed.append(OpPlacement(op.index, kernel, fault.reason, fault.rule, None, established))
        else:
            established = xnnpack_rows()[op.name]["established"]
            placed.append(OpPlacement(op.index, Kernel.XNNPACK, "", "", position.get(op.index), established))
    return Placement(tuple(placed), partitions)


def _partition(graph: Graph, ops: Sequence[int]) -> Partition:
    edge = border(graph, set(ops))
    return Partition(tuple(ops), edge.inputs, edge.outputs, edge.bytes)


@cache
def _built_in_rows() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in kernel_table()["built_in"]:
        for name in row["ops"]:
            rows.setdefault(name, []).append(row)
    return rows


def _built_in(graph: Graph, op: Op) -> tuple[Kernel, str]:
    """The kind of built-in kernel, by the first row that fits."""
    for row in _built_in_rows().get(op.name, ()):
        if _fits(Site(graph, op), row):
            return Kernel[row["kernel"].upper()], row["established"]
    if op.name not in kernel_table()["known_ops"]:
        return Kernel.CUSTOM, "not one of the runtime's own ops"
    return Kernel.UNKNOWN, "not looked up"


def _fits(site: Site, row: Mapping[str, Any]) -> bool:
    """All that a row asks for is so: types at places, and facts about shapes, quantization and options."""
    first, second = site.input(0), site.input(1)
    shapes = [] if first is None or second is None else [first.shape, second.shape]
    facts = {
        "broadcast": len(set(shapes)) > 1,
        "grouped": len(shapes) == 2 and len(shapes[0]) == len(shapes[1]) == 4 and shapes[0][3] != shapes[1][3],
        "quantized": first is not None and first.quantization is not None,
        "per_channel": first is not None and first.quantization is not None and len(first.quantization.scales) > 1,
        "rank": None if first is None else len(first.shape),
    }
    return (
        all(row.get(name, value) == value for name, value in facts.items())
        and all(site.op.options.get(name) == value for name, value in row.get("options", {}).items())
        and all(_dtype_at(site, place) in dtypes for place, dtypes in row.get("dtypes", {}).items())
    )


def _dtype_at(site: Site, place: str) -> str:
    found = site.find(place)
    return found[0].dtype if found else ""
