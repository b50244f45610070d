"""The two-block prediction against the file that is really written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite.artifacts import BlockShape, MemoryCost, PrecisionPlan
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.predict import (
    _largest_and_last,
    block_bytes,
    memory_cost,
    predict_memory,
)
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.prune.cut import with_widths
from edgeflex_tflite.recipe import Recipe
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
@pytest.mark.parametrize("precision", ["mixed", "int4_dynamic"])
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
    [("int8_full", (64, 64, 128, 16)), ("fp16", (16, 16, 16, 16))],
)
def test_what_pruning_saves_is_saved_in_the_file(tmp_path: Path, precision: str, widths: tuple[int, ...]) -> None:
    dense = to_edge_form(random_vit(depth=4), Recipe(precision=precision).rewrites)
    plan = plan_for(dense, precision)
    _, predicted = predict_memory(dense, [192] * 4, plan, SPEC, threads=1)
    weights = arena = 0
    for index, (block, width) in enumerate(zip(dense.blocks, widths, strict=True)):
        before, after = (block_bytes(block, w, f"blocks.{index}", plan) for w in (192, width))
        weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    real = written(with_widths(dense, widths), plan, tmp_path)
    assert abs(predicted.weights_bytes - weights - real.weights_bytes) <= SHARED_CONSTANTS_BYTES
    assert real.arena_bytes <= predicted.arena_bytes - arena


SMALL = BlockShape(32, 1, 8, 16)
SHAPES = (BlockShape(64, 3, 16, 16), BlockShape(96, 3, 8, 4), BlockShape(96, 2, 16, 16), SMALL, SMALL)
"""Of five blocks: one is the widest, another has the most queries."""


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "shapes"), [("mixed", SHAPES), ("int8_full", (SHAPES[1],) * 5)])
def test_prediction_equals_the_file_of_other_shapes(
    tmp_path: Path, precision: str, shapes: tuple[BlockShape, ...]
) -> None:
    dense = to_edge_form(random_vit(depth=5), Recipe(precision=precision).rewrites)
    plan = plan_for(dense, precision)
    predicted_float, predicted = predict_memory(dense, shapes, plan, SPEC, threads=1)
    real = written(with_widths(dense, shapes), plan, tmp_path)
    for expected, found in ((predicted, real), (predicted_float, memory_cost(tmp_path / "float.tflite"))):
        assert abs(expected.weights_bytes - found.weights_bytes) <= SHARED_CONSTANTS_BYTES
        assert expected.arena_bytes == found.arena_bytes


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("int8_dynamic", 2 * 48 + 4 + 4),
        ("fp32", 2 * 4 * 48 + 4),
        ("fp16", 2 * 2 * 48 + 4 + 2 * 4 * 48),
        ("int8_static", 2 * 48 + 4),
        ("int4_dynamic", 48 + 4),
    ],
)
def test_bytes_of_a_neuron(edge: EdgeViT, precision: str, expected: int) -> None:
    """Its row of fc1, its column of fc2, its bias, and with dynamic INT8 its row sum; FP16 weights are expanded."""
    plan = plan_for(edge, precision)
    wide, narrow = (sum(block_bytes(edge.blocks[0], width, "blocks.0", plan)) for width in (192, 176))
    assert (wide - narrow) == 16 * expected


def test_bytes_of_a_block_in_fp32_are_its_parameters(edge: EdgeViT) -> None:
    block = edge.blocks[1]
    weights, kept = block_bytes(block, block.mlp.width, "blocks.1", None)
    assert weights == 4 * sum(parameter.numel() for parameter in block.parameters())
    assert kept == 0


@pytest.mark.parametrize("shape", [*SHAPES, 40])
def test_bytes_of_a_smaller_block_in_fp32_are_its_parameters(edge: EdgeViT, shape: BlockShape | int) -> None:
    weights, _ = block_bytes(edge.blocks[1], shape, "blocks.1", None)
    smaller = with_widths(edge, [shape] * 3).blocks[1]
    assert smaller.shape == (dataclasses.replace(SHAPES[0], width=40) if shape == 40 else shape)
    assert weights == 4 * sum(parameter.numel() for parameter in smaller.parameters())


def test_blocks_to_lower_are_the_largest_of_each_kind() -> None:
    assert _largest_and_last(SHAPES, 1) == [0, 1, 4]
    assert _largest_and_last(SHAPES, 2) == [0, 1, 2, 4]
    assert _largest_and_last((SMALL,) * 5, 1) == [0, 4]
    assert _largest_and_last((SMALL,) * 5, 2) == [0, 1, 4]
    assert _largest_and_last((SMALL,), 2) == [0]


def test_with_widths_shares_what_it_does_not_cut(edge: EdgeViT) -> None:
    smaller = with_widths(edge, (16, 32, 48))
    assert [block.mlp.width for block in smaller.blocks] == [16, 32, 48]
    assert [block.mlp.width for block in edge.blocks] == [192, 192, 192]
    assert smaller.head.weight is edge.head.weight
