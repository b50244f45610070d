"""Output folders of runs, made from a .tflite file in a moment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.bundle.device import write_golden, write_preprocessing
from edgeflex_tflite.bundle.layout import MANIFEST_FILE, MODEL_FILE, RECIPE_FILE
from edgeflex_tflite.bundle.manifest import hashes
from edgeflex_tflite.data import Preprocessing
from edgeflex_tflite.lower.metadata import LABELS_FILE, labels_text
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.verify.runner import FileRunner
from tests.tiny import Tiny

MEAN, STD = (0.48, 0.45, 0.4), (0.22, 0.23, 0.24)
SPEC = InputSpec("nhwc", "0-255", MEAN, STD, 8, 8)
COLOURS = ("red", "green", "blue")


def preprocessing(height: int = 8, width: int = 8, interpolation: str = "bicubic", **changes: object) -> Preprocessing:
    values = {"crop_pct": 1.0, "crop_mode": "center", "mean": MEAN, "std": STD} | changes
    return Preprocessing(height, width, interpolation, **values)  # type: ignore[arg-type]


def colour_model(dtype: str = "FLOAT32") -> bytes:
    """A classifier of 8 x 8 images by their mean colour."""
    tiny = Tiny()
    scales = () if dtype == "FLOAT32" else (1.0,)
    image = tiny.tensor(1, 8, 8, 3, dtype=dtype, scales=scales)
    logits = tiny.tensor(1, 3, dtype=dtype, scales=scales)
    tiny.op("MEAN", [image, tiny.constant([1, 2], "INT32")], [logits], table="ReducerOptions", keepDims=False)
    return tiny.build([image], [logits])


def write_output(
    folder: Path,
    model: bytes,
    pixels: NDArray[np.uint8],
    labels: tuple[str, ...],
    rule: Preprocessing,
    spec: InputSpec = SPEC,
    precision: str = "fp32",
) -> Path:
    """What a run leaves, as far as bundles need it; `pixels` are those of the golden image, `uint8 [3, H, W]`."""
    folder.mkdir()
    (folder / MODEL_FILE).write_bytes(model)
    (folder / LABELS_FILE).write_text(labels_text(labels))
    (folder / RECIPE_FILE).write_text(Recipe(precision=precision).to_json())
    write_preprocessing(folder, spec, rule)
    write_golden(folder, pixels, FileRunner(folder / MODEL_FILE, spec, threads=1))
    manifest = {"origin": {"model": "by_colour"}, "architecture": "Tiny", "files": hashes(folder)}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    return folder


def colour_output(folder: Path, dtype: str = "FLOAT32") -> Path:
    """The output folder of `colour_model`; its golden image is rather blue."""
    pixels = np.random.default_rng(0).integers(0, 50, (3, 8, 8), dtype=np.uint8)
    pixels[2] += 60
    return write_output(folder, colour_model(dtype), pixels, COLOURS, preprocessing())
