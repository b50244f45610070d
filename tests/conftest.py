"""What the tests share: small Vision Transformers with trained-like weights, and small data."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does; read when torch loads

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import settings
from torch import nn

settings.register_profile("the same cases every time", derandomize=True, deadline=None)
settings.load_profile("the same cases every time")

pytest_plugins = ["tests.browser"]


def random_vit(name: str = "vit_tiny_patch16_224", *, seed: int = 0, **options: object) -> nn.Module:
    """A small timm Vision Transformer whose every parameter is random, norms and biases too."""
    torch.manual_seed(seed)
    small: dict = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 10}
    model = timm.create_model(name, **(small | options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def vit() -> nn.Module:
    return random_vit()


@pytest.fixture(scope="session")
def float_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 x 32 images, 16 patches, two blocks of width 64."""
    import litert_torch
    import torch
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10).eval()
    path = tmp_path_factory.mktemp("vit") / "float.tflite"
    litert_torch.convert(model, (torch.zeros(1, 3, 32, 32),)).export(str(path))
    return path


FLOAT16 = [
    {
        "regex": ".*",
        "operation": "*",
        "algorithm_key": "float_casting",
        "op_config": {
            "weight_tensor_config": {"num_bits": 16, "dtype": "FLOAT"},
            "compute_precision": "FLOAT",
            "explicit_dequantize": True,
            "skip_checks": False,
            "min_weight_elements": 0,
        },
    }
]


@pytest.fixture(scope="session")
def quantized_vit(float_vit: Path) -> Callable[[str], Path]:
    """Makes the form that an ai-edge-quantizer recipe gives, or "float16", or the "float" one itself."""
    from ai_edge_quantizer import quantizer, recipe

    def make(form: str) -> Path:
        path = float_vit.with_name(f"{form}.tflite")
        if not path.exists():
            rules = FLOAT16 if form == "float16" else getattr(recipe, form)()
            work = quantizer.Quantizer(str(float_vit), rules)
            images = {"serving_default": [{"args_0": np.random.default_rng(0).random((1, 3, 32, 32), np.float32)}]}
            calibration = work.calibrate(images) if form.startswith("static") else None
            work.quantize(calibration).export_model(str(path))
        return path

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, those on real data before all, so that several processes end at about the same time."""
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("realdata", "slow")])
