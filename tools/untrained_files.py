"""Files with weights that nothing was fitted to, which have the size and speed of others of their shape."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from edgeflex_tflite.artifacts import InputSpec, PrecisionPlan
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT


def write_untrained(
    model: EdgeViT,
    spec: InputSpec,
    plan: PrecisionPlan,
    path: Path,
    threads: int,
    inputs: Iterable[np.ndarray] = (),
    merged: int = 0,
) -> None:
    """Lower a model and round its weights to the nearest.

    Args:
        model: of the shape that is wanted.
        spec: what the file takes as its image.
        plan: a precision for every site.
        path: of the new file.
        threads: of the calibration.
        inputs: images as the file takes them, for static activations.
        merged: pairs of tokens that each block but the last merges.
    """
    float_path, unfinished = path.with_suffix(".float"), path.with_suffix(".unfinished")
    export_float(model, spec, float_path, merged=merged)
    quantize_file(float_path, unfinished, plan, inputs, threads)
    unfinished.replace(path)
    float_path.unlink()
