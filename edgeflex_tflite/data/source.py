"""What a data set is to every later stage: images that can be asked for by number, and their labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, eq=False)
class Source(ABC):
    """An indexable set of (image, label) pairs. Labels are known without decoding any image.

    Attributes:
        spec: what the user wrote to name it.
        name: short name for reports.
        labels: int64 `[N]`, the class of each image.
        class_names: the name of each class in the order of the labels, or None where they are not known.
    """

    spec: str
    name: str
    labels: NDArray[np.int64]
    class_names: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.labels)

    def label(self, index: int) -> int:
        """Class of image `index`."""
        return int(self.labels[index])

    @abstractmethod
    def image(self, index: int) -> Image.Image:
        """Image `index`, decoded to RGB. Raises UserError, which names the image, where it cannot be decoded."""
