"""A few images that the written file names wrong and the model named right, small enough for a page."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgeflex_tflite.artifacts import Confusion, Flip

if TYPE_CHECKING:
    from torch import Tensor

    from edgeflex_tflite.data.sets import EvaluationSet

MOST_CLASSES = 4
MOST_A_CLASS = 4
LARGEST_SIDE = 96
"""In pixels."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the model saw of an image, as the content of a PNG file."""

    flip: Flip
    png: bytes


def pictures(evaluation: EvaluationSet, confusion: Confusion) -> tuple[Picture, ...]:
    """Of the classes that lost most, the worst first."""
    flips = chosen(confusion)
    if not flips:
        return ()
    places = [flip.position for flip in flips]
    few = dataclasses.replace(
        evaluation, indices=evaluation.indices[places], hashes=tuple(evaluation.hashes[place] for place in places)
    )
    images = [pixels for batch, _ in few for pixels in batch]
    return tuple(Picture(flip, _png(pixels)) for flip, pixels in zip(flips, images, strict=True))


def chosen(confusion: Confusion) -> Sequence[Flip]:
    """The first flips of each of the first classes."""
    classes = list(dict.fromkeys(flip.label for flip in confusion.flips))[:MOST_CLASSES]
    return [
        flip for label in classes for flip in [flip for flip in confusion.flips if flip.label == label][:MOST_A_CLASS]
    ]


def _png(pixels: Tensor) -> bytes:
    """Of pixels `uint8 [3, H, W]`."""
    image = Image.fromarray(np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0)))
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()
