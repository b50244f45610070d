"""The lowered graph before quantization against the torch model that it came from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import Parity
from edgeflex_tflite.errors import VerificationError

BOUND = 1e-3
"""Largest difference of a logit, relative to the largest logit of the image."""


def difference(actual: NDArray[np.float32], expected: NDArray[np.float32], bound: float) -> Parity:
    """Largest difference of logits `[n, classes]`, and relative to the largest logit of its image."""
    apart = np.abs(actual.astype(np.float64) - expected)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    return Parity(len(actual), float(apart.max()), float((apart / np.maximum(scale, 1e-12)).max()), bound)


def check_parity(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    """Compare logits `[n, classes]` of the FP32 file with torch's.

    Raises:
        VerificationError: the relative difference exceeds `BOUND`.
    """
    parity = difference(actual, expected, BOUND)
    if not parity.max_relative_difference <= BOUND:
        raise VerificationError(
            f"the lowered FP32 graph differs from the torch model by {parity.max_relative_difference:.1e} of the "
            f"largest logit (bound {BOUND:.0e}, {parity.images} images)"
        )
    return parity
