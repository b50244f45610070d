"""Time, memory and disk that a run will need, predicted before it starts.

Estimates: the factors come from runs on Vision Transformers of 1 to 632 million parameters.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from pathlib import Path

import psutil
import torch
from torch import nn

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.lower.merge import most_merged
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.search import TRIES
from edgeflex_tflite.side_by_side import each

FLOAT_BYTES = 4
LIBRARIES_BYTES = 1_300_000_000
"""Resident memory of torch, timm and the converter before any model."""
MODEL_COPIES = 2
"""FP32 copies of the weights at any time: the model, which may be the mapped pages of its file, and its edge form."""
WRITTEN_COPIES = 5
"""FP32 copies of the weights that are left: the smaller model, and the converter's own."""
TOKEN_COPIES = 5
MOMENT_COPIES = 10
"""Square float64 matrices of an MLP's width while it is cut."""
DISK_COPIES = 4
SIGNATURE_COPIES = 2
"""Of each further signature, in FP32 and quantized, until all are one file."""
TIMED_SECS = 1.0
"""Of forward passes, before the time of a run is said."""
TIMED_TOKENS = 256
"""In one batch of them, if an image has fewer."""
BENCHMARK_SECONDS = 10.0
"""Of one file on this machine."""
CONVERSION_SECONDS = 25.0
CONVERSION_SECONDS_PER_GIGABYTE = 60.0
PROFILE_PASSES, PRUNE_PASSES, ROUND_PASSES, EVALUATE_PASSES = 1.4, 5.0, 3.0, 4.0
"""Forward passes of the images that take as long as a stage's own passes, moments and cross moments."""
PROBES_PER_BLOCK = 30
"""Single changes of a block that a measured allocation tries, each through what comes behind the block."""
AWQ_PASSES = 20
PRUNE_WORK, ROUND_WORK = 9, 20
"""Floating-point operations of the linear algebra, over width^3 of an MLP that is cut and over `out in^2` of a linear
that is rounded, at the speed of a forward pass."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a run is predicted to need."""

    ram_bytes: int
    disk_bytes: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"about {self.seconds / 60:.1f} minutes, {self.ram_bytes / 1e9:.1f} GB of memory and "
            f"{self.disk_bytes / 1e9:.1f} GB of disk"
        )


def weights_bytes(model: nn.Module) -> int:
    """Of all parameters in FP32."""
    return sum(parameter.numel() for parameter in model.parameters()) * FLOAT_BYTES


def predict_needs(model: EdgeViT, recipe: Recipe, evaluation_images: int) -> Needs:
    """Predict from sizes, and from the time of one image through the model on this machine."""
    weights = weights_bytes(model)
    tokens = recipe.views * (1 + recipe.refit) * recipe.calibration_samples * model.num_tokens
    widest = max(block.mlp.width for block in model.blocks)
    moments = MOMENT_COPIES * 8 * widest**2 if recipe.prunes else 0
    written = weights - _cut_bytes(model, recipe)
    files = 1 + TRIES if recipe.spends_accuracy else 1
    copies = DISK_COPIES + SIGNATURE_COPIES * (len(recipe.batches) - 1)
    conversion, image = _conversion_seconds(written), _seconds_per_image(model)
    stages = _stage_seconds(model, recipe, evaluation_images, image) + len(recipe.batches) * conversion
    if recipe.measures_merging:
        one_file = BENCHMARK_SECONDS if recipe.latency_target_ms is not None else evaluation_images * image
        stages += (2 + math.log2(1 + most_merged(model))) * (conversion + one_file)
    return Needs(
        ram_bytes=LIBRARIES_BYTES
        + MODEL_COPIES * weights
        + TOKEN_COPIES * tokens * model.head.in_features * FLOAT_BYTES
        + max(moments, WRITTEN_COPIES * written),
        disk_bytes=copies * (1 + recipe.spends_accuracy) * weights,
        seconds=files * stages,
    )


def _cut_bytes(model: EdgeViT, recipe: Recipe) -> int:
    """FP32 bytes that a ratio takes off; what a budget will take off is not known yet."""
    neurons = sum(weights_bytes(block.mlp) for block in model.blocks)
    return round((recipe.prune_ratio or 0) * neurons)


def _conversion_seconds(written_bytes: float) -> float:
    return CONVERSION_SECONDS + CONVERSION_SECONDS_PER_GIGABYTE * written_bytes / 1e9


def _stage_seconds(model: EdgeViT, recipe: Recipe, evaluation_images: int, image: float) -> float:
    """All stages but the conversion, from the seconds that one image takes and the sizes of the linears."""
    linears = [linear for block in model.blocks for linear in block.modules() if isinstance(linear, nn.Linear)]
    operation = image / (2 * model.num_tokens * sum(linear.weight.numel() for linear in linears))
    calibration = recipe.calibration_samples
    images = PROFILE_PASSES * calibration + EVALUATE_PASSES * evaluation_images
    work = 0.0
    if recipe.prunes:
        images += PRUNE_PASSES * recipe.views * calibration
        work += PRUNE_WORK * sum(block.mlp.width**3 for block in model.blocks)
        if recipe.allocation == "measured":
            images += PROBES_PER_BLOCK * len(model.blocks) / 2 * recipe.probe_samples
    if recipe.precision not in ("fp32", "fp16"):
        images += ROUND_PASSES * calibration
        work += ROUND_WORK * sum(linear.out_features * linear.in_features**2 for linear in linears)
        if recipe.awq:
            images += AWQ_PASSES * recipe.awq_tokens / model.num_tokens
    return images * image + work * operation


def check_model_fits(model: nn.Module) -> None:
    """Raises UserError where the model's own copies alone are too much for this machine; cheap, for the very start."""
    _check_ram(LIBRARIES_BYTES + (MODEL_COPIES + 1) * weights_bytes(model))


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
    """The least of what it takes within a second: a machine that others use is slow for moments.

    Images go through the model as they do in the stages: several batches at once, small images several in a batch.
    """
    batch = torch.zeros(max(1, TIMED_TOKENS // model.num_tokens), 3, *model.img_size)
    batches = [batch] * torch.get_num_threads()

    def pass_seconds() -> float:
        start = time.monotonic()
        for _ in each(model, batches):
            pass
        return time.monotonic() - start

    pass_seconds()
    begin = time.monotonic()
    times = [pass_seconds()]
    while time.monotonic() - begin < TIMED_SECS:
        times.append(pass_seconds())
    return min(times) / (len(batch) * len(batches))
