"""Scratch tensors of matrix products: LiteRT's `tflite/kernels/fully_connected.cc` and `batch_matmul.cc`."""

from __future__ import annotations

import math

from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.scratch import Setting, Temporary, is_hybrid, scratch

_INT4_BLOCK_ROWS, _INT4_BLOCK_COLUMNS, _INT4_INPUT_ROWS = 4, 32, 4
"""Blocks of the packed 4-bit kernel (`kernels/internal/optimized/fully_connected_4bit.h`) on x86 with SSSE3
and on 64-bit Arm."""


def fully_connected(s: Setting) -> list[Temporary]:
    """Float inputs with integer weights are quantized on the fly; otherwise there is no scratch."""
    data, weights = s.input(0), s.input(1)
    units, depth = weights.shape
    if not is_hybrid(data, weights, ("UINT8", "INT8", "INT4", "INT2")) or depth == 0:
        return []
    batch = math.prod(data.shape) // depth
    if weights.dtype == "INT4" and s.home(1) is Home.CONSTANT and batch and _fits_int4_blocks(units, depth):
        return _fully_connected_int4(batch, units, depth)
    temporaries = [
        scratch("quantized input", "INT8", *data.shape),
        scratch("scaling factors", "FLOAT32", batch),
        scratch("accumulators", "INT32", units, batch),
        scratch("input offsets", "INT32", batch),
        scratch("row sums", "INT32", units, home=Home.PERSISTENT),
    ]
    if weights.sparse_ledger_bytes is not None:
        temporaries.append(Temporary("sparse row ledger", weights.sparse_ledger_bytes, Home.PERSISTENT))
    return temporaries


def _fits_int4_blocks(units: int, depth: int) -> bool:
    return depth % 2 == 0 and units >= _INT4_BLOCK_ROWS and depth >= _INT4_BLOCK_COLUMNS


def _fully_connected_int4(batch: int, units: int, depth: int) -> list[Temporary]:
    """Scratch of the packed kernel: sizes rounded up to whole blocks."""
    width = next(w for w in (_INT4_INPUT_ROWS, 2, 1) if batch >= w)
    rows, columns = _round_up(batch, width), _round_up(depth, _INT4_BLOCK_COLUMNS)
    return [
        scratch("quantized input", "INT8", rows, columns),
        scratch("scaling factors", "FLOAT32", rows),
        scratch("accumulators", "INT32", rows, _round_up(units, _INT4_BLOCK_ROWS)),
        scratch("input offsets", "INT32", rows),
        Temporary("unused", 0, Home.NOWHERE),
    ]


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def batch_matmul(s: Setting) -> list[Temporary]:
    """Room for both transposed operands, used or not, and the tensors of on-the-fly quantization."""
    left, right = s.input(0), s.input(1)
    kept = Home.PERSISTENT if s.home(1) is Home.CONSTANT else Home.ARENA
    temporaries = [
        scratch("transposed left operand", left.dtype, *left.shape),
        scratch("transposed right operand", right.dtype, *right.shape, home=kept),
    ]
    if not is_hybrid(left, right, ("INT8",)):
        return temporaries
    rows = left.shape[-1 if s.op.options["adjX"] else -2]
    units = right.shape[-2 if s.op.options["adjY"] else -1]
    batches = math.prod(left.shape[:-2]) * rows
    return [
        *temporaries,
        scratch("quantized input", "INT8", *left.shape),
        scratch("scaling factors", "FLOAT32", batches),
        scratch("accumulators", "INT32", units, rows),
        scratch("input offsets", "INT32", batches),
        scratch("row sums", "INT32", math.prod(right.shape[:-2]) * units, home=Home.PERSISTENT),
    ]
