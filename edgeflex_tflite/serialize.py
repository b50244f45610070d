"""Models as safetensors files, written under a temporary name and renamed."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.lower.predict import with_widths
from edgeflex_tflite.models.edge import EdgeViT

SHAPES = "block_shapes"
"""Key of the file's metadata: the tensors' sizes alone do not tell the number of heads."""


def write_model(path: Path, model: EdgeViT) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    shapes = [dataclasses.asdict(block.shape) for block in model.blocks]
    save_file(tensors, unfinished, {SHAPES: json.dumps(shapes)})
    unfinished.replace(path)


def read_model(path: Path, like: EdgeViT) -> EdgeViT:
    """A model that `write_model` wrote; `like` is the dense one, the file may have smaller blocks."""
    with safe_open(path, framework="pt") as file:
        shapes = [BlockShape(**shape) for shape in json.loads(file.metadata()[SHAPES])]
    model = copy.deepcopy(with_widths(like, shapes))
    model.load_state_dict(load_file(path), strict=True)
    return model.eval().requires_grad_(False)


def sha256_of_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Over names, shapes and float32 values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)}\n".encode())
        digest.update(state[name].detach().float().contiguous().numpy().data)
    return digest.hexdigest()
