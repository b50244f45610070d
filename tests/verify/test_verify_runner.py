"""Pixels reach a file in its own layout and units."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.verify.runner import file_input

SPEC = InputSpec("nhwc", "0-255", (0.5, 0.25, 0.0), (0.5, 0.25, 1.0), 2, 3)
PIXELS = np.arange(18, dtype=np.uint8).reshape(3, 2, 3) * 15


def test_pixels_as_they_are() -> None:
    x = file_input(PIXELS, SPEC)
    assert x.shape == SPEC.shape == (1, 2, 3, 3)
    np.testing.assert_array_equal(x[0, 1, 2], PIXELS[:, 1, 2])


def test_channels_first() -> None:
    spec = dataclasses.replace(SPEC, layout="nchw")
    x = file_input(PIXELS, spec)
    assert x.shape == spec.shape == (1, 3, 2, 3)
    np.testing.assert_array_equal(x[0], PIXELS)


@pytest.mark.parametrize("units", ["0-255", "0-1", "normalized"])
def test_scale_and_shift_normalize_what_the_file_is_given(units: str) -> None:
    spec = dataclasses.replace(SPEC, range=units)
    given = file_input(PIXELS, spec)[0]
    normalized = (PIXELS.transpose(1, 2, 0) / 255 - SPEC.mean) / SPEC.std
    np.testing.assert_allclose(given * spec.scale + spec.shift, normalized, atol=1e-6)
