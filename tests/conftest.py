"""What the tests share: small Vision Transformers with trained-like weights, and small data."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does; read when torch loads

import pytest
import timm
import torch
from torch import nn


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
