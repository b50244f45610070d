"""What LiteRT's interpreter really allocates: the addresses of all tensors after `allocate_tensors`."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory.graph import UNSIZED_DTYPES, Graph, load_graphs, tensor_bytes
from edgeflex_tflite.memory.placement import ALIGNMENT_BYTES


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
    """The primary graph's memory after `allocate_tensors`.

    Attributes:
        peak_bytes: Span of the arena, which holds the graph's inputs and outputs; None if none of them can be seen.
        arena: The arena, or None.
        others: Every other block outside the file: the persistent arena, folded and dynamic tensors.
        addresses: Address of every tensor outside the file that has memory.
        sizes_bytes: Size of each of those tensors.
    """

    peak_bytes: int | None
    arena: Block | None
    others: tuple[Block, ...]
    addresses: Mapping[int, int]
    sizes_bytes: Mapping[int, int]


def measure_arena(path: str | Path, *, num_threads: int = 1) -> ArenaMeasurement:
    """Load a file in the interpreter without delegates, allocate its tensors and read their addresses.

    Args:
        path: A .tflite file.
        num_threads: Threads of the interpreter.

    Raises:
        UserError: There is no such file, it is not a .tflite flatbuffer, or LiteRT cannot load it.
    """
    graph = load_graphs(path)[0]
    wrapper = _allocated(Path(path), num_threads)
    spans = _tensor_spans(wrapper, graph)
    while scalars := _scalar_spans(wrapper, graph, spans):
        spans |= scalars
    blocks = cluster(spans)
    arena = _holding(blocks, {*graph.inputs, *graph.outputs})
    return ArenaMeasurement(
        peak_bytes=arena.bytes if arena else None,
        arena=arena,
        others=tuple(b for b in blocks if b != arena),
        addresses={i: address for i, (address, _) in spans.items()},
        sizes_bytes={i: size for i, (_, size) in spans.items()},
    )


def cluster(spans: Mapping[int, tuple[int, int]]) -> list[Block]:
    """Join tensors into blocks.

    Inside an arena a hole is never longer than the alignment, since each buffer begins where others end. Two
    heap blocks are always further apart: an arena is allocated with a whole alignment to spare.

    Args:
        spans: Address and bytes of each tensor.
    """
    blocks: list[Block] = []
    for tensor, (address, size) in sorted(spans.items(), key=lambda item: (item[1], item[0])):
        last = blocks[-1] if blocks else None
        if last is not None and address < last.address + last.bytes + ALIGNMENT_BYTES:
            end = max(last.address + last.bytes, address + size)
            blocks[-1] = Block(last.address, end - last.address, (*last.tensors, tensor))
        else:
            blocks.append(Block(address, size, (tensor,)))
    return blocks


def _holding(blocks: list[Block], tensors: set[int]) -> Block | None:
    """The first block with one of the tensors."""
    return next((b for b in blocks if tensors.intersection(b.tensors)), None)


def _allocated(path: Path, num_threads: int) -> Any:
    """The wrapper around the C++ interpreter, tensors allocated."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType  # noqa: PLC0415  it loads the runtime

    try:
        interpreter = Interpreter(
            model_path=str(path),
            num_threads=num_threads,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"LiteRT cannot load {path} ({reason}): check that all its ops are builtin ones.") from error
    return interpreter._interpreter


def _tensor_spans(wrapper: Any, graph: Graph) -> dict[int, tuple[int, int]]:
    """Address and bytes of every tensor that has memory outside the file, but for those without dimensions."""
    spans = ((i, _tensor_span(wrapper, graph, i)) for i in _visible(wrapper, graph))
    return {i: span for i, span in spans if span is not None}


def _visible(wrapper: Any, graph: Graph) -> list[int]:
    hidden = {t.index for t in graph.tensors if t.data is not None or t.dtype in UNSIZED_DTYPES}
    return [i for i in range(wrapper.NumTensors(0)) if i not in hidden]


def _tensor_span(wrapper: Any, graph: Graph, index: int) -> tuple[int, int] | None:
    view = _view(wrapper, index)
    if view is None or not view.shape or not view.size:
        return None
    size = view.nbytes
    if index < len(graph.tensors):  # numpy has no types below a byte
        size = tensor_bytes(graph.tensors[index].dtype, view.shape)
    return view.__array_interface__["data"][0], size


def _view(wrapper: Any, index: int) -> np.ndarray | None:
    """The tensor's memory as an array; a copy when it has no dimensions."""
    try:
        wrapper.TensorSize(index, 0)  # these two raise for a tensor that was reserved and never used,
        wrapper.TensorType(index, 0)  # for which the next one would read through a null pointer
        return wrapper.tensor(wrapper, index, 0)
    except ValueError:
        return None


def _scalar_spans(wrapper: Any, graph: Graph, known: Mapping[int, tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Address and bytes of the tensors without dimensions that lie inside or right beside a known block.

    The interpreter hands out copies of them, so they are written to, and found where memory changed. The
    alignment's length behind a block may be read: an arena is allocated with that much to spare.
    """
    starts = [
        start
        for block in cluster(known)
        if block.address % ALIGNMENT_BYTES == 0
        for start in range(
            block.address - ALIGNMENT_BYTES, block.address + block.bytes + ALIGNMENT_BYTES, ALIGNMENT_BYTES
        )
    ]
    views = {i: _view(wrapper, i) for i in _visible(wrapper, graph) if i not in known}
    scalars = {i: view for i, view in views.items() if view is not None and not view.shape}
    found = {i: (_written_address(wrapper, i, view, starts), view.nbytes) for i, view in scalars.items()}
    return {i: (address, size) for i, (address, size) in found.items() if address is not None}


def _written_address(wrapper: Any, index: int, view: np.ndarray, starts: list[int]) -> int | None:
    """The one start whose content follows what is written to the tensor."""
    candidates = starts
    for pattern in (b"\x00", b"\x01", b"\x00"):
        value = np.frombuffer(pattern * view.nbytes, view.dtype).reshape(())
        wrapper.SetTensor(index, value, 0)
        candidates = [s for s in candidates if ctypes.string_at(s, view.nbytes) == value.tobytes()]
    return candidates[0] if candidates else None
