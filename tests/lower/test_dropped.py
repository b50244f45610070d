"""Files without some of a model's attentions and MLPs: nothing of them is left, and the bytes are those predicted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import BlockShape, Metrics
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.predict import block_bytes, memory_cost, predict_memory
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.prune.cut import with_widths
from edgeflex_tflite.recipe import MEGABYTE, Recipe
from edgeflex_tflite.verify.readback import check_precisions
from tests.command import QUICK, exit_code
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for
from tests.lower.test_predict import SHARED_CONSTANTS_BYTES

SHAPES = (BlockShape(0, 3, 16, 16), BlockShape(96, 0, 0, 0), BlockShape(0, 0, 0, 0), BlockShape(192, 3, 16, 16))
"""Of four blocks: one without its MLP, one without its attention, one without both."""


def operators(path: Path) -> int:
    return len(flatbuffer.read(path).subgraphs[0].operators)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed", "int8_full"])
def test_the_file(tmp_path: Path, precision: str) -> None:
    dense = to_edge_form(random_vit(depth=4), Recipe(precision=precision).rewrites)
    plan, image = plan_for(dense, precision), np.random.default_rng(1).uniform(0, 255, SPEC.shape).astype(np.float32)
    model = with_widths(dense, SHAPES)
    export_float(model, SPEC, tmp_path / "float.tflite")
    left = plan.of(weight_sites(model) | compute_sites(model))
    quantize_file(tmp_path / "float.tflite", tmp_path / "file.tflite", left, [image], threads=1)
    found = check_precisions(tmp_path / "file.tflite", left)
    assert {*found} == {*weight_sites(model)} < {*weight_sites(dense)}
    real, (_, predicted) = memory_cost(tmp_path / "file.tflite"), predict_memory(dense, SHAPES, plan, SPEC, 1)
    assert abs(predicted.weights_bytes - real.weights_bytes) <= SHARED_CONSTANTS_BYTES
    assert predicted.arena_bytes == real.arena_bytes
    _, whole = predict_memory(dense, [block.shape for block in dense.blocks], plan, SPEC, 1)
    saved = 0
    for index, (block, shape) in enumerate(zip(dense.blocks, SHAPES, strict=True)):
        sizes = [
            block_bytes(block, each, f"blocks.{index}", plan, rewrites=dense.rewrites)[0]
            for each in (block.shape, shape)
        ]
        saved += sizes[0] - sizes[1]
    assert abs(whole.weights_bytes - saved - real.weights_bytes) <= SHARED_CONSTANTS_BYTES


@pytest.mark.slow
def test_no_operator_is_left(tmp_path: Path) -> None:
    """An attention and an MLP with their norms and sums: each block dropped is as good as never there."""
    dense = to_edge_form(random_vit(depth=3))
    nothing = BlockShape(0, 0, 0, 0)
    last = dense.blocks[2].shape
    for name, model in {
        "dropped": with_widths(dense, (last, nothing, last)),
        "never there": dense.with_blocks([dense.blocks[0], dense.blocks[2]]),
        "dense": dense,
    }.items():
        export_float(model, SPEC, tmp_path / f"{name}.tflite")
    counts = {name: operators(tmp_path / f"{name}.tflite") for name in ("dropped", "never there", "dense")}
    assert counts["dropped"] == counts["never there"] < counts["dense"]


@pytest.mark.slow
def test_a_run_that_may_do_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the model that ships with the package."""
    flags = ("--levers=branches", "--memory_budget_mb=0.6", *QUICK)
    assert exit_code((*flags, f"--output_dir={tmp_path / 'out'}")) == 0
    said = re.search(r"(\d) attentions and (\d) MLPs dropped, ([\d.]+) MB predicted", capsys.readouterr().out)
    assert said and int(said[1]) + int(said[2]) > 0
    metrics = files.read_json(tmp_path / "out" / "metrics.json", Metrics)
    assert metrics.memory.total_bytes <= 600_000
    assert metrics.memory.total_bytes / MEGABYTE == pytest.approx(float(said[3]), abs=0.02)
    assert metrics.drop_points < 20
