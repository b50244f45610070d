"""Models as safetensors files, written under a temporary name and renamed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from edgeflex_tflite.lower.predict import with_widths
from edgeflex_tflite.models.edge import EdgeViT


def write_model(path: Path, model: EdgeViT) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, unfinished)
    unfinished.replace(path)


def read_model(path: Path, like: EdgeViT) -> EdgeViT:
    """A model that `write_model` wrote; `like` is the dense one, the file may have narrower MLPs."""
    weights = load_file(path)
    widths = [weights[f"blocks.{index}.mlp.fc2.weight"].shape[1] for index in range(len(like.blocks))]
    model = copy.deepcopy(with_widths(like, widths))
    model.load_state_dict(weights, strict=True)
    return model.eval().requires_grad_(False)


def sha256_of_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Over names, shapes and float32 values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)}\n".encode())
        digest.update(state[name].detach().float().contiguous().numpy().data)
    return digest.hexdigest()
