"""The FP32 file is the torch model, named by site, with the normalization inside."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.deploy import DeployedViT
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.profiling.blocks import attention_inputs, embed
from edgeflex_tflite.prune.attention import context_moments, cut_heads, score_moments, truncate_keys, truncate_values
from edgeflex_tflite.serialize import read_model, write_model
from edgeflex_tflite.verify.runner import FileRunner, file_input
from tests.lower.conftest import SPEC

Images = list[NDArray[np.uint8]]


def torch_logits(edge: nn.Module, images: Images, spec: InputSpec = SPEC) -> NDArray[np.float32]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    with torch.inference_mode():
        return edge((torch.from_numpy(np.stack(images)) / 255 - mean) / std).numpy()


def test_the_file_computes_what_torch_computes(edge: EdgeViT, float_file: Path, images: Images) -> None:
    runner = FileRunner(float_file, SPEC, threads=1)
    actual = np.stack([runner(image) for image in images])
    expected = torch_logits(edge, images)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.slow
def test_the_file_of_pruned_attention_computes_what_torch_computes(
    edge: EdgeViT, images: Images, tmp_path: Path
) -> None:
    """Fewer heads, and keys and values of other sizes in each block, read back from disk; as lean as the dense one."""
    pixels = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    smaller = copy.deepcopy(edge)
    for block, (heads, key_dim, value_dim) in zip(smaller.blocks, [(2, 8, 16), (3, 4, 8), (1, 16, 8)], strict=True):
        inputs = list(attention_inputs(block, embed(edge, [pixels])))
        moments = context_moments(block.attn, inputs)
        block.attn = cut_heads(block.attn, moments, torch.arange(3), heads, True)
        block.attn = truncate_values(block.attn, context_moments(block.attn, inputs), value_dim, True)
        block.attn = truncate_keys(block.attn, score_moments(block.attn, inputs), key_dim)
    write_model(tmp_path / "model.safetensors", smaller)
    read = read_model(tmp_path / "model.safetensors", edge)
    assert [block.shape for block in read.blocks] == [block.shape for block in smaller.blocks]
    export_float(read, SPEC, tmp_path / "pruned.tflite")
    runner = FileRunner(tmp_path / "pruned.tflite", SPEC, threads=1)
    actual = np.stack([runner(image) for image in images])
    expected = torch_logits(smaller, images)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(actual - torch_logits(edge, images)).max() > 1e-2 * np.abs(expected).max()
    counts = Counter(name for name, _ in flatbuffer.operators(flatbuffer.read(tmp_path / "pruned.tflite")))
    assert counts["FULLY_CONNECTED"] == 6 * 3 + 1
    assert counts["TRANSPOSE"] <= 4 * 3


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("units", ["0-255", "0-1", "normalized"])
def test_folding_the_normalization_is_exact(edge: EdgeViT, images: Images, layout: str, units: str) -> None:
    spec = dataclasses.replace(SPEC, layout=layout, range=units)
    module = DeployedViT(edge, spec).eval()
    with torch.inference_mode():
        actual = np.concatenate([module(torch.from_numpy(file_input(image, spec))).numpy() for image in images])
    expected = torch_logits(edge, images)
    assert np.abs(actual - expected).max() <= 1e-5 * np.abs(expected).max()


def test_folding_leaves_the_model_alone(edge: EdgeViT) -> None:
    before = edge.patch_embed.weight.clone()
    DeployedViT(edge, SPEC)
    assert torch.equal(edge.patch_embed.weight, before)


def test_every_site_has_its_operator(edge: EdgeViT, float_file: Path) -> None:
    found = flatbuffer.stored_weights(flatbuffer.read(float_file), weight_sites(edge))
    assert set(found) == set(weight_sites(edge))
    assert {weight.dtype for weight in found.values()} == {"FLOAT32"}


def test_tensor_names_are_unique(float_file: Path) -> None:
    names = [tensor.name for tensor in flatbuffer.read(float_file).subgraphs[0].tensors]
    assert len(names) == len(set(names))


def test_the_graph_is_lean(edge: EdgeViT, float_file: Path) -> None:
    content = flatbuffer.read(float_file)
    counts = Counter(name for name, _ in flatbuffer.operators(content))
    ranks = {len(t.shape) for t in content.subgraphs[0].tensors if content.buffers[t.buffer].data is None}
    depth = len(edge.blocks)
    assert counts["SUB"] == 0, "LayerNorms subtract no mean"
    assert counts["SQUARED_DIFFERENCE"] == 2 * depth + 1, "and have epsilon in their squares"
    assert counts["MUL"] == 2 * (2 * depth + 1), "and multiply by their scale"
    assert counts["FULLY_CONNECTED"] == 6 * depth + 1
    assert counts["TRANSPOSE"] <= 4 * depth
    assert counts["RESHAPE"] == 3 * depth + 1, "three to make heads, and the patches"
    assert max(ranks) == 4, "rank 4 at the image alone"


def test_the_last_block_computes_the_class_token_alone(edge: EdgeViT, float_file: Path) -> None:
    content = flatbuffer.read(float_file)
    graph, last = content.subgraphs[0], len(edge.blocks) - 1
    rows = {}
    for name, operator in flatbuffer.operators(content):
        if name == "FULLY_CONNECTED":
            output = graph.tensors[operator.outputs[0]]
            rows[output.name.decode().split(";")[0]] = int(np.prod(output.shape[:-1]))
    assert rows[f"blocks.{last}.mlp.fc1"] == rows[f"blocks.{last}.attn.q"] == 1
    assert rows[f"blocks.{last}.attn.k"] == rows["blocks.0.mlp.fc1"] == edge.num_tokens


def test_weights_behind_the_flatbuffer_read_the_same(
    float_file: Path, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flatbuffer, "INLINE_LIMIT_BYTES", 0)
    path = tmp_path / "trailing.tflite"
    flatbuffer.write(flatbuffer.read(float_file), path)
    assert path.read_bytes() != float_file.read_bytes()
    expected, actual = (FileRunner(file, SPEC, threads=1)(images[0]) for file in (float_file, path))
    np.testing.assert_array_equal(actual, expected)
