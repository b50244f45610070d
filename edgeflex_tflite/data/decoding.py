"""Batches of preprocessed pixels, decoded as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.data.preprocess import Preprocessing
from edgeflex_tflite.data.source import Source
from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class _Images:
    """What a DataLoader asks for images by place. Errors come back as values: a worker would wrap them in its own."""

    source: Source
    preprocessing: Preprocessing
    indices: Sequence[int] | NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[Tensor, int] | UserError:
        index = int(self.indices[place])
        try:
            return self.preprocessing.resize(self.source.image(index)), self.source.label(index)
        except UserError as error:
            return error


def _collate(images: list[tuple[Tensor, int] | UserError]) -> tuple[Tensor, Tensor] | UserError:
    import torch

    pairs = []
    for image in images:
        if isinstance(image, UserError):
            return image
        pairs.append(image)
    return torch.stack([pixels for pixels, _ in pairs]), torch.tensor([label for _, label in pairs])


def decode(
    source: Source,
    preprocessing: Preprocessing,
    indices: Sequence[int] | NDArray[np.int64],
    batch_size: int,
    workers: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of pixels uint8 `[B, 3, H, W]` and labels int64 `[B]`, in the order of `indices`.

    Only the batches in flight are in memory: one, or two for each worker process. Raises UserError, which names the
    image, where one cannot be decoded.
    """
    import torch
    from torch.utils.data import DataLoader

    images: Any = _Images(source, preprocessing, indices)
    own = torch.Generator()  # a loader draws a number each time that it starts: not from the caller's generator
    loader: Any = DataLoader(images, batch_size, num_workers=workers, collate_fn=_collate, generator=own)
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch
