"""Multiply-accumulate operations of a graph, and in which arithmetic they run."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import OPTIONAL, Graph, Op, Tensor

_PACKED_BITS = {"FLOAT32": 32, "FLOAT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4, "INT2": 2}
_UNPACKING = frozenset({"DEQUANTIZE", "DENSIFY"})
_BASIC_LSTM = 1
_INTEGERS = frozenset({"INT8", "UINT8", "INT16", "INT4", "INT2", "INT32"})


class Arithmetic(Enum):
    """What is multiplied."""

    INTEGER = "integer"
    """Integers times integers."""
    DYNAMIC = "dynamic"
    """Integers times integers, the activations quantized anew for each inference."""
    HALF = "half"
    """16-bit floats."""
    FLOAT = "float"
    """32-bit floats."""


@dataclass(frozen=True)
class OpMacs:
    """One op.

    Attributes:
        op: Its index.
        name: Operator.
        macs: Multiply-accumulate operations of one inference.
        arithmetic: In which they run on a CPU.
    """

    op: int
    name: str
    macs: int
    arithmetic: Arithmetic


@dataclass(frozen=True)
class MacCount:
    """One graph.

    Attributes:
        ops: Those that multiply matrices, convolve or recur, in order.
        uncounted: Operators that may do so in ways that are not counted: custom ones, and those that run other graphs.
    """

    ops: tuple[OpMacs, ...]
    uncounted: tuple[str, ...]

    @property
    def total(self) -> int:
        """Of one inference."""
        return sum(op.macs for op in self.ops)

    @property
    def shares(self) -> Mapping[Arithmetic, float]:
        """Of the total, between 0 and 1; empty without any."""
        sums: Counter[Arithmetic] = Counter()
        for op in self.ops:
            sums[op.arithmetic] += op.macs
        return {kind: count / self.total for kind, count in sums.items()} if self.total else {}


def count_macs(graph: Graph) -> MacCount:
    """Count a graph's multiply-accumulate operations; additions, activations and copies are none.

    Raises:
        UserError: An op has not the inputs and dimensions that its kernel takes.
    """
    return MacCount(
        ops=tuple(_counted(graph, op) for op in graph.ops if op.name in _RULES and not op.is_custom),
        uncounted=tuple(sorted({op.name for op in graph.ops if _may_hide_macs(op)})),
    )


def _counted(graph: Graph, op: Op) -> OpMacs:
    try:
        return OpMacs(op.index, op.name, _RULES[op.name](graph, op), _arithmetic(graph, op))
    except IndexError as error:
        raise UserError(f"Op {op.index} ({op.name}) lacks inputs or dimensions: convert the model again.") from error


def _tensor(graph: Graph, op: Op, position: int) -> Tensor:
    return graph.tensors[op.inputs[position]]


def _output(graph: Graph, op: Op) -> Tensor:
    return graph.tensors[op.outputs[0]]


def _stored(tensor: Tensor) -> int:
    """Elements that are multiplied: without the zeros that a sparse tensor leaves out."""
    if tensor.is_sparse and tensor.data is not None and tensor.dtype in _PACKED_BITS:
        return len(tensor.data) * 8 // _PACKED_BITS[tensor.dtype]
    return tensor.elements


def _conv_2d(graph: Graph, op: Op) -> int:
    """Each output sums over a window; weights are [out, h, w, in / groups]."""
    weights, output = _tensor(graph, op, 1), _output(graph, op)
    return math.prod(output.shape[:-1]) * _stored(weights)


def _depthwise(graph: Graph, op: Op) -> int:
    weights, output = _tensor(graph, op, 1), _output(graph, op)
    return math.prod(output.shape[:-1]) * _stored(weights)


def _transpose_conv(graph: Graph, op: Op) -> int:
    """Each input is spread over a window; inputs are (output shape, weights, data)."""
    weights, data = _tensor(graph, op, 1), _tensor(graph, op, 2)
    return math.prod(data.shape[:-1]) * weights.elements


def _conv_3d(graph: Graph, op: Op) -> int:
    """Weights are [d, h, w, in, out]."""
    return math.prod(_output(graph, op).shape[:-1]) * _tensor(graph, op, 1).elements


def _conv_3d_transpose(graph: Graph, op: Op) -> int:
    """Inputs are (output shape, weights, data); weights are [d, h, w, out, in]."""
    return math.prod(_tensor(graph, op, 2).shape[:-1]) * _tensor(graph, op, 1).elements


def _fully_connected(graph: Graph, op: Op) -> int:
    """Weights are [out, in]; every other dimension of the input counts rows."""
    weights = _tensor(graph, op, 1)
    rows = _tensor(graph, op, 0).elements // max(weights.shape[-1], 1)
    return rows * _stored(weights)


def _batch_matmul(graph: Graph, op: Op) -> int:
    left = _tensor(graph, op, 0)
    inner = left.shape[-2] if op.options.get("adjX") else left.shape[-1]
    return _output(graph, op).elements * inner


def _recurrent(graph: Graph, op: Op) -> int:
    """All matrices of weights meet every step of every sequence."""
    steps = math.prod(_tensor(graph, op, 0).shape[:-1])
    return steps * sum(map(_stored, _matrices(graph, op)))


def _matrices(graph: Graph, op: Op) -> list[Tensor]:
    """A recurrent op's weights, in the file or unpacked from it; the other matrices among its inputs are states."""
    given = op.inputs[2:3] if op.options.get("kernelType") == _BASIC_LSTM else op.inputs[1:]
    unpacked = {i for other in graph.ops if other.name in _UNPACKING for i in other.outputs}
    tensors = [graph.tensors[i] for i in given if i != OPTIONAL]
    return [t for t in tensors if len(t.shape) == 2 and (t.is_constant or t.index in unpacked)]


_RECURRENT = frozenset(
    {
        "LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_RNN", "SVDF",
    }
)  # fmt: skip

_RULES: dict[str, Callable[[Graph, Op], int]] = {
    "CONV_2D": _conv_2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "CONV_3D": _conv_3d,
    "CONV_3D_TRANSPOSE": _conv_3d_transpose,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _batch_matmul,
    **dict.fromkeys(_RECURRENT, _recurrent),
}

_HIDING = frozenset({"IF", "WHILE", "CALL", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE", "STABLEHLO_CASE"})
_UNCOUNTED_PREFIXES = ("STABLEHLO_DOT", "STABLEHLO_CONVOLUTION", "Flex")


def _may_hide_macs(op: Op) -> bool:
    return op.name in _HIDING or op.name.startswith(_UNCOUNTED_PREFIXES) or op.is_custom


def _arithmetic(graph: Graph, op: Op) -> Arithmetic:
    """By the types of data and weights: kernels multiply in the narrower one's arithmetic.

    Float data with integer weights is quantized on the fly (hybrid kernels, XNNPACK's qd8). Weights that a DEQUANTIZE
    expands, FP16 ones among them, are floats when they are multiplied.
    """
    position = 2 if op.name in ("TRANSPOSE_CONV", "CONV_3D_TRANSPOSE") else 0
    data, weights = _tensor(graph, op, position).dtype, _weights(graph, op)
    if data in _INTEGERS:
        return Arithmetic.INTEGER
    if weights in _INTEGERS:
        return Arithmetic.DYNAMIC
    return Arithmetic.HALF if data == "FLOAT16" else Arithmetic.FLOAT


def _weights(graph: Graph, op: Op) -> str:
    """Type of what the data is multiplied with. A recurrent op may go without some of its matrices."""
    if op.name in _RECURRENT:
        return next((t.dtype for t in _matrices(graph, op)), "")
    return _tensor(graph, op, 1).dtype
