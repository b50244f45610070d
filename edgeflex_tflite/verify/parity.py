"""The lowered graph before quantization against the torch model that it came from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import Parity
from edgeflex_tflite.errors import VerificationError

BOUND = 1e-3
"""Largest difference of a logit, relative to the largest logit of the image."""


def check_parity(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> Parity:
    """Compare logits `[n, classes]` of the FP32 file with torch's.

    Raises:
        VerificationError: the relative difference exceeds `BOUND`.
    """
    difference = np.abs(actual.astype(np.float64) - expected)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    parity = Parity(len(actual), float(difference.max()), float((difference / np.maximum(scale, 1e-12)).max()), BOUND)
    if not parity.max_relative_difference <= BOUND:
        raise VerificationError(
            f"the lowered FP32 graph differs from the torch model by {parity.max_relative_difference:.1e} of the "
            f"largest logit (bound {BOUND:.0e}, {parity.images} images)"
        )
    return parity
