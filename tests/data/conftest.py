"""Small generated data for the tests of the data stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeflex_tflite.data.preprocess import Preprocessing

Writer = Callable[..., Path]


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    """`picture(number, width, height)`: noise that is another for each number."""

    def make(number: int, width: int = 9, height: int = 7) -> Image.Image:
        noise = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(noise)

    return make


@pytest.fixture
def class_folders(picture: Callable[..., Image.Image]) -> Writer:
    """`class_folders(root, {"cat": 2, "dog": 3})` writes that many PNG files into folders of these names."""

    def write(root: Path, classes: dict[str, int]) -> Path:
        number = 0
        for name, count in classes.items():
            (root / name).mkdir(parents=True)
            for place in range(count):
                picture(number).save(root / name / f"{place}.png")
                number += 1
        return root

    return write


@pytest.fixture
def plain() -> Preprocessing:
    """4x4 pixels, taken as they are."""
    return Preprocessing(4, 4, "nearest", 1.0, "center", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
