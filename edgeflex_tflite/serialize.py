"""Models as safetensors files, written under a temporary name and renamed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.models.edge import Block, EdgeViT
from edgeflex_tflite.models.tensors import Module, twin
from edgeflex_tflite.prune.cut import resize_block, with_widths

SHAPES = "block_shapes"
"""Key of the file's metadata: the tensors' sizes alone do not tell the number of heads."""


def write_model(path: Path, model: EdgeViT) -> None:
    _write(path, model, model.blocks)


def read_model(path: Path, like: EdgeViT) -> EdgeViT:
    """A model that `write_model` wrote; `like` is the dense one, the file may have smaller blocks.

    Its tensors are the file's own pages, read where they are needed.
    """
    return _filled(with_widths(like, _shapes(path)), path)


def write_block(path: Path, block: Block) -> None:
    _write(path, block, [block])


def read_block(path: Path, like: Block) -> Block:
    """A block that `write_block` wrote, as `read_model` reads models."""
    return _filled(resize_block(like, *_shapes(path)), path)


def _write(path: Path, module: nn.Module, blocks: Iterable[Block]) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    tensors = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
    save_file(tensors, unfinished, {SHAPES: json.dumps([dataclasses.asdict(block.shape) for block in blocks])})
    unfinished.replace(path)


def _shapes(path: Path) -> list[BlockShape]:
    with safe_open(path, framework="pt") as file:
        return [BlockShape(**shape) for shape in json.loads(file.metadata()[SHAPES])]


def _filled(sized: Module, path: Path) -> Module:
    """A twin of a model or block, with the tensors of a file."""
    filled = twin(sized)
    filled.load_state_dict(load_file(path), strict=True, assign=True)
    return filled.eval().requires_grad_(False)


def sha256_of_weights(state: Mapping[str, torch.Tensor]) -> str:
    """Over names, shapes and float32 values, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name} {tuple(state[name].shape)}\n".encode())
        digest.update(state[name].detach().float().contiguous().numpy().data)
    return digest.hexdigest()
