"""Scratch tensors of reductions (LiteRT's `tflite/kernels/reduce.cc`) and of some rarer ops."""

from __future__ import annotations

import math

from edgeflex_tflite.memory.homes import KNOWN, Home
from edgeflex_tflite.memory.scratch import Setting, Temporary, scratch

_ACCUMULATOR = {"FLOAT32": "FLOAT32", "INT32": "INT64", "INT64": "INT64", "BOOL": "BOOL"}


def reduce(s: Setting, accumulates: bool = False) -> list[Temporary]:
    """Index, resolved axes, accumulators (mean, sum and product only) and the shape of a known input."""
    data, axes = s.input(0), s.input(1)
    rank, known_axes = len(data.shape), s.home(1) in KNOWN
    accumulator = _ACCUMULATOR.get(data.dtype, "INT32")
    sized = Home.ARENA if known_axes else Home.DYNAMIC
    shape_home = Home.ARENA if s.home(0) in KNOWN else Home.DYNAMIC
    return [
        scratch("index", "INT32", rank),
        scratch("resolved axes", "INT32", math.prod(axes.shape), home=sized),
        scratch("accumulators", accumulator, *s.output().shape, home=sized if accumulates else Home.NOWHERE),
        scratch("input shape", "INT32", rank, home=shape_home),
    ]


def reduce_sum(s: Setting) -> list[Temporary]:
    """MEAN and SUM, which need room for wider sums."""
    return reduce(s, accumulates=True)


def reduce_prod(s: Setting) -> list[Temporary]:
    """A product that is known beforehand uses heap blocks instead of the arena."""
    temporaries = reduce(s, accumulates=True)
    if s.homes[s.op.outputs[0]] is not Home.FOLDED:
        return temporaries
    return [temporaries[0]] + [Temporary(t.role, t.bytes, Home.DYNAMIC) for t in temporaries[1:]]


def add_n(s: Setting) -> list[Temporary]:
    """`tflite/kernels/add_n.cc`: one partial sum for each thread, of at least two addends."""
    threads = min(max(1, len(s.op.inputs) // 2), s.num_threads)
    return [scratch("partial sums", s.input(0).dtype, threads, *s.input(0).shape)]


def detection(s: Setting) -> list[Temporary]:
    """`tflite/kernels/detection_postprocess.cc`"""
    boxes, scores = s.input(0), s.input(1)
    return [scratch("decoded boxes", "FLOAT32", boxes.shape[1], 4), scratch("scores", "FLOAT32", *scores.shape[1:])]


def rfft_2d(s: Setting) -> list[Temporary]:
    """`tflite/kernels/rfft2d.cc`"""
    if s.home(1) not in KNOWN:
        return [Temporary(role, 0, Home.DYNAMIC) for role in ("integers", "doubles", "rows", "data")]
    height, width = s.output().shape[-2], 2 * (s.output().shape[-1] - 1)
    length = max(height, width // 2)
    return [
        scratch("integers", "INT32", 2 + math.isqrt(length)),
        scratch("doubles", "INT64", length // 2 + width // 4),
        scratch("rows", "INT64", height),
        scratch("data", "INT64", height, width + 2),
    ]
