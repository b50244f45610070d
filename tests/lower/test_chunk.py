"""Blocks in pieces: the same function, the same sites, a smaller arena."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from timm.layers import SwiGLU

from edgeflex_tflite.artifacts import WHOLE, Chunks
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.chunk import chunked, split_attention, split_mlp
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.fit import MARGIN
from edgeflex_tflite.lower.predict import memory_cost, predict_memory
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.memory.runtime import measure_arena
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for


@pytest.mark.parametrize("chunks", [Chunks(2, 1), Chunks(1, 5), Chunks(3, 7), Chunks(100, 1000)])
def test_the_same_function(edge: EdgeViT, chunks: Chunks) -> None:
    images = torch.randn(2, 3, *edge.img_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, actual = edge(images), chunked(edge, chunks)(images)
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


def test_pieces_of_a_gated_mlp_and_of_normed_queries() -> None:
    gated = to_edge_form(random_vit(depth=1, mlp_layer=SwiGLU, qk_norm=True))
    block, x = gated.blocks[0], torch.randn(5, gated.blocks[0].attn.proj.out_features)
    with torch.inference_mode():
        parts = sum(part(x) for part in split_mlp(block.mlp, 3))
        torch.testing.assert_close(parts, block.mlp(x), rtol=1e-4, atol=1e-5)
        parts = sum(part(x, x) for part in split_attention(block.attn, 2))
        torch.testing.assert_close(parts, block.attn(x, x), rtol=1e-4, atol=1e-5)


def test_pieces_are_as_equal_as_they_can_be(edge: EdgeViT) -> None:
    assert [part.width for part in split_mlp(edge.blocks[0].mlp, 5)] == [39, 39, 38, 38, 38]
    assert [part.num_heads for part in split_attention(edge.blocks[0].attn, 2)] == [2, 1]


def test_the_model_is_left_alone(edge: EdgeViT) -> None:
    before = [name for name, _ in edge.named_modules()]
    chunked(edge, Chunks(3, 4))
    assert [name for name, _ in edge.named_modules()] == before
    assert chunked(edge, WHOLE) is edge


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_the_file(edge: EdgeViT, images: list[NDArray[np.uint8]], tmp_path: Path, precision: str) -> None:
    """It answers as torch does, needs the arena that was planned, and has every site in its precision."""
    plan, image = plan_for(edge, precision), np.random.default_rng(0).uniform(0, 255, SPEC.shape).astype(np.float32)
    costs = {}
    for chunks in (WHOLE, Chunks(3, 4)):
        float_path = tmp_path / f"{chunks.mlp}.tflite"
        export_float(edge, SPEC, float_path, chunks)
        quantize_file(float_path, tmp_path / "file.tflite", plan, [image], threads=1)
        check_precisions(tmp_path / "file.tflite", plan)
        costs[chunks] = memory_cost(tmp_path / "file.tflite")
        found = measure_arena(tmp_path / "file.tflite")
        assert found.peak_bytes is not None
        assert costs[chunks].arena_bytes == found.peak_bytes + found.persistent_bytes
    assert costs[Chunks(3, 4)].arena_bytes < costs[WHOLE].arena_bytes
    outputs = [FileRunner(tmp_path / f"{count}.tflite", SPEC, 1)(images[0]) for count in (1, 4)]
    np.testing.assert_allclose(*outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_prediction_equals_the_file(tmp_path: Path) -> None:
    dense, chunks = to_edge_form(random_vit(depth=4)), Chunks(2, 5)
    plan = plan_for(dense, "mixed")
    _, predicted = predict_memory(dense, [192] * 4, plan, SPEC, 1, chunks)
    export_float(dense, SPEC, tmp_path / "float.tflite", chunks)
    image = np.zeros(SPEC.shape, np.float32)
    quantize_file(tmp_path / "float.tflite", tmp_path / "file.tflite", plan, [image], threads=1)
    real = memory_cost(tmp_path / "file.tflite")
    assert abs(predicted.weights_bytes - real.weights_bytes) <= 64
    assert abs(predicted.arena_bytes - real.arena_bytes) <= MARGIN * real.arena_bytes


def test_the_site_at_the_peak(edge: EdgeViT, tmp_path: Path) -> None:
    export_float(edge, SPEC, tmp_path / "file.tflite", Chunks(1, 2))
    cost = memory_cost(tmp_path / "file.tflite")
    assert cost.peak_site.startswith("blocks.")
    index = int(cost.peak_op.rpartition(" ")[2].rstrip(")"))
    assert flatbuffer.site_of_operator(flatbuffer.read(tmp_path / "file.tflite"), index) == cost.peak_site
