"""Which tensors XNNPACK can read: types, quantization, ranks and sizes.

The kinds named here are the words of `cpu_kernels.json`; a kind is a type, or a type with a demand on its
quantization ("INT8 tensor" has one scale, "INT8 channel" one or several along a given axis).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgeflex_tflite.graph import Quantization, Tensor

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
_BLOCK_MULTIPLE = 32
_RANGES = {"INT8": (-128, 127), "UINT8": (0, 255)}


def kind_fault(tensor: Tensor, kinds: Sequence[str], axis: int | None = None) -> str:
    """Why a tensor is of none of the kinds; "" if it is of one.

    Args:
        tensor: The tensor.
        kinds: Words of the table's `types`.
        axis: Dimension along which scales may differ.
    """
    for kind in kinds:
        dtype, _, demand = kind.partition(" ")
        if dtype == tensor.dtype:
            return _DEMANDS[demand](tensor, axis)
    dtypes = list(dict.fromkeys(kind.partition(" ")[0] for kind in kinds))
    return f"is {tensor.dtype}, not {' or '.join(dtypes)}"


def shape_fault(tensor: Tensor, ranks: Sequence[int] | None, filled: bool) -> str:
    """Why a tensor's shape does not suit; "" if it does.

    Args:
        tensor: The tensor.
        ranks: Fewest and most dimensions.
        filled: No dimension may be 0.
    """
    rank = len(tensor.shape)
    if ranks is not None and not ranks[0] <= rank <= ranks[1]:
        wanted = f"{ranks[0]}" if ranks[0] == ranks[1] else f"{ranks[0]} to {ranks[1]}"
        return f"has {rank} dimensions, not {wanted}"
    return "is empty" if filled and any(size <= 0 for size in tensor.shape) else ""


def first_zero_point(tensor: Tensor) -> int:
    """Zero point of the whole tensor, 0 where there is none."""
    quantization = tensor.quantization
    return int(quantization.zero_points[0]) if quantization is not None and len(quantization.zero_points) else 0


def single_scale(tensor: Tensor) -> float | None:
    """The one scale of an 8-bit tensor, None for other types and for several scales."""
    quantization = tensor.quantization
    if tensor.dtype not in _RANGES or quantization is None or len(quantization.scales) != 1 or quantization.axis:
        return None
    return float(quantization.scales[0])


def legacy_parameters(tensor: Tensor) -> tuple[float, int]:
    """Scale and zero point as the runtime's old field has them: zeros unless there is just one of each."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scales) != 1:
        return 0.0, 0
    return float(quantization.scales[0]), first_zero_point(tensor)


def is_normal(number: float) -> bool:
    """Neither zero, nor too small for full precision, nor infinite, nor not a number."""
    return math.isfinite(number) and abs(number) >= _SMALLEST_NORMAL


def _anything(tensor: Tensor, axis: int | None) -> str:
    return ""


def _per_tensor(tensor: Tensor, axis: int | None) -> str:
    quantization = tensor.quantization
    if quantization is None or quantization.block_size:
        return f"is {tensor.dtype} without a scale"
    if len(quantization.scales) != 1 or quantization.axis:
        return "has several scales, not one"
    return ""


def _valid_per_tensor(tensor: Tensor, axis: int | None) -> str:
    return _per_tensor(tensor, axis) or _numbers_fault(tensor, _RANGES[tensor.dtype])


def _per_channel(tensor: Tensor, axis: int | None) -> str:
    quantization = tensor.quantization
    if quantization is None or quantization.block_size:
        return f"is {tensor.dtype} without a scale"
    if len(quantization.scales) == 1:
        return _numbers_fault(tensor, _RANGES[tensor.dtype])
    return _axis_fault(quantization, axis) or _numbers_fault(tensor, (0, 0))


def _weights(tensor: Tensor, axis: int | None) -> str:
    """FULLY_CONNECTED's: the only op for types below a byte and blockwise scales; no scale at all gets past, too."""
    quantization = tensor.quantization
    if quantization is None:
        return ""
    if quantization.block_size:
        fits = quantization.block_size % _BLOCK_MULTIPLE == 0
        return "" if fits else f"has blocks of {quantization.block_size} elements, not a multiple of {_BLOCK_MULTIPLE}"
    if len(quantization.scales) > 1 and (fault := _axis_fault(quantization, axis)):
        return fault
    if tensor.dtype == "INT2" and len(quantization.scales) != tensor.shape[quantization.axis]:
        return "is INT2 without a scale for every channel"
    return ""


def _bias(tensor: Tensor, axis: int | None) -> str:
    quantization = tensor.quantization
    if quantization is None or quantization.axis:
        return "is INT32 without scales along its first dimension"
    return _scales_fault(tensor) if len(quantization.scales) > 1 else _numbers_fault(tensor, (0, 0))


def _axis_fault(quantization: Quantization, axis: int | None) -> str:
    return "" if quantization.axis == axis else f"has scales along dimension {quantization.axis}, not {axis}"


def _numbers_fault(tensor: Tensor, zero_points: tuple[int, int]) -> str:
    low, high = zero_points
    if not low <= first_zero_point(tensor) <= high:
        return f"has the zero point {first_zero_point(tensor)}"
    return _scales_fault(tensor)


def _scales_fault(tensor: Tensor) -> str:
    quantization = tensor.quantization
    scales = [] if quantization is None else [float(scale) for scale in quantization.scales]
    usable = all(is_normal(scale) and scale > 0 for scale in scales)
    return "" if usable else "has a scale that is not a normal positive number"


_DEMANDS: dict[str, Callable[[Tensor, int | None], str]] = {
    "": _anything,
    "tensor": _per_tensor,
    "valid tensor": _valid_per_tensor,
    "channel": _per_channel,
    "weights": _weights,
    "bias": _bias,
}
