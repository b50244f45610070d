"""Weights that were rounded before they came to the quantizer, stored as the integers that they are.

ai-edge-quantizer's `dequantized_weight_recovery` does that, but takes the smallest distance of two weights of a row
for its step: wrong where no two of them are neighbours, as happens in narrow layers. Here a row's step is its largest
weight over the smallest integer under which all others are integers too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ai_edge_quantizer.algorithms.uniform_quantize import dequantized_weight_recovery as recovery
from numpy.typing import NDArray

from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.quantize.rounding import INT8_LEVELS, levels, storable

TOLERANCE = 1e-2
"""Largest distance of a weight from its integer, in steps: float32 keeps INT8 to 1e-5 of one."""
SAMPLES = 24
"""Weights of a row by which most integers are ruled out before all are looked at."""


def steps_of(weight: NDArray[np.floating[Any]], of_blocks: bool = False) -> NDArray[np.float64]:
    """The step of every row that lies on a symmetric grid: `[out, in]` -> `[out]`.

    Args:
        weight: a row for each output channel, of at most 8 bits, or for each block of one, of 4.
        of_blocks: only steps that a file can store for blocks; any of them that fits gives the same weights again.

    Raises:
        VerificationError: a row lies on no such grid.
    """
    rows = np.abs(weight.astype(np.float64))
    largest, most = rows.max(axis=1), levels(4) if of_blocks else INT8_LEVELS
    relative = rows / np.where(largest > 0, largest, 1)[:, None]
    possible = _all_integers(relative[:, :: max(1, rows.shape[1] // SAMPLES)], most)
    counts = np.zeros(len(rows), dtype=int)
    for count in range(1, most + 1):
        left = np.flatnonzero((counts == 0) & possible[:, count - 1])
        if of_blocks:
            left = left[_storable(largest[left] / count)]
        fits = _distance(relative[left] * count).max(axis=1, initial=0) < TOLERANCE
        counts[left[fits]] = count
    if not counts.all():
        raise VerificationError(f"{(counts == 0).sum()} output channels lie on no grid of integers")
    return np.where(largest > 0, largest, 1) / counts


def _storable(steps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether a file can store these as steps of blocks."""
    found = storable(torch.from_numpy(steps), block=1).numpy()
    same: NDArray[np.bool_] = (found == steps) | (steps == 0)
    return same


def _all_integers(relative: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    """Whether the given weights are integers when the largest is 1, 2, ..., `most`: `[out, some]` -> `[out, most]`."""
    counts = np.arange(1, most + 1)
    near: NDArray[np.bool_] = np.all(_distance(relative[:, None] * counts[:, None]) < TOLERANCE, axis=2)
    return near


def _distance(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(values - values.round())


@contextlib.contextmanager
def exact_recovery() -> Iterator[None]:
    """While it lasts, ai-edge-quantizer's recovery of rounded weights finds its steps by `steps_of`."""

    def found(
        dequant_vals: NDArray[np.floating[Any]], block_size: int = 0, **_: Any
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        if block_size:
            steps = steps_of(dequant_vals.reshape(-1, block_size), of_blocks=True).reshape(len(dequant_vals), -1)
        else:
            steps = steps_of(dequant_vals.reshape(len(dequant_vals), -1))
            steps = steps.reshape(-1, *[1] * (dequant_vals.ndim - 1))
        return np.zeros(steps.shape, dtype=np.int32), steps

    before = recovery.get_zp_scale_from_dequantized_symmetric_weights
    recovery.get_zp_scale_from_dequantized_symmetric_weights = found
    try:
        yield
    finally:
        recovery.get_zp_scale_from_dequantized_symmetric_weights = before
