"""INT4 with a step for each block of weights: the file has the very weights and the planned bytes."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.grid import steps_of
from edgeflex_tflite.lower.join import join
from edgeflex_tflite.lower.predict import memory_cost, predict_memory
from edgeflex_tflite.lower.quantizer import SIGNATURE, quantize_file
from edgeflex_tflite.memory.runtime import measure_arena
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.quantize.rounding import round_weight
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC
from tests.lower.test_export import torch_logits

BLOCK = 32
RECIPE = Recipe(precision="int4_dynamic", int4_block=BLOCK)
NOISE = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def wide() -> EdgeViT:
    """All of its linears read whole blocks."""
    return to_edge_form(random_vit(embed_dim=64, num_heads=2, depth=2))


@pytest.fixture(scope="module")
def rounded(wide: EdgeViT) -> EdgeViT:
    return on_grid(wide, RECIPE)


@pytest.fixture(scope="module")
def file(rounded: EdgeViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(rounded, RECIPE, tmp_path_factory.mktemp("blocks"))


def plan_of(model: EdgeViT, recipe: Recipe) -> PrecisionPlan:
    return plan_precision(recipe, weight_sites(model), compute_sites(model))


def on_grid(model: EdgeViT, recipe: Recipe) -> EdgeViT:
    dtypes = {site: found.dtype for site, found in plan_of(model, recipe).weights.items()}
    return round_weights(model, embed(model, [NOISE]), dtypes, recipe, {})[0]


def written(model: EdgeViT, recipe: Recipe, folder: Path) -> Path:
    export_float(model, SPEC, folder / "float.tflite")
    quantize_file(folder / "float.tflite", folder / "file.tflite", plan_of(model, recipe), [], threads=1, on_grid=True)
    return folder / "file.tflite"


def dequantized(path: Path) -> dict[str, NDArray[np.float32]]:
    """INT4 weights by site, `[out, in]`, without the library that wrote them."""
    content, found = flatbuffer.read(path), {}
    tensors = content.subgraphs[0].tensors
    for name, operator in flatbuffer.operators(content):
        weight = tensors[operator.inputs[1]] if name == "FULLY_CONNECTED" else None
        if weight is None or weight.type != schema.TensorType.INT4:
            continue
        raw = np.asarray(content.buffers[weight.buffer].data, np.uint8)
        integers = (np.stack([raw & 15, raw >> 4], 1).astype(np.int8).reshape(weight.shape) ^ 8) - 8
        steps = tensors[weight.quantization.details.scales]
        assert steps.type == schema.TensorType.FLOAT16
        steps = np.asarray(content.buffers[steps.buffer].data, np.uint8).view(np.float16).astype(np.float32)
        of_each = steps.reshape(weight.shape[0], -1).repeat(weight.quantization.details.blockSize, axis=1)
        site = tensors[operator.outputs[0]].name.decode().split(";")[0]
        found[site] = integers.astype(np.float32) * of_each
    return found


@pytest.mark.slow
def test_the_weights_are_stored_bit_by_bit(rounded: EdgeViT, file: Path) -> None:
    stored = dequantized(file)
    linears = {site: module for site, module in weight_sites(rounded).items() if isinstance(module, nn.Linear)}
    assert {*stored} == {*linears}
    for site, linear in linears.items():
        np.testing.assert_array_equal(stored[site], linear.weight.detach().numpy(), err_msg=site)


@pytest.mark.slow
def test_the_file_computes_the_rounded_model(
    wide: EdgeViT, rounded: EdgeViT, file: Path, images: list[NDArray[np.uint8]]
) -> None:
    """Torch with inputs rounded token by token is far nearer to the file than the model that was rounded."""
    runner = FileRunner(file, SPEC, threads=1)
    actual = np.stack([runner(image) for image in images])
    model = copy.deepcopy(rounded)
    patch = model.patch_embed.weight
    patch.data.copy_(round_weight(patch.flatten(1)).view_as(patch))
    for site, linear in weight_sites(model).items():
        if site != "patch_embed":
            linear.register_forward_pre_hook(lambda _, args: per_token(args[0]))
    expected, dense = torch_logits(model, images), torch_logits(wide, images)
    assert np.linalg.norm(actual - expected) < 0.2 * np.linalg.norm(actual - dense)


@pytest.mark.slow
def test_bytes_and_arena_are_as_planned(wide: EdgeViT, file: Path) -> None:
    _, predicted = predict_memory(wide, [block.shape for block in wide.blocks], plan_of(wide, RECIPE), SPEC, 1)
    found, runtime = memory_cost(file), measure_arena(file)
    assert found.weights_bytes == predicted.weights_bytes
    assert runtime.peak_bytes is not None
    assert found.arena_bytes == predicted.arena_bytes == runtime.peak_bytes + runtime.persistent_bytes


@pytest.mark.slow
def test_a_deeper_model_is_predicted_from_fewer_blocks(tmp_path: Path) -> None:
    deep = to_edge_form(random_vit(embed_dim=64, num_heads=2, depth=5))
    missed = []
    for recipe in (RECIPE, RECIPE.replace(int4_block=0)):
        _, predicted = predict_memory(deep, [block.shape for block in deep.blocks], plan_of(deep, recipe), SPEC, 1)
        rounded = on_grid(deep, recipe.replace(rounding="nearest", refit=False))
        missed.append(memory_cost(written(rounded, recipe, tmp_path)).weights_bytes - predicted.weights_bytes)
    assert missed[0] == missed[1] <= 8 * len(deep.blocks)  # shapes, which some blocks have constants of their own for


@pytest.mark.slow
def test_inputs_of_no_whole_blocks_have_a_step_per_channel(edge: EdgeViT, tmp_path: Path) -> None:
    """48 channels are no multiple of 32; the 192 neurons are, and of 64."""
    recipe = RECIPE.replace(int4_block=128)
    dtypes = {site: found.dtype for site, found in plan_of(edge, recipe).weights.items()}
    model, sites = round_weights(edge, embed(edge, [NOISE]), dtypes, recipe, {})
    blocks = {each.site: each.block for each in sites}
    assert {blocks[f"blocks.{index}.mlp.fc2"] for index in range(3)} == {64}
    assert {block for site, block in blocks.items() if not site.endswith("fc2")} == {0}
    path = written(model, recipe, tmp_path)
    assert check_precisions(path, plan_of(edge, recipe))["blocks.0.mlp.fc2"] == "INT4"
    stored = flatbuffer.stored_weights(flatbuffer.read(path), blocks)
    assert (stored["blocks.0.mlp.fc2"].block, stored["blocks.0.mlp.fc2"].scales) == (64, 48 * 3)
    assert (stored["blocks.0.mlp.fc1"].block, stored["blocks.0.mlp.fc1"].scales) == (0, 192)


@pytest.mark.slow
def test_other_blocks_than_planned_are_found(wide: EdgeViT, file: Path) -> None:
    assert set(check_precisions(file, plan_of(wide, RECIPE)).values()) == {"INT4", "INT8"}
    for asked, words in ((64, "for 64 weights and has blocks of 32"), (0, "for 64 weights and has blocks of 32")):
        other = dataclasses.replace(plan_of(wide, RECIPE), int4_block=asked)
        with pytest.raises(VerificationError, match=words):
            check_precisions(file, other)


@pytest.mark.slow
def test_signatures_share_steps(rounded: EdgeViT, file: Path, tmp_path: Path) -> None:
    export_float(rounded, dataclasses.replace(SPEC, batch=3), tmp_path / "float.tflite")
    plan = plan_of(rounded, RECIPE)
    quantize_file(tmp_path / "float.tflite", tmp_path / "three.tflite", plan, [], threads=1, on_grid=True)
    content = join({SIGNATURE: flatbuffer.read(file), "batch_3": flatbuffer.read(tmp_path / "three.tflite")})
    flatbuffer.write(content, tmp_path / "both.tflite")
    check_precisions(tmp_path / "both.tflite", plan)
    more = memory_cost(tmp_path / "both.tflite").weights_bytes - memory_cost(file).weights_bytes
    assert more < 500  # shapes; the steps alone are 6,144 bytes


def test_steps_of_blocks_are_found_again() -> None:
    """Whatever integers a block has: where several steps give the same weights, one that can be stored."""
    steps = np.array([3 * 2.0**-7, 2.0**-14, 255 * 2.0**-9])
    rows = {"common factor": [0, 3, -6, 3], "one": [0, 0, 5, 0], "all": [7, -7, 1, 4], "none": [0, 0, 0, 0]}
    for integers in rows.values():
        weight = np.outer(steps, integers).astype(np.float32)
        found = steps_of(weight, of_blocks=True)
        again = np.round(weight / found[:, None]) * found[:, None]
        np.testing.assert_array_equal(again, weight)
        assert np.array_equal(found.astype(np.float16), found)
        assert np.array_equal(torch.from_numpy(found).bfloat16().double().numpy(), found)


def test_weights_off_the_grid_of_blocks_are_refused() -> None:
    weight = np.random.default_rng(0).normal(size=(4, BLOCK)).astype(np.float32)
    with pytest.raises(VerificationError, match="lie on no grid"):
        steps_of(weight, of_blocks=True)
    off = np.float32(np.arange(-7, 8)[None] * 0.1)  # a tenth has more bits than a step of blocks
    with pytest.raises(VerificationError, match="1 output channels lie on no grid"):
        steps_of(off, of_blocks=True)
    assert steps_of(off) == pytest.approx([0.1])


def test_dtypes_other_than_int4_know_no_blocks() -> None:
    model = to_edge_form(random_vit(embed_dim=64, num_heads=2, depth=1))
    dtypes = dict.fromkeys(weight_sites(model), Dtype.INT8)
    _, sites = round_weights(model, embed(model, [NOISE]), dtypes, RECIPE, {})
    assert {each.block for each in sites} == {0}
