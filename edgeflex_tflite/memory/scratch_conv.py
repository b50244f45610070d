"""Scratch tensors of convolutions: LiteRT's `tflite/kernels/conv.cc` and its relatives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from edgeflex_tflite.graph import Tensor
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.scratch import Setting, Temporary, is_hybrid, scratch


def conv_2d(s: Setting) -> list[Temporary]:
    """Copied-out patches, or with more threads transposed float weights; and on-the-fly quantization."""
    data, weights, output, options = s.input(0), s.input(1), s.output(), s.op.options
    hybrid = is_hybrid(data, weights, ("UINT8", "INT8", "INT4"))
    undilated = options.get("dilationWFactor", 1) == 1 == options.get("dilationHFactor", 1)
    fixed = s.home(1) not in (Home.ARENA, Home.DYNAMIC)
    transposed = data.dtype == "FLOAT32" and not hybrid and undilated and fixed and s.num_threads != 1
    batch, height, width, channels = output.shape
    patch = math.prod(weights.shape[1:])
    temporaries = []
    if not transposed and _needs_im2col(weights, options, undilated):
        dtype = data.dtype if not hybrid else "UINT8" if weights.dtype == "UINT8" else "INT8"
        temporaries.append(scratch("im2col", dtype, batch, height, width, patch))
    if transposed:
        temporaries.append(scratch("transposed weights", "FLOAT32", patch, channels, home=Home.PERSISTENT))
    return temporaries + (_conv_2d_hybrid(data, weights, output) if hybrid else [])


def _needs_im2col(weights: Tensor, options: Mapping[str, Any], undilated: bool) -> bool:
    """Every convolution but a pointwise one with stride 1 copies its patches out."""
    pointwise = weights.shape[1] == 1 and weights.shape[2] == 1
    return not (pointwise and undilated and options.get("strideW") == 1 == options.get("strideH"))


def _conv_2d_hybrid(data: Tensor, weights: Tensor, output: Tensor) -> list[Temporary]:
    batch, height, width, channels = output.shape
    groups = data.shape[3] // weights.shape[3]
    rows = math.prod(data.shape[:3]) * groups
    temporaries = [
        scratch("quantized input", "INT8", *data.shape),
        scratch("scaling factors", "FLOAT32", rows),
        scratch("accumulators", "INT32", channels, batch * height * width),
    ]
    if weights.quantization is not None and weights.quantization.scales_differ and weights.dtype != "UINT8":
        temporaries += [
            scratch("input offsets", "INT32", rows),
            scratch("row sums", "INT32", channels, home=Home.PERSISTENT),
        ]
    return temporaries


def depthwise_conv_2d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/depthwise_conv.cc`"""
    data = s.input(0)
    if not is_hybrid(data, s.input(1), ("INT8",)):
        return []
    return [
        scratch("quantized input", "INT8", *data.shape),
        scratch("scaling factors", "FLOAT32", data.shape[0]),
        scratch("input offsets", "INT32", data.shape[0]),
    ]


def transpose_conv(s: Setting) -> list[Temporary]:
    """`tflite/kernels/transpose_conv.cc`: the big scratch tensors are heap blocks, not arena."""
    weights, data = s.input(1), s.input(2)
    temporaries = [Temporary("col2im", 0, Home.DYNAMIC), Temporary("transposed weights", 0, Home.DYNAMIC)]
    if data.dtype in ("UINT8", "INT8", "INT16"):
        temporaries.append(Temporary("accumulators", 0, Home.DYNAMIC))
    if is_hybrid(data, weights, ("INT8",)):
        rows = math.prod(data.shape) // weights.shape[3]
        temporaries += [
            scratch("quantized input", "INT8", *data.shape),
            scratch("scaling factors", "FLOAT32", rows),
            scratch("input offsets", "INT32", rows),
        ]
    return temporaries


def conv_3d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/conv3d.cc`"""
    weights, options = s.input(1), s.op.options
    factors = ("strideD", "strideH", "strideW", "dilationDFactor", "dilationHFactor", "dilationWFactor")
    if all(options[f] == 1 for f in factors) and weights.shape[:3] == (1, 1, 1):
        return []
    return [scratch("im2col", s.input(0).dtype, *s.output().shape[:4], math.prod(weights.shape[:4]))]


def conv_3d_transpose(s: Setting) -> list[Temporary]:
    """`tflite/kernels/conv3d_transpose.cc`"""
    dilated = any(s.op.options[f"dilation{axis}Factor"] > 1 for axis in "DHW")
    return [] if dilated else [Temporary("col2im", 0, Home.DYNAMIC)]
