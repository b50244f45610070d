"""The two sets of images that the data stage makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.data.content import content_hash, data_fingerprint
from edgeflex_tflite.data.decoding import decode
from edgeflex_tflite.data.preprocess import Preprocessing
from edgeflex_tflite.data.source import Source
from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Images that statistics are taken from, in memory and no two alike.

    Attributes:
        source: name of the data set that they are from.
        indices: int64 `[n]`, their numbers in it.
        hashes: their contents.
        pixels: uint8 `[n, 3, H, W]`.
        labels: int64 `[n]`.
    """

    source: str
    indices: NDArray[np.int64]
    hashes: tuple[str, ...]
    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def fingerprint(self) -> str:
        """sha256 over contents and labels."""
        return data_fingerprint(self.hashes, self.labels.tolist())


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Images that accuracy is measured on, decoded batch by batch: the same batches each time it is iterated.

    Attributes:
        source: the data set that they are from.
        preprocessing: what makes them a model's input.
        indices: int64 `[n]`, their numbers in it.
        hashes: their contents.
        excluded: contents of the calibration images, none of which is here.
        left_out: images of the source that are not here because calibration has them. For a set that was drawn, those
            that the draw met.
        batch_size: images a batch; the last one may have fewer.
        workers: processes that decode; 0 decodes in this one.
    """

    source: Source
    preprocessing: Preprocessing
    indices: NDArray[np.int64]
    hashes: tuple[str, ...]
    excluded: frozenset[str]
    left_out: int
    batch_size: int = 32
    workers: int = 0

    def __len__(self) -> int:
        """Number of images."""
        return len(self.indices)

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 `[n]`."""
        return self.source.labels[self.indices]

    @property
    def fingerprint(self) -> str:
        """sha256 over contents and labels."""
        return data_fingerprint(self.hashes, self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of pixels uint8 `[B, 3, H, W]` and labels int64 `[B]`.

        Raises UserError where an image is no longer the one that was drawn.
        """
        start = 0
        for pixels, labels in decode(self.source, self.preprocessing, self.indices, self.batch_size, self.workers):
            hashes = [content_hash(image) for image in pixels]
            if not self.excluded.isdisjoint(hashes):
                raise AssertionError(f"{self.source.spec!r}: an evaluation image is a calibration image")
            if tuple(hashes) != self.hashes[start : start + len(hashes)]:
                raise UserError(f"{self.source.spec!r} changed while it was in use: leave it alone and run again.")
            start += len(hashes)
            yield pixels, labels


@dataclass(frozen=True)
class Data:
    """Images to calibrate on and images to evaluate on; none is in both."""

    calibration: CalibrationSet
    evaluation: EvaluationSet
