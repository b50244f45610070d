"""What LiteRT's interpreter really allocates: the addresses of all tensors after `allocate_tensors`."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import PACKED_DTYPES, UNSIZED_DTYPES, Graph, tensor_bytes
from edgeflex_tflite.memory.control import adapt_callees
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.placement import ALIGNMENT_BYTES
from edgeflex_tflite.memory.prepare import prepare
from edgeflex_tflite.parse import load_graphs

Span = tuple[int, int]
"""Address and bytes."""


@dataclass(frozen=True)
class Block:
    """One stretch of memory without holes that an alignment could not explain.

    Attributes:
        address: Where it begins.
        bytes: From there to the end of its furthest tensor.
        tensors: Indices of the tensors in it, by address.
    """

    address: int
    bytes: int
    tensors: tuple[int, ...]


@dataclass(frozen=True)
class ArenaMeasurement:
    """One graph's memory after `allocate_tensors`.

    Attributes:
        peak_bytes: Span of the arena that ops reuse; None if none of its tensors can be seen.
        persistent_bytes: Span of the arena that is never reused, without resource handles, which cannot be seen.
        arena: The block with the graph's inputs and outputs.
        persistent: The block that is never reused.
        others: Every other block outside the file: folded and dynamic tensors.
        addresses: Address of every tensor outside the file that can be seen.
        sizes_bytes: Size of each of those tensors.
    """

    peak_bytes: int | None
    persistent_bytes: int
    arena: Block | None
    persistent: Block | None
    others: tuple[Block, ...]
    addresses: Mapping[int, int]
    sizes_bytes: Mapping[int, int]


def measure_arena(path: str | Path, *, graph: int = 0, num_threads: int = 1) -> ArenaMeasurement:
    """Load a file in the interpreter without delegates, allocate its tensors and read their addresses.

    Which tensors are kept for good or have heap blocks of their own is taken from the kernels' table; where
    they all lie is measured.

    Args:
        path: A .tflite file.
        graph: Position of the graph in the file.
        num_threads: Threads of the interpreter.

    Raises:
        UserError: There is no such file, it is not a .tflite flatbuffer, or LiteRT cannot load it.
    """
    graphs = adapt_callees(load_graphs(path))
    parsed, homes = graphs[graph], prepare(graphs, graph, num_threads).homes
    memory = _Memory(_allocated(Path(path), graph, num_threads), parsed)
    blocks = cluster(memory.spans, heap_tensors(memory.spans, homes))
    arena = _holding(blocks, {i for i in (*parsed.inputs, *parsed.outputs) if homes[i] is Home.ARENA})
    persistent = _holding(blocks, {i for i, home in enumerate(homes) if home is Home.PERSISTENT})
    return ArenaMeasurement(
        peak_bytes=arena.bytes if arena else None,
        persistent_bytes=persistent.bytes if persistent else 0,
        arena=arena,
        persistent=persistent,
        others=tuple(b for b in blocks if b not in (arena, persistent)),
        addresses={i: address for i, (address, _) in memory.spans.items()},
        sizes_bytes={i: size for i, (_, size) in memory.spans.items()},
    )


def allocated_bytes(wrapper: Any, graphs: Sequence[Graph], num_threads: int = 1) -> int:
    """Bytes of all arenas that an interpreter holds now, whatever delegate runs its ops.

    Args:
        wrapper: The wrapper around the C++ interpreter, tensors allocated; scalar tensors may be overwritten.
        graphs: All graphs of its file.
        num_threads: Threads of the interpreter.
    """
    adapted = adapt_callees(graphs)
    spans: dict[int, Span] = {}
    heap: set[int] = set()
    for graph in adapted:
        memory, homes = _Memory(wrapper, graph), prepare(adapted, graph.index, num_threads).homes
        first = len(spans)
        numbers = {tensor: first + n for n, tensor in enumerate(memory.spans)}
        spans |= {numbers[tensor]: span for tensor, span in memory.spans.items()}
        heap |= {numbers[tensor] for tensor in heap_tensors(memory.spans, homes) & set(memory.spans)}
    return sum(block.bytes for block in cluster(spans, heap) if not heap.issuperset(block.tensors))


def cluster(spans: Mapping[int, Span], heap: Collection[int] = ()) -> list[Block]:
    """Join tensors into blocks.

    Inside an arena a hole is shorter than the alignment, since each buffer begins where others end. Behind an
    arena there is more room, for it is allocated with a whole alignment to spare; before it there need not be.

    Args:
        spans: Address and bytes of each tensor.
        heap: Tensors that have a heap block of their own, which no other tensor continues.
    """
    blocks: list[Block] = []
    for tensor, (address, size) in sorted(spans.items(), key=lambda item: (item[1], item[0])):
        last = blocks[-1] if blocks else None
        near = last is not None and address < last.address + last.bytes + ALIGNMENT_BYTES
        if last is not None and near and not all(t in heap for t in last.tensors):
            end = max(last.address + last.bytes, address + size)
            blocks[-1] = Block(last.address, end - last.address, (*last.tensors, tensor))
        else:
            blocks.append(Block(address, size, (tensor,)))
    return blocks


def heap_tensors(spans: Mapping[int, Span], homes: Sequence[Home]) -> set[int]:
    """Tensors that the kernels' table puts on the heap, or that are not aligned as in an arena."""
    listed = {i for i, home in enumerate(homes) if home in (Home.FOLDED, Home.DYNAMIC)}
    return listed | {i for i, (address, _) in spans.items() if address % ALIGNMENT_BYTES}


def _holding(blocks: Collection[Block], tensors: set[int]) -> Block | None:
    """The first block with one of the tensors."""
    return next((b for b in blocks if tensors.intersection(b.tensors)), None)


def _allocated(path: Path, graph: int, num_threads: int) -> Any:
    """The wrapper around the C++ interpreter without delegates, tensors allocated."""
    return allocated_interpreter(path, num_threads, delegate=False, graph=graph)._interpreter


def allocated_interpreter(path: Path, num_threads: int, *, delegate: bool, graph: int = 0) -> Any:
    """LiteRT's interpreter with its default delegate or with none, tensors allocated.

    Raises:
        UserError: LiteRT cannot load the file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.AUTO if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:
        interpreter = Interpreter(model_path=str(path), num_threads=num_threads, experimental_op_resolver_type=resolver)
        interpreter.allocate_tensors()
        if graph:
            interpreter._interpreter.AllocateTensors(graph)
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"LiteRT cannot load {path} ({reason}): check that all its ops are builtin ones.") from error
    return interpreter


class _Memory:
    """Where an interpreter keeps the tensors of one graph that are not in the file."""

    def __init__(self, wrapper: Any, graph: Graph) -> None:
        self.wrapper, self.graph = wrapper, graph
        hidden = {t.index for t in graph.tensors if t.data is not None or t.dtype in UNSIZED_DTYPES}
        views = {i: self._view(i) for i in range(wrapper.NumTensors(graph.index)) if i not in hidden}
        self.spans = {i: self._span(i, view) for i, view in views.items() if view is not None and view.shape}
        self.spans = {i: span for i, span in self.spans.items() if span[1]}
        scalars = {i: view for i, view in views.items() if view is not None and not view.shape}
        while found := self._scalar_spans(scalars):
            self.spans |= found

    def _view(self, index: int) -> np.ndarray | None:
        """The tensor's memory as an array; a copy when it has no dimensions."""
        place = (index, self.graph.index)
        try:
            self.wrapper.TensorSize(*place)  # these two raise for a tensor that was reserved and never used,
            self.wrapper.TensorType(*place)  # for which the next one would read through a null pointer
            return self.wrapper.tensor(self.wrapper, *place)
        except ValueError:
            return None

    def _span(self, index: int, view: np.ndarray) -> Span:
        dtype = self.graph.tensors[index].dtype if index < len(self.graph.tensors) else ""
        packed = dtype in PACKED_DTYPES  # numpy has no types below a byte
        return view.__array_interface__["data"][0], tensor_bytes(dtype, view.shape) if packed else view.nbytes

    def _scalar_spans(self, scalars: Mapping[int, np.ndarray]) -> dict[int, Span]:
        """Of the tensors without dimensions, those inside or right beside a block that is known so far.

        The interpreter hands out copies of them, so they are written to, and found where memory changed. An
        alignment's length behind a block may be read: an arena is allocated with that much to spare.
        """
        starts = [
            start
            for block in cluster(self.spans)
            if block.address % ALIGNMENT_BYTES == 0
            for start in range(
                block.address - ALIGNMENT_BYTES, block.address + block.bytes + ALIGNMENT_BYTES, ALIGNMENT_BYTES
            )
        ]
        missing = {i: view for i, view in scalars.items() if i not in self.spans}
        found = {i: (self._written_address(i, view, starts), view.nbytes) for i, view in missing.items()}
        return {i: (address, size) for i, (address, size) in found.items() if address is not None}

    def _written_address(self, index: int, view: np.ndarray, starts: list[int]) -> int | None:
        """The one start whose content follows what is written to the tensor; None if it has no memory."""
        for pattern in (b"\x00", b"\x01", b"\x00"):
            value = np.frombuffer(pattern * view.nbytes, view.dtype).reshape(())
            try:
                self.wrapper.SetTensor(index, value, self.graph.index)
            except ValueError:
                return None
            starts = [s for s in starts if ctypes.string_at(s, view.nbytes) == value.tobytes()]
        return starts[0] if starts else None
