"""Which outputs live in their input's buffer.

The rules are those of LiteRT's `tflite/arena_planner.cc` (IdentifyInPlaceTensors), the op types those whose
registration in `tflite/kernels/*.cc` carries an in-place flag.
"""

from __future__ import annotations

from collections import Counter

from edgeflex_tflite.graph import OPTIONAL, Op
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.prepare import Prepared, real_indices

_PASS_THROUGH = {"BITCAST": (0,), "EXPAND_DIMS": (0,), "RESHAPE": (0,), "SQUEEZE": (0,)}
"""Op types whose output has the very bytes of the input: any number of them may share one buffer."""

_OVERWRITING = {
    "ADD": (0, 1), "DIV": (0, 1), "DYNAMIC_UPDATE_SLICE": (0,), "MUL": (0, 1), "SOFTMAX": (0,), "SUB": (0, 1),
}  # fmt: skip
"""Op types that may write over an input that nobody else reads, and which inputs."""

_SCALAR_BYTES = 4
"""Tensors up to this size are not overwritten: a later resize could make them broadcast."""


def reader_counts(prepared: Prepared) -> Counter[int]:
    """References to each tensor: one for each read, and one for being a graph input or output."""
    graph = prepared.graph
    counts = Counter(real_indices(graph.inputs) + real_indices(graph.outputs))
    for op in graph.ops:
        counts.update(real_indices(op.inputs))
    return counts


def shared_buffers(prepared: Prepared) -> dict[int, int]:
    """For each output that lives in another tensor's buffer, the tensor that owns the buffer."""
    owners: dict[int, int] = {}
    readers = reader_counts(prepared)
    for op in prepared.graph.ops:
        source = _shared_input(prepared, op, readers)
        if source is None:
            continue
        owner = owners.get(source, source)
        if op.name in _PASS_THROUGH or readers[owner] <= 1:
            owners[op.outputs[0]] = owner
    return owners


def _shared_input(prepared: Prepared, op: Op, readers: Counter[int]) -> int | None:
    """The first input whose buffer the op's first output may take."""
    if not op.outputs:
        return None
    positions = _PASS_THROUGH.get(op.name) or _OVERWRITING.get(op.name, ())
    for position in positions:
        source = op.inputs[position] if position < len(op.inputs) else OPTIONAL
        if source == OPTIONAL or not _outside_fits(prepared, source, op.outputs[0]):
            continue
        if op.name in _PASS_THROUGH or _may_overwrite(prepared, source, op.outputs[0], readers):
            return source
    return None


def _outside_fits(prepared: Prepared, source: int, target: int) -> bool:
    """Neither graph input nor graph output is touched, and both tensors live in the same place."""
    homes = prepared.homes
    if source in prepared.graph.inputs or target in prepared.graph.outputs:
        return False
    return homes[source] in (homes[target], Home.ARENA)


def _may_overwrite(prepared: Prepared, source: int, target: int, readers: Counter[int]) -> bool:
    size = prepared.sizes_bytes[source]
    return size == prepared.sizes_bytes[target] and size > _SCALAR_BYTES and readers[source] <= 1
