"""What XNNPACK asks of dense layers, convolutions and pooling; see `xnnpack_conditions.py`."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from edgeflex_tflite.analysis.xnnpack_site import Site
from edgeflex_tflite.analysis.xnnpack_tensors import legacy_parameters
from edgeflex_tflite.graph import Tensor

_SAME, _VALID = 0, 1
_BELOW_A_BYTE = ("INT4", "INT2")


def pooling_window(site: Site) -> str:
    """Windows touch or overlap."""
    options = site.op.options
    filters, strides = _pair(options, "filterHeight", "filterWidth"), _pair(options, "strideH", "strideW")
    if min(*filters, *strides) <= 0:
        return "its window or stride is not positive"
    if any(stride > size for size, stride in zip(filters, strides, strict=True)):
        return "its stride is larger than its window"
    return ""


def known_padding(site: Site) -> str:
    """SAME or VALID."""
    padding = site.op.options.get("padding", _SAME)
    return "" if padding in (_SAME, _VALID) else f"its padding (number {padding}) is neither SAME nor VALID"


def custom_pooling_window(site: Site) -> str:
    """MediaPipe's pooling: windows side by side."""
    options = _pool_options(site.op.custom_options)
    filters, strides = _pair(options, "filterHeight", "filterWidth"), _pair(options, "strideH", "strideW")
    if min(*filters, *strides) <= 0 or filters != strides:
        return "its windows do not lie side by side"
    if options["activation"] > 3:
        return "fuses an activation that is no clamp"
    return "" if options["padding"] in (1, 2) else "its padding is neither SAME nor VALID"


def known_groups(site: Site) -> str:
    """An image with fewer channels than the filter has none."""
    image, weights = site.inputs[0], site.inputs[1]
    return "" if image.shape[3] // max(weights.shape[3], 1) else "its image has fewer channels than its filter"


def depth_multiplier_divides(site: Site) -> str:
    """Each channel has as many filters."""
    multiplier = site.op.options.get("depthMultiplier", 1)
    return "" if site.inputs[1].shape[3] % multiplier == 0 else f"its channels are no multiple of {multiplier}"


def filter_and_bias_types(site: Site) -> str:
    """A float filter has a float bias, not a shorter one; constants in half precision count as such."""
    bias = site.input(2)
    if bias is None:
        return ""
    kinds = _read_type(site, site.inputs[1]), _read_type(site, bias)
    fits = kinds[0] not in ("FLOAT16", "FLOAT32") or kinds[0] == kinds[1] or kinds == ("FLOAT16", "FLOAT32")
    return "" if fits else f"its filter is {kinds[0]}, its bias {kinds[1]}"


def same_weight_types(site: Site, dynamic: Sequence[str]) -> str:
    """Weights of the input's type, or of the `dynamic` ones that may multiply floats."""
    image, weights, output = site.inputs[0], site.inputs[1], site.outputs[0]
    mixes = image.dtype != weights.dtype and not (image.dtype == "FLOAT32" and weights.dtype in dynamic)
    if image.dtype != output.dtype or mixes:
        return f"mixes {image.dtype}, {weights.dtype} weights and {output.dtype}"
    return ""


def not_the_sparse_version(site: Site) -> str:
    """Version 8 is the one for weights stored without zeros."""
    return "its version, 8, is that of sparse weights" if site.op.version == 8 else ""


def bias_for_every_channel(site: Site) -> str:
    """As many numbers as the weights have rows."""
    bias, rows = site.input(2), site.inputs[1].shape[0]
    return "" if bias is None or math.prod(bias.shape) == rows else f"its bias does not have {rows} numbers"


def dense_types(site: Site) -> str:
    """Weights of the input's type, or short integers under floats or INT8."""
    source, weights, output = site.inputs[0], site.inputs[1], site.outputs[0]
    short = weights.dtype in ("INT8", *_BELOW_A_BYTE) and source.dtype in ("FLOAT32", "FLOAT16", "INT8")
    if source.dtype == output.dtype and (source.dtype == weights.dtype or short):
        return ""
    return f"mixes {source.dtype}, {weights.dtype} weights and {output.dtype}"


def weights_zero_point(site: Site) -> str:
    """Under integers, weights are symmetric."""
    weights = site.inputs[1]
    if weights.dtype != "INT8" or site.inputs[0].dtype.startswith("FLOAT") or not legacy_parameters(weights)[1]:
        return ""
    return f"its weights have the zero point {legacy_parameters(weights)[1]}"


def packed_rows(site: Site) -> str:
    """A row of packed weights ends with a byte."""
    weights = site.inputs[1]
    step = {"INT4": 2, "INT2": 4}.get(weights.dtype, 1)
    return "" if weights.shape[1] % step == 0 else f"its rows are no multiple of {step} {weights.dtype} weights"


def blocks_divide_image(site: Site) -> str:
    """Height and width are multiples of the block."""
    block = site.op.options.get("blockSize", 0)
    image = site.inputs[0].shape
    fits = len(image) > 2 and image[1] % block == 0 and image[2] % block == 0
    return "" if fits else f"its image is no multiple of {block}"


def positive_size(site: Site) -> str:
    """The new height is positive; the width is not looked at."""
    return "" if all(site.integers(1)[:1] > 0) else "its new height is not positive"


def transposed_shapes(site: Site) -> str:
    """The output's shape, the filter and the image agree on channels."""
    wanted, weights, image = site.integers(0), site.inputs[1].shape, site.inputs[2].shape
    if len(wanted) != 4:
        return "its output shape does not have 4 sizes"
    agree = weights[0] == wanted[3] and weights[3] == image[3]
    return "" if agree else "its channels are not those of its filter"


def transposed_padding(site: Site) -> str:
    """Strides do not jump over the filter, and the sizes belong together."""
    strides = _pair(site.op.options, "strideH", "strideW")
    output = (int(site.integers(0)[1]), int(site.integers(0)[2]))
    return _transposed_fault(site.op.options.get("padding", _SAME), site.inputs[2], site.inputs[1], output, strides)


def custom_transposed_padding(site: Site) -> str:
    """As for TRANSPOSE_CONV; the options are a C structure."""
    options = _pool_options(site.op.custom_options)
    strides = _pair(options, "strideH", "strideW")
    _, height, width, _ = site.outputs[0].shape
    return _transposed_fault(options["padding"] - 1, site.inputs[0], site.inputs[1], (height, width), strides)


def _transposed_fault(
    padding: int, image: Tensor, weights: Tensor, output: tuple[int, int], strides: tuple[int, int]
) -> str:
    kernel = weights.shape[1:3]
    if min(strides) <= 0:
        return "its stride is not positive"
    if padding == _VALID:
        return (
            "its output is smaller than its filter" if any(k > o for k, o in zip(kernel, output, strict=True)) else ""
        )
    if padding != _SAME:
        return "its padding is neither SAME nor VALID"
    if any(-(-o // s) != i for o, s, i in zip(output, strides, image.shape[1:3], strict=True)):
        return "its image does not have the size that its output asks for"
    return "its stride is larger than its filter" if any(k < s for k, s in zip(kernel, strides, strict=True)) else ""


def _read_type(site: Site, tensor: Tensor) -> str:
    return "FLOAT16" if tensor.index in site.halves else tensor.dtype


def _pair(options: Mapping[str, Any], height: str, width: str) -> tuple[int, int]:
    return int(options.get(height, 0)), int(options.get(width, 0))


def _pool_options(content: bytes) -> dict[str, int]:
    """The C structures of MediaPipe's ops: padding, stride width and height, filter width and height, activation."""
    names = ("padding", "strideW", "strideH", "filterWidth", "filterHeight", "activation")
    numbers = struct.unpack("<6i", content[:24].ljust(24, b"\0"))
    return dict(zip(names, numbers, strict=True))
