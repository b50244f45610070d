"""Time, memory and disk that a run will need, predicted before it starts.

Estimates: the factors come from conversions of Vision Transformers of 5 to 632 million parameters, not from whole runs.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import psutil
import torch
from torch import nn

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.search import TRIES

FLOAT_BYTES = 4
LIBRARIES_BYTES = 1_300_000_000
"""Resident memory of torch, timm and the converter before any model."""
MODEL_COPIES = 6
"""Largest number of FP32 copies of the weights at one time: the model, its edge form, and the converter's own."""
TOKEN_COPIES = 4
DISK_COPIES = 3
CONVERSION_SECONDS = 15.0
CONVERSION_SECONDS_PER_GIGABYTE = 40.0
CALIBRATION_PASSES = 8
AWQ_PASSES = 60
EVALUATIONS = 4
"""Of the model as it came, pruned and rounded, and of the file."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a run is predicted to need."""

    ram_bytes: int
    disk_bytes: int
    seconds: float


def weights_bytes(model: nn.Module) -> int:
    """Of all parameters in FP32."""
    return sum(parameter.numel() for parameter in model.parameters()) * FLOAT_BYTES


def predict_needs(model: EdgeViT, recipe: Recipe, evaluation_images: int) -> Needs:
    """Predict from sizes, and from the time of one image through the model on this machine."""
    weights = weights_bytes(model)
    calibration = recipe.calibration_samples
    tokens = recipe.views * (1 + recipe.refit) * calibration * model.num_tokens * model.head.in_features * FLOAT_BYTES
    widest = max(block.mlp.width for block in model.blocks)
    moments = 4 * 8 * widest**2 if recipe.prunes else 0
    image = _seconds_per_image(model)
    passes = CALIBRATION_PASSES * calibration if recipe.prunes else calibration
    awq = AWQ_PASSES * recipe.awq_tokens / model.num_tokens if recipe.awq else 0
    images = passes + awq + EVALUATIONS * evaluation_images
    files = 1 + TRIES if recipe.spends_accuracy else 1
    seconds = files * (CONVERSION_SECONDS + CONVERSION_SECONDS_PER_GIGABYTE * weights / 1e9 + images * image)
    return Needs(
        ram_bytes=LIBRARIES_BYTES + MODEL_COPIES * weights + TOKEN_COPIES * tokens + moments,
        disk_bytes=DISK_COPIES * (1 + recipe.spends_accuracy) * weights,
        seconds=seconds,
    )


def check_model_fits(model: nn.Module) -> None:
    """Raises UserError where the model's own copies alone are too much for this machine; cheap, for the very start."""
    _check_ram(LIBRARIES_BYTES + MODEL_COPIES * weights_bytes(model))


def check_needs(needs: Needs, folder: Path) -> None:
    """Raises UserError where this machine has too little memory, or the folder's disk too little room."""
    _check_ram(needs.ram_bytes)
    room = shutil.disk_usage(_existing(folder)).free
    if needs.disk_bytes > room:
        raise UserError(
            f"the run needs about {needs.disk_bytes / 1e9:.1f} GB of disk at {folder} and {room / 1e9:.1f} GB are "
            "free: free some, or choose another --output_dir"
        )


def _check_ram(needed_bytes: int) -> None:
    ram = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    if needed_bytes > ram:
        raise UserError(
            f"the run needs about {needed_bytes / 1e9:.1f} GB of memory and {ram / 1e9:.1f} GB are free: "
            "use a smaller model, fewer --calibration_samples, or a larger machine"
        )


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


@torch.inference_mode()
def _seconds_per_image(model: EdgeViT) -> float:
    images = torch.zeros(2, 3, *model.img_size)
    model(images)
    start = time.monotonic()
    model(images)
    return (time.monotonic() - start) / len(images)
