"""Bytes of the constants that a model's tensors use."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgeflex_tflite.parse import load_graphs


def weight_bytes_by_dtype(model: bytes | str | Path) -> dict[str, int]:
    """Bytes of constant buffers for each tensor type, a buffer counted once however many tensors use it.

    Args:
        model: A .tflite file, or its content.

    Raises:
        UserError: There is no such file, or it is not a .tflite flatbuffer.
    """
    constants = {t.buffer: (t.dtype, len(t.data)) for g in load_graphs(model) for t in g.tensors if t.data is not None}
    sizes: Counter[str] = Counter()
    for dtype, size in constants.values():
        sizes[dtype] += size
    return dict(sizes)


def weights_bytes(model: bytes | str | Path) -> int:
    """Bytes of all constant buffers that tensors use, each counted once.

    Args:
        model: A .tflite file, or its content.

    Raises:
        UserError: There is no such file, or it is not a .tflite flatbuffer.
    """
    return sum(weight_bytes_by_dtype(model).values())
