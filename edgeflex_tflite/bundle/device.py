"""What a device has to know besides the model: how an image becomes its input, and one answer that is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.bundle.layout import GOLDEN_IMAGE, GOLDEN_INPUT, GOLDEN_OUTPUT, PREPROCESSING_FILE
from edgeflex_tflite.data import Preprocessing
from edgeflex_tflite.verify.runner import FileRunner


def write_preprocessing(folder: Path, spec: InputSpec, preprocessing: Preprocessing) -> None:
    """Write what a device has to do with an image before it gives it to the file."""
    values = preprocessing.to_json()
    resize = {key: values[key] for key in ("height", "width", "interpolation", "crop_pct", "crop_mode")}
    normalization = {"mean": list(spec.mean), "std": list(spec.std)}
    content = {
        "input_shape": list(spec.shape),
        "input_layout": spec.layout,
        "input_range": spec.range,
        "channel_order": "RGB",
        "resize": resize,
        "normalization": normalization,
        "normalization_inside_the_file": spec.range != "normalized",
    }
    files.write_object(folder / PREPROCESSING_FILE, content)


def write_golden(folder: Path, pixels: NDArray[np.uint8], runner: FileRunner) -> None:
    """Write one image `uint8 [3, H, W]`, the exact array that the file is given for it, and what the file answers."""
    for name in (GOLDEN_IMAGE, GOLDEN_INPUT, GOLDEN_OUTPUT):
        (folder / name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / GOLDEN_IMAGE)
    np.save(folder / GOLDEN_INPUT, runner.tensor(pixels))
    np.save(folder / GOLDEN_OUTPUT, runner.raw(pixels))
