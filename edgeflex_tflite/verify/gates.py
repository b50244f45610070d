"""Failures that raise no error by themselves: not-a-number, one class for everything, a saturated output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.errors import VerificationError

MOST_SATURATED_SHARE = 0.05
"""So many images may have two or more logits at an end of the integer range, where they cannot be told apart."""


def check_outputs(logits: NDArray[np.float32], expected: NDArray[np.float32], saturated: NDArray[np.int64]) -> None:
    """Gate a file's logits `[n, classes]` against the dense model's on the same images.

    Args:
        logits: of the file.
        expected: of the dense torch model.
        saturated: for each image, how many of the file's logits were at an end of the integer range.

    Raises:
        VerificationError: the file gives NaN or infinity, names one class for all images where the model does not, or
            saturates.
    """
    broken = ~np.isfinite(logits).all(axis=1)
    if broken.any():
        raise VerificationError(f"the file gives NaN or infinity on {broken.sum()} of {len(logits)} images")
    named, wanted = np.unique(logits.argmax(axis=1)), np.unique(expected.argmax(axis=1))
    if len(named) == 1 and len(wanted) > 1:
        raise VerificationError(
            f"the file names class {named[0]} for every image; the torch model names {len(wanted)} classes"
        )
    share = float((saturated >= 2).mean())
    if share > MOST_SATURATED_SHARE:
        raise VerificationError(
            f"the file's output saturates on {share:.0%} of the images: calibrate on more, or other, images"
        )
