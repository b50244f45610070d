"""What litert-torch and ai-edge-quantizer make of a timm model by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.quiet import quiet


def stock_float(model: nn.Module, spec: InputSpec, path: Path) -> None:
    """The FP32 file."""
    with quiet():
        import litert_torch

        litert_torch.convert(model.eval(), (torch.zeros(spec.shape),)).export(str(path))


def stock_quantized(source: Path, recipe: str, inputs: Iterable[np.ndarray], path: Path) -> None:
    """A file by one of ai-edge-quantizer's own recipes.

    Args:
        source: the FP32 file.
        recipe: name of a function of `ai_edge_quantizer.recipe`.
        inputs: calibration images as the file takes them; read where the recipe needs them.
        path: of the new file.
    """
    with quiet():
        from ai_edge_quantizer import quantizer
        from ai_edge_quantizer import recipe as stock

        work = quantizer.Quantizer(str(source), getattr(stock, recipe)())
        found = None
        if work.need_calibration:
            found = work.calibrate({"serving_default": [{"args_0": image} for image in inputs]})
        work.quantize(found).export_model(str(path))
