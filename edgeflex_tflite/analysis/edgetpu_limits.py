"""The documented limitations of single operators on the Edge TPU, as checks; `edgetpu.json` says which has which.

Source of all: Coral's "TensorFlow models on the Edge TPU", unless a docstring names another. Tensors are read as
[batch, height, width, channels], aligned at the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.graph import OPTIONAL, PACKED_DTYPES, Graph, Op, Tensor

EIGHT_BIT = frozenset({"INT8", "UINT8"})
MOST_SOFTMAX_ELEMENTS = 16_000
INNER = 3
"""Dimensions of which each may have more than one element."""


def common_reasons(op: Op, graph: Graph) -> Iterator[str]:
    """What holds for every operator: 8-bit values, at most three dimensions, nothing sparse; none when all is well."""
    tensors = _tensors(op.inputs + op.outputs, graph)
    for check in (_type_reason, _rank_reason):
        if reason := next((reason for reason in map(check, tensors) if reason), ""):
            yield reason


def _type_reason(tensor: Tensor) -> str:
    """Bias, shapes and axes are 32-bit constants; everything else has 8 bits."""
    if tensor.dtype in PACKED_DTYPES:
        return f"weights of {tensor.dtype} are not 8-bit integers"
    if tensor.is_sparse:
        return "weights are stored sparsely"
    if tensor.dtype in EIGHT_BIT or (tensor.is_constant and tensor.dtype == "INT32"):
        return ""
    return f"it computes in {tensor.dtype}, not in 8-bit integers"


def _rank_reason(tensor: Tensor) -> str:
    if tensor.is_constant or math.prod(tensor.shape[:-INNER]) == 1:
        return ""
    return "a tensor has more than one element outside the three innermost dimensions"


def _tensors(indices: tuple[int, ...], graph: Graph) -> list[Tensor]:
    return [graph.tensors[index] for index in indices if index != OPTIONAL]


def _values(tensor: Tensor) -> NDArray[np.int64] | None:
    """A constant of integers; None for what is computed."""
    return None if tensor.data is None else np.frombuffer(tensor.data, tensor.dtype.lower()).astype(np.int64)


def _batch_axes(axes: NDArray[np.int64], rank: int) -> bool:
    """One of the axes lies outside the three innermost dimensions."""
    return bool(np.any(axes % max(rank, 1) < rank - INNER))


def no_fused_activation(op: Op, graph: Graph) -> str:
    """Pooling and concatenation."""
    return f"{op.name} with an activation inside" if op.options.get("fusedActivationFunction", 0) else ""


def only_zero_constants(op: Op, graph: Graph) -> str:
    """A constant may only pad with zeros, beside one computed input."""
    inputs = _tensors(op.inputs, graph)
    constants = [tensor for tensor in inputs if tensor.is_constant]
    zeros = all(bool(np.all(_values(tensor) == _zero_point(tensor))) for tensor in constants)
    if not constants or (len(inputs) == 2 and zeros):
        return ""
    return "CONCATENATION with a constant that is not all zeros"


def _zero_point(tensor: Tensor) -> int:
    quantization = tensor.quantization
    return 0 if quantization is None or not len(quantization.zero_points) else int(quantization.zero_points[0])


def constant_weights(op: Op, graph: Graph) -> str:
    """Weights and bias; what TRANSPOSE_CONV has first is a shape."""
    computed = 2 if op.name == "TRANSPOSE_CONV" else 0
    for position, index in enumerate(op.inputs):
        if position != computed and index != OPTIONAL and not graph.tensors[index].is_constant:
            return f"{op.name} with weights that are computed"
    return ""


def same_dilation(op: Op, graph: Graph) -> str:
    """Convolutions."""
    same = op.options.get("dilationHFactor", 1) == op.options.get("dilationWFactor", 1)
    return "" if same else f"{op.name} with different dilation in height and width"


def default_weights_format(op: Op, graph: Graph) -> str:
    """FULLY_CONNECTED."""
    return "FULLY_CONNECTED with shuffled weights" if op.options.get("weightsFormat", 0) else ""


def one_scale(op: Op, graph: Graph) -> str:
    """FULLY_CONNECTED: scales a channel came with version 12 of it, in runtime 2.17 (LiteRT, runtime_version.cc).

    Files may say a lower version and have them all the same; what the older compiler does then is not documented.
    """
    quantization = graph.tensors[op.inputs[1]].quantization
    if quantization is None or quantization.granularity == "per-tensor":
        return ""
    return "FULLY_CONNECTED with a scale for each channel, years newer than the compiler"


def one_row(op: Op, graph: Graph) -> str:
    """FULLY_CONNECTED and SOFTMAX (also google-coral/edgetpu issues 25 and 27)."""
    rows = math.prod(graph.tensors[op.outputs[0]].shape[:-1])
    return "" if rows == 1 else f"{op.name} with more than one row"


def few_elements(op: Op, graph: Graph) -> str:
    """SOFTMAX."""
    many = math.prod(graph.tensors[op.inputs[0]].shape) > MOST_SOFTMAX_ELEMENTS
    return f"SOFTMAX of more than {MOST_SOFTMAX_ELEMENTS} elements" if many else ""


def not_over_batch(op: Op, graph: Graph) -> str:
    """MEAN, SUM, REDUCE_MAX and REDUCE_MIN."""
    axes = _values(graph.tensors[op.inputs[1]])
    if axes is None:
        return f"{op.name} over computed axes"
    return f"{op.name} over the batch" if _batch_axes(axes, len(graph.tensors[op.inputs[0]].shape)) else ""


def channels_by_four(op: Op, graph: Graph) -> str:
    """MEAN over channels."""
    shape, axes = graph.tensors[op.inputs[0]].shape, _values(graph.tensors[op.inputs[1]])
    over_channels = axes is not None and bool(np.any(axes % max(len(shape), 1) == len(shape) - 1))
    return "MEAN over channels that are no multiple of 4" if over_channels and shape[-1] % 4 else ""


def not_split_in_batch(op: Op, graph: Graph) -> str:
    """SPLIT."""
    axis = _values(graph.tensors[op.inputs[0]])
    if axis is None:
        return "SPLIT along a computed axis"
    return "SPLIT of the batch" if _batch_axes(axis, len(graph.tensors[op.inputs[1]].shape)) else ""


def not_packed_in_batch(op: Op, graph: Graph) -> str:
    """PACK."""
    axis = np.array([op.options.get("axis", 0)], np.int64)
    return "PACK along the batch" if _batch_axes(axis, len(graph.tensors[op.outputs[0]].shape)) else ""


def not_padded_in_batch(op: Op, graph: Graph) -> str:
    """PAD."""
    widths = _values(graph.tensors[op.inputs[1]])
    if widths is None:
        return "PAD by computed widths"
    return "PAD of the batch" if np.any(widths.reshape(-1, 2)[:-INNER]) else ""


def plain_strides(op: Op, graph: Graph) -> str:
    """STRIDED_SLICE."""
    strides = _values(graph.tensors[op.inputs[3]])
    if strides is None or np.any(strides != 1):
        return "STRIDED_SLICE with strides other than 1"
    masked = op.options.get("ellipsisMask", 0) or op.options.get("newAxisMask", 0)
    return "STRIDED_SLICE with an ellipsis or a new axis" if masked else ""


def one_slope_a_channel(op: Op, graph: Graph) -> str:
    """PRELU."""
    slopes = graph.tensors[op.inputs[1]].shape
    return "PRELU with slopes that differ within a channel" if math.prod(slopes[:-1]) > 1 else ""


LIMITS: dict[str, Callable[[Op, Graph], str]] = {
    check.__name__: check
    for check in (
        no_fused_activation, only_zero_constants, constant_weights, same_dilation, default_weights_format, one_scale,
        one_row, few_elements, not_over_batch, channels_by_four, not_split_in_batch, not_packed_in_batch,
        not_padded_in_batch, plain_strides, one_slope_a_channel,
    )
}  # fmt: skip
"""Every check by the name that the table uses: an operator and its graph -> why it stays on the CPU, or ""."""
