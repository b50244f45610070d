"""What the README claims, on a trained Vision Transformer and real images.

Set EDGEFLEX_CIFAR10 to a folder with CIFAR-10 as `train.tar` and `test.tar` (tars of class folders), and
EDGEFLEX_MODELS to one that holds `vit_small_cifar10/model.safetensors` (timm's vit_small_patch14_dinov2 at 70 pixels,
10 classes).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from torch import nn

from edgeflex_tflite import Recipe, compress, load_model, make_data, open_source
from edgeflex_tflite.artifacts import Bundle
from edgeflex_tflite.data import Data, Preprocessing
from edgeflex_tflite.recipe import MEGABYTE

IMAGES, IMAGES_SEEN = 500, 128
pytestmark = [pytest.mark.slow, pytest.mark.realdata]


def path_of(variable: str, name: str) -> str:
    folder = os.environ.get(variable)
    if folder is None or not Path(folder, name).exists():
        pytest.skip(f"{variable} names no folder with {name}")
    return str(Path(folder, name))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    checkpoint = path_of("EDGEFLEX_MODELS", "vit_small_cifar10/model.safetensors")
    return load_model("vit_small_patch14_dinov2", checkpoint=checkpoint, img_size=70)


@pytest.fixture(scope="module")
def data(model: nn.Module) -> Data:
    train, test = (open_source(path_of("EDGEFLEX_CIFAR10", f"{part}.tar")) for part in ("train", "test"))
    preprocessing = Preprocessing.of_model(model)
    return make_data(test, train, preprocessing, calibration_samples=IMAGES_SEEN, eval_samples=IMAGES, seed=0)


@pytest.fixture(scope="module")
def unpruned(model: nn.Module, data: Data, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    recipe = Recipe(calibration_samples=IMAGES_SEEN, awq_tokens=256, probe_samples=16)
    return compress(model, data, recipe, output_dir=tmp_path_factory.mktemp("runs") / "mixed")


def test_mixed_precision_keeps_what_the_model_knows(unpruned: Bundle) -> None:
    metrics = unpruned.metrics
    assert metrics.drop_points <= 0.3 + 0.2, "0.3 on all images; on fewer, one image weighs more"
    assert metrics.memory.file_bytes <= 0.27 * metrics.dense_memory.file_bytes


def test_a_quarter_of_the_memory_holds_and_costs_little(
    model,
    data: Data,
    unpruned: Bundle,
    tmp_path: Path,
) -> None:
    """24 % of what the FP32 file needs, the figure of the EdgeFlex-Transformer paper."""
    budget = 0.24 * unpruned.metrics.dense_memory.total_bytes / MEGABYTE
    recipe = Recipe(
        calibration_samples=IMAGES_SEEN, awq_tokens=256, probe_samples=16, levers="mlp,int4", memory_budget_mb=budget
    )
    metrics = compress(model, data, recipe, output_dir=tmp_path / "quarter").metrics
    assert metrics.memory.total_bytes <= budget * MEGABYTE < unpruned.metrics.memory.total_bytes
    assert metrics.drop_points <= 1.0
