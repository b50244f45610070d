"""Where the runtime keeps each tensor, and how an op's Prepare step decides it for its outputs.

The rules are those of the Prepare functions in LiteRT's `tflite/kernels/*.cc`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum

from edgeflex_tflite.graph import OPTIONAL, UNSIZED_DTYPES, Graph, Op, Tensor


class Home(Enum):
    """Who owns a tensor's memory once tensors are allocated.

    Only ARENA and PERSISTENT tensors are planned; the others are listed.
    """

    CONSTANT = "inside the mapped file"
    ARENA = "the arena that is reused from op to op"
    PERSISTENT = "the arena that is never reused"
    FOLDED = "a heap block of its own, computed while tensors are allocated"
    DYNAMIC = "a heap block of its own, sized while the model runs"
    BORROWED = "the memory of the graph that runs this one"
    NOWHERE = "no memory: reserved by the kernel and not used"


KNOWN = frozenset({Home.CONSTANT, Home.FOLDED})
"""Homes whose values are there before the first inference."""

_SIZED_BY: dict[str, tuple[int, ...]] = {
    "ARG_MAX": (1,), "ARG_MIN": (1,), "BATCH_TO_SPACE_ND": (1, 2), "SPACE_TO_BATCH_ND": (1, 2),
    "BROADCAST_TO": (1,), "CONV_3D_TRANSPOSE": (0,), "DILATE": (1,), "EXPAND_DIMS": (1,), "FILL": (0,),
    "MEAN": (1,), "SUM": (1,), "REDUCE_PROD": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,),
    "REDUCE_ANY": (1,), "REDUCE_ALL": (1,), "MIRROR_PAD": (1,), "MULTINOMIAL": (0, 1), "ONE_HOT": (1,),
    "PAD": (1,), "PADV2": (1,), "RANDOM_STANDARD_NORMAL": (0,), "RANDOM_UNIFORM": (0,), "RANGE": (0, 1, 2),
    "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "RFFT2D": (1,), "SCATTER_ND": (2,),
    "SEGMENT_SUM": (0, 1), "SPARSE_TO_DENSE": (1,), "SPLIT": (0,), "SPLIT_V": (1, 2), "TILE": (1,),
    "TOPK_V2": (1,), "TRANSPOSE": (1,), "TRANSPOSE_CONV": (0,), "UNSORTED_SEGMENT_MAX": (1, 2),
    "UNSORTED_SEGMENT_MIN": (1, 2), "UNSORTED_SEGMENT_PROD": (1, 2), "UNSORTED_SEGMENT_SUM": (1, 2),
    "WHERE": (0,),
}  # fmt: skip
"""Inputs that must be known for the output to have a size; otherwise the output is dynamic."""

_FOLDED_WITH: dict[str, tuple[int, ...] | None] = {
    "BROADCAST_ARGS": (0, 1), "CONCATENATION": None, "GATHER": (0, 1), "MUL": (0, 1), "RANGE": (0, 1, 2),
    "RESHAPE": None, "STRIDED_SLICE": (0, 1, 2), "TILE": (0, 1),
}  # fmt: skip
"""Inputs (None: all) that, when known, make the kernel compute its output while tensors are allocated."""

_MAX_FOLDED_PRODUCT = 8
"""REDUCE_PROD computes known outputs ahead only up to this number of elements (`tflite/kernels/reduce.cc`)."""


def first_home(tensor: Tensor) -> Home:
    """Where a tensor is before any op was prepared (`tflite/core/interpreter_builder.cc`, ParseTensors)."""
    if tensor.data is not None:
        return Home.CONSTANT
    if tensor.dtype in UNSIZED_DTYPES:
        return Home.DYNAMIC
    return Home.PERSISTENT if tensor.is_variable else Home.ARENA


def changed_homes(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    """The tensors, most often outputs, whose home the op's Prepare step changes.

    Args:
        graph: The op's graph.
        op: The op.
        homes: Home of each tensor of the graph at this moment.
    """
    rule = _SPECIAL.get(op.name, _general)
    return rule(graph, op, homes)


def stops_preparation(op: Op, homes: Sequence[Home]) -> bool:
    """Whether the runtime cannot prepare the ops after this one before it has run it.

    That is so after a dynamic output, and after a RESHAPE whose shape is computed.
    """
    if has_unknown_shape(op, homes):
        return True
    return any(homes[i] is Home.DYNAMIC for i in op.outputs if i != OPTIONAL)


def has_unknown_shape(op: Op, homes: Sequence[Home]) -> bool:
    """Whether this is a RESHAPE to a shape that the model computes (`tflite/kernels/reshape.cc`)."""
    return op.name == "RESHAPE" and len(op.inputs) > 1 and homes[op.inputs[1]] not in KNOWN


def _known(op: Op, homes: Sequence[Home], positions: Sequence[int] | None = None) -> bool:
    indices = op.inputs if positions is None else [op.inputs[p] for p in positions]
    return all(i == OPTIONAL or homes[i] in KNOWN for i in indices)


def _all(op: Op, home: Home) -> dict[int, Home]:
    return {i: home for i in op.outputs if i != OPTIONAL}


def _general(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    if op.name in _SIZED_BY and not _known(op, homes, _SIZED_BY[op.name]):
        return _all(op, Home.DYNAMIC)
    if op.name in _FOLDED_WITH and _known(op, homes, _FOLDED_WITH[op.name]):
        return _all(op, Home.FOLDED)
    return {}


def _reshape(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    if graph.tensors[op.outputs[0]].dtype in UNSIZED_DTYPES:
        return {}
    return _general(graph, op, homes)


def _always(home: Home) -> Callable[[Graph, Op, Sequence[Home]], dict[int, Home]]:
    return lambda graph, op, homes: _all(op, home)


def _dequantize(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    """A constant is dequantized once and kept (`tflite/kernels/dequantize.cc`)."""
    return _all(op, Home.PERSISTENT) if homes[op.inputs[0]] is Home.CONSTANT else {}


def _pad(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    return _all(op, Home.DYNAMIC) if not graph.tensors[op.inputs[0]].shape else _general(graph, op, homes)


def _read_variable(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    return _all(op, Home.DYNAMIC) if not graph.tensors[op.outputs[0]].shape else {}


def _reduce_prod(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    small = math.prod(graph.tensors[op.outputs[0]].shape) <= _MAX_FOLDED_PRODUCT
    return _all(op, Home.FOLDED) if small and _known(op, homes) else _general(graph, op, homes)


def _slice(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    """A slice with a full shape in the file keeps it; else begin and size must be known."""
    data, output = graph.tensors[op.inputs[0]], graph.tensors[op.outputs[0]]
    fixed = output.shape and not output.unknown_shape
    sized = _known(op, homes, (1, 2)) and not data.unknown_shape
    return {} if fixed or sized else _all(op, Home.DYNAMIC)


def _strided_slice(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    if not _known(op, homes, (3,)) or not (op.options.get("offset") or _known(op, homes, (1, 2))):
        return _all(op, Home.DYNAMIC)
    return _general(graph, op, homes)


def _top_k(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    sized = _known(op, homes, (1,)) and not graph.tensors[op.inputs[0]].unknown_shape
    return {} if sized else _all(op, Home.DYNAMIC)


def _lstm(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    """The basic kernel keeps the activation and the state that it reads (`tflite/kernels/lstm.cc`)."""
    return {op.inputs[i]: Home.PERSISTENT for i in (1, 4)} if op.options.get("kernelType") == 1 else {}


def _non_max_suppression(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    """All outputs but the last, a count, are as long as the third input says."""
    return {} if _known(op, homes, (2,)) else dict.fromkeys(op.outputs[:-1], Home.DYNAMIC)


def _unique(graph: Graph, op: Op, homes: Sequence[Home]) -> dict[int, Home]:
    return {op.outputs[0]: Home.DYNAMIC}


_SPECIAL: dict[str, Callable[[Graph, Op, Sequence[Home]], dict[int, Home]]] = {
    "DENSIFY": _always(Home.PERSISTENT),
    "DEQUANTIZE": _dequantize,
    "EMBEDDING_LOOKUP_SPARSE": _always(Home.DYNAMIC),
    "LSTM": _lstm,
    "NON_MAX_SUPPRESSION_V4": _non_max_suppression,
    "NON_MAX_SUPPRESSION_V5": _non_max_suppression,
    "PAD": _pad,
    "PADV2": _pad,
    "RANK": _always(Home.FOLDED),
    "READ_VARIABLE": _read_variable,
    "REDUCE_PROD": _reduce_prod,
    "RESHAPE": _reshape,
    "SHAPE": _always(Home.FOLDED),
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "TOPK_V2": _top_k,
    "UNIQUE": _unique,
    "VAR_HANDLE": _always(Home.PERSISTENT),
}
