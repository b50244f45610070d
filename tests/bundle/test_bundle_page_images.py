"""The page makes the same numbers of an image as the package does, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Page

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.data.preprocess import CROP_MODES, INTERPOLATIONS
from edgeflex_tflite.verify.runner import file_input
from tests.bundle.outputs import MEAN, STD, preprocessing

FIT = """async ([images, rule]) => {
    const {fit} = await import('./preprocess.js');
    return images.map(([pixels, width, height]) =>
        Array.from(fit({pixels: new Uint8ClampedArray(pixels), width, height}, rule).pixels));
}"""
TO_INPUT = """async ([pixels, width, height, rule]) => {
    const {toInput} = await import('./preprocess.js');
    return Array.from(toInput({pixels: new Uint8ClampedArray(pixels), width, height}, rule));
}"""
SIZES = ((64, 48), (31, 57), (9, 9), (24, 20), (90, 11))
"""Width and height: larger and smaller than 24 x 24 or 24 x 20, along one axis or both."""


def noise(width: int, height: int) -> NDArray[np.uint8]:
    """Pixels `uint8 [H, W, 3]` of every value, with hard edges, at which filters overshoot."""
    return np.random.default_rng(width).choice(np.arange(256, dtype=np.uint8), (height, width, 3))


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_an_image_is_resized_and_cropped_as_in_training(ready_page: Page, interpolation: str, crop_mode: str) -> None:
    for height, width, crop_pct in ((24, 24, 1.0), (24, 24, 0.875), (20, 24, 0.9)):
        rule = preprocessing(height, width, interpolation, crop_mode=crop_mode, crop_pct=crop_pct)
        images = [noise(*size) for size in SIZES]
        given = [[pixels.ravel().tolist(), *size] for pixels, size in zip(images, SIZES, strict=True)]
        for pixels, size, found in zip(images, SIZES, ready_page.evaluate(FIT, [given, rule.to_json()]), strict=True):
            expected = rule.resize(Image.fromarray(pixels)).numpy().transpose(1, 2, 0)
            np.testing.assert_array_equal(np.reshape(found, expected.shape), expected, f"{size} {rule}")


@pytest.mark.parametrize("value_range", ["0-255", "0-1", "normalized"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_pixels_become_the_input_that_the_file_takes(ready_page: Page, layout: str, value_range: str) -> None:
    pixels = noise(24, 20)
    spec = InputSpec(layout, value_range, MEAN, STD, 20, 24)
    rule = {"layout": layout, "range": value_range, "mean": MEAN, "std": STD}
    found = ready_page.evaluate(TO_INPUT, [pixels.ravel().tolist(), 24, 20, rule])
    expected = file_input(pixels.transpose(2, 0, 1), spec)
    np.testing.assert_array_equal(np.array(found, np.float32), expected.ravel())
