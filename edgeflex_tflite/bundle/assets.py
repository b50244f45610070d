"""What an app needs, from the output folder of a run: the Android bundle, and what the web bundle's page reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from edgeflex_tflite import files
from edgeflex_tflite.analysis.inventory import Inventory, Port, take_inventory
from edgeflex_tflite.bundle.description import (
    DESCRIPTION_FILE,
    FORMAT_VERSION,
    Description,
    Golden,
    ImageRule,
    ModelFile,
    RawArray,
    TensorFormat,
    Tolerance,
)
from edgeflex_tflite.bundle.layout import (
    GOLDEN_IMAGE,
    GOLDEN_INPUT,
    GOLDEN_OUTPUT,
    MANIFEST_FILE,
    MODEL_FILE,
    PREPROCESSING_FILE,
    RECIPE_FILE,
)
from edgeflex_tflite.bundle.manifest import hashes
from edgeflex_tflite.lower.metadata import LABELS_FILE
from edgeflex_tflite.parse import load_file

NEEDED = (MODEL_FILE, LABELS_FILE, PREPROCESSING_FILE, RECIPE_FILE, GOLDEN_IMAGE, GOLDEN_INPUT, GOLDEN_OUTPUT)
"""What the output folder of a run has to hold."""
FLOAT_TOLERANCE = Tolerance(relative_difference=1e-3, cosine=0.99999)
"""Sums in another order differ by about 1e-6; a wrong layout, range or kernel by far more than this."""
INTEGER_TOLERANCE = Tolerance(relative_difference=0.05, cosine=0.999)
"""Activations that lie between two integers go to either on another processor."""


def write_assets(output: Path, folder: Path) -> None:
    """Copy the assets from the output folder of a run into `folder`, and describe them in `edgeflex.json`."""
    (folder / "golden").mkdir(parents=True)
    for name in (MODEL_FILE, LABELS_FILE, GOLDEN_IMAGE):
        shutil.copyfile(output / name, folder / name)
    content = take_inventory(load_file(folder / MODEL_FILE))
    golden = Golden(
        image=GOLDEN_IMAGE,
        input=_write_raw(output / GOLDEN_INPUT, folder),
        output=_write_raw(output / GOLDEN_OUTPUT, folder),
        tolerance=INTEGER_TOLERANCE if _has_integers(content) else FLOAT_TOLERANCE,
    )
    description = Description(
        format_version=FORMAT_VERSION,
        model=_model(output, content),
        labels=LABELS_FILE,
        image=_image_rule(_object(output / PREPROCESSING_FILE)),
        golden=golden,
        files=hashes(folder),
    )
    files.write_json(folder / DESCRIPTION_FILE, description)


def model_input(output: Path) -> TensorFormat:
    """What the model in an output folder takes."""
    return _tensor_format(take_inventory(load_file(output / MODEL_FILE)).graphs[0].inputs[0])


def _model(output: Path, content: Inventory) -> ModelFile:
    manifest = _object(output / MANIFEST_FILE)
    return ModelFile(
        path=MODEL_FILE,
        name=manifest["origin"]["model"] or manifest["architecture"],
        precision=_object(output / RECIPE_FILE)["precision"],
        bytes=content.file_bytes,
        input=_tensor_format(content.graphs[0].inputs[0]),
        output=_tensor_format(content.graphs[0].outputs[0]),
        signatures={name: content.graphs[graph].inputs[0].shape[0] for name, graph in content.signatures.items()},
    )


def _tensor_format(port: Port) -> TensorFormat:
    return TensorFormat(port.name, port.dtype.lower(), port.shape, port.scale, port.zero_point)


def _image_rule(preprocessing: dict[str, Any]) -> ImageRule:
    return ImageRule(
        layout=preprocessing["input_layout"],
        channel_order=preprocessing["channel_order"],
        range=preprocessing["input_range"],
        mean=tuple(preprocessing["normalization"]["mean"]),
        std=tuple(preprocessing["normalization"]["std"]),
        **preprocessing["resize"],
    )


def _object(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _write_raw(array: Path, folder: Path) -> RawArray:
    """Write a .npy file's numbers as `golden/<its name>.bin`."""
    content = np.load(array)
    path = Path("golden", array.name).with_suffix(".bin")
    (folder / path).write_bytes(content.astype(content.dtype.newbyteorder("<")).tobytes())
    return RawArray(path.as_posix(), content.dtype.name, content.shape)


def _has_integers(content: Inventory) -> bool:
    """Whether weights of the file are quantized, and with them what is computed from activations."""
    return any(group.dtype in ("INT8", "INT4") for group in content.weights)
