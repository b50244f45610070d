"""The widths of large models pass the whole pipeline; two blocks of them, random weights, the digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from edgeflex_tflite import Recipe, compress, make_data, open_source
from edgeflex_tflite.data import Preprocessing

pytestmark = pytest.mark.slow
HALF_IN_INT4 = Recipe(
    precision="int4_dynamic",
    prune_ratio=0.5,
    prune_score="energy",
    allocation="uniform",
    rounding="nearest",
    calibration_samples=8,
    awq_tokens=32,
)


@pytest.mark.parametrize(
    ("name", "img_size"),
    [
        ("vit_large_patch16_224", 64),
        ("vit_giant_patch14_dinov2", 56),
        ("vit_so400m_patch14_siglip_224", 56),
    ],
)
def test_half_of_the_neurons_in_int4(name: str, img_size: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, depth=2, num_classes=10, img_size=img_size).eval()
    source = open_source("demo/test")
    data = make_data(source, None, Preprocessing.of_model(model), calibration_samples=8, eval_samples=8, seed=0)
    bundle = compress(model, data, HALF_IN_INT4, output_dir=tmp_path / "out", benchmark=False)
    metrics = bundle.metrics
    assert bundle.model.stat().st_size == metrics.memory.file_bytes < metrics.dense_memory.file_bytes / 8
    assert metrics.pruned is not None, "the MLPs were cut"
