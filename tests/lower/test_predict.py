"""The two-block prediction against the file that is really written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite.artifacts import MemoryCost, PrecisionPlan
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.predict import block_bytes, memory_cost, neuron_bytes, predict_memory, with_widths
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for

SHARED_CONSTANTS_BYTES = 64
"""Shapes and scalars that one file happens to share and the other does not."""


def written(model: EdgeViT, plan: PrecisionPlan, folder: Path) -> MemoryCost:
    """The cost of a file that is really written."""
    export_float(model, SPEC, folder / "float.tflite")
    image = np.random.default_rng(1).uniform(0, 255, SPEC.shape).astype(np.float32)
    quantize_file(folder / "float.tflite", folder / "file.tflite", plan, [image], threads=1)
    return memory_cost(folder / "file.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed", "fp16", "int8_full"])
def test_prediction_equals_the_file(tmp_path: Path, precision: str) -> None:
    dense = to_edge_form(random_vit(depth=4))
    plan = plan_for(dense, precision)
    _, predicted = predict_memory(dense, [192] * 4, plan, SPEC, threads=1)
    real = written(dense, plan, tmp_path)
    assert abs(predicted.weights_bytes - real.weights_bytes) <= SHARED_CONSTANTS_BYTES
    assert predicted.arena_bytes == real.arena_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "widths"),
    [("mixed", (32, 128, 64, 96)), ("int8_full", (64, 64, 128, 16)), ("fp16", (16, 16, 16, 16))],
)
def test_what_pruning_saves_is_saved_in_the_file(tmp_path: Path, precision: str, widths: tuple[int, ...]) -> None:
    dense = to_edge_form(random_vit(depth=4))
    plan = plan_for(dense, precision)
    _, predicted = predict_memory(dense, [192] * 4, plan, SPEC, threads=1)
    weights = arena = 0
    for index, (block, width) in enumerate(zip(dense.blocks, widths, strict=True)):
        before, after = (block_bytes(block, w, f"blocks.{index}", plan) for w in (192, width))
        weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    real = written(with_widths(dense, widths), plan, tmp_path)
    assert abs(predicted.weights_bytes - weights - real.weights_bytes) <= SHARED_CONSTANTS_BYTES
    assert real.arena_bytes <= predicted.arena_bytes - arena


@pytest.mark.parametrize(("precision", "expected"), [("int8_dynamic", 2 * 48 + 4 + 4), ("fp32", 2 * 4 * 48 + 4)])
def test_bytes_of_a_neuron(edge: EdgeViT, precision: str, expected: int) -> None:
    """Its row of fc1, its column of fc2, its bias, and with dynamic INT8 its row sum."""
    assert neuron_bytes(edge.blocks[0], "blocks.0", plan_for(edge, precision)) == expected


def test_bytes_of_a_block_in_fp32_are_its_parameters(edge: EdgeViT) -> None:
    block = edge.blocks[1]
    weights, kept = block_bytes(block, block.mlp.width, "blocks.1", None)
    assert weights == 4 * sum(parameter.numel() for parameter in block.parameters())
    assert kept == 0


def test_with_widths_shares_what_it_does_not_cut(edge: EdgeViT) -> None:
    smaller = with_widths(edge, (16, 32, 48))
    assert [block.mlp.width for block in smaller.blocks] == [16, 32, 48]
    assert [block.mlp.width for block in edge.blocks] == [192, 192, 192]
    assert smaller.head.weight is edge.head.weight
