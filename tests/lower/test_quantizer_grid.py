"""Weights that lie on their grid are in the file as they are: integers times scales, and nothing else."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeflex_tflite.artifacts import Dtype, Grid, PrecisionPlan
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.quantize.awq import fold_, fold_targets, search
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.quantize.rounding import levels, round_weight
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for
from tests.lower.test_export import torch_logits

Images = list[NDArray[np.uint8]]
Weights = dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]]
MIXED = {"blocks.0.mlp.fc1": Dtype.INT4, "blocks.1.attn.proj": Dtype.INT4, "blocks.2.attn.q": Dtype.INT4}
INT8, INT4 = 9, 17
CASES: dict[str, dict[str, Dtype]] = {"int8_dynamic": {}, "int4_dynamic": {}, "mixed": MIXED, "int8_static": {}}


def dtypes_of(plan: PrecisionPlan) -> dict[str, Dtype]:
    return {site: found.dtype for site, found in plan.weights.items()}


def on_grid(edge: EdgeViT, plan: PrecisionPlan, recipe: Recipe | None = None) -> EdgeViT:
    """Rounded on noise, GPTQ and refit."""
    noise = torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return round_weights(edge, embed(edge, [noise]), dtypes_of(plan), recipe or Recipe(), {})[0]


def written(edge: EdgeViT, plan: PrecisionPlan, images: Images, folder: Path, aligned: bool = True) -> Path:
    export_float(edge, SPEC, folder / "float.tflite")
    inputs = [image.transpose(1, 2, 0)[None].astype(np.float32) for image in images]
    quantize_file(folder / "float.tflite", folder / "file.tflite", plan, inputs, threads=1, on_grid=aligned)
    return folder / "file.tflite"


def integer_weights(path: Path) -> Weights:
    """By site, without the library that wrote them: integers `[out, in]` and scales `[out]`."""
    content = flatbuffer.read(path)
    graph = content.subgraphs[0]
    found: Weights = {}
    for name, operator in flatbuffer.operators(content):
        if name == "FULLY_CONNECTED":
            tensor = graph.tensors[operator.inputs[1]]
            site = graph.tensors[operator.outputs[0]].name.decode().split(";")[0]
            if tensor.type not in (INT4, INT8):
                continue
            raw = np.asarray(content.buffers[tensor.buffer].data, np.uint8)
            if tensor.type == INT4:
                nibbles = np.stack([raw & 15, raw >> 4], 1).astype(np.int8).flatten()
                integers = np.where(nibbles > 7, nibbles - 16, nibbles).astype(np.int8)[: np.prod(tensor.shape)]
            else:
                integers = raw.view(np.int8)
            assert not np.any(tensor.quantization.zeroPoint)
            found[site] = integers.reshape(tensor.shape), np.asarray(tensor.quantization.scale, np.float32)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("precision", CASES)
def test_integers_times_scales_are_the_weights(edge: EdgeViT, images: Images, tmp_path: Path, precision: str) -> None:
    plan = plan_for(edge, precision).lowered(CASES[precision])
    rounded = on_grid(edge, plan)
    path = written(rounded, plan, images, tmp_path)
    check_precisions(path, plan)
    stored = integer_weights(path)
    linears = {site: linear for site, linear in weight_sites(rounded).items() if isinstance(linear, nn.Linear)}
    assert {*stored} == {site for site in linears if plan.weights[site].dtype.is_integer}
    for site, (integers, scales) in stored.items():
        weight = linears[site].weight.detach().numpy()
        assert np.abs(integers.astype(int)).max() <= levels(plan.weights[site].dtype.bits)
        largest = np.abs(weight).max(axis=1, keepdims=True)
        assert (np.abs(integers * scales[:, None] - weight) <= 1e-4 * largest).all(), site


@pytest.mark.slow
def test_the_file_computes_the_rounded_model(edge: EdgeViT, images: Images, tmp_path: Path) -> None:
    """Torch with inputs rounded token by token is nearer to the file than the model is that it was rounded from."""
    plan = plan_for(edge, "int4_dynamic")
    rounded = on_grid(edge, plan)
    runner = FileRunner(written(rounded, plan, images, tmp_path), SPEC, threads=1)
    actual = np.stack([runner(image) for image in images])
    patch = round_weight(rounded.patch_embed.weight.flatten(1)).view_as(rounded.patch_embed.weight)
    rounded.patch_embed.weight.data.copy_(patch)
    for site, linear in weight_sites(rounded).items():
        if site != "patch_embed":
            linear.register_forward_pre_hook(lambda _, args: per_token(args[0]))
    expected, dense = torch_logits(rounded, images), torch_logits(edge, images)
    assert np.linalg.norm(actual - expected) < 0.2 * np.linalg.norm(actual - dense)


def one_linear_changed(edge: EdgeViT, plan: PrecisionPlan, weight: Tensor) -> EdgeViT:
    rounded = on_grid(edge, plan)
    changed = copy.deepcopy(rounded)
    changed.blocks[1].attn.proj.weight.data[: len(weight)] = weight
    return changed


@pytest.mark.slow
@pytest.mark.parametrize(
    "size",
    [1.0, 1e-3, 1e-5],
)
def test_weights_off_the_grid_are_refused(edge: EdgeViT, images: Images, tmp_path: Path, size: float) -> None:
    plan = plan_for(edge, "int8_dynamic")
    weight = size * torch.randn(48, 48, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="48 output channels lie on no grid"):
        written(one_linear_changed(edge, plan, weight), plan, images, tmp_path)


ROWS = {
    "one integer": [0, 0, 0, 127],
    "even ones": [0, 2, 4, 126],
    "zeros": [0, 0, 0, 0],
    "neighbours": [0, 3, 4, 127],
}


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.01, 1e-6])
def test_rows_of_few_different_integers_can_be_stored(
    edge: EdgeViT, images: Images, tmp_path: Path, step: float
) -> None:
    """As a narrow layer may have them."""
    plan = plan_for(edge, "int8_dynamic")
    rows = torch.tensor(list(ROWS.values())).repeat(1, 12).float() * step
    changed = one_linear_changed(edge, plan, rows)
    integers, scales = integer_weights(written(changed, plan, images, tmp_path))["blocks.1.attn.proj"]
    np.testing.assert_allclose(integers[:4] * scales[:4, None], rows.numpy(), rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("step", [0.01, 1e-6])
def test_rows_without_two_neighbouring_integers_can_be_stored(
    edge: EdgeViT, images: Images, tmp_path: Path, step: float
) -> None:
    plan = plan_for(edge, "int8_dynamic")
    row = torch.tensor([0, 3, 5, 127]).repeat(12).float() * step
    changed = one_linear_changed(edge, plan, row[None])
    integers, scales = integer_weights(written(changed, plan, images, tmp_path))["blocks.1.attn.proj"]
    np.testing.assert_allclose(integers[0] * scales[0], row.numpy(), rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8_dynamic", "int4_dynamic"])
def test_planted_outliers_in_the_file(edge: EdgeViT, images: Images, tmp_path: Path, precision: str) -> None:
    """A few channels 300 times as large: the plain file loses the logits, with scales, GPTQ and refit it does not."""
    outliers = copy.deepcopy(edge)
    for block in outliers.blocks:
        for target in fold_targets(block):
            scale = torch.ones(48)
            scale[[1, 7, 12]] = 1 / 300
            fold_(block, target, scale)
    plan = plan_for(edge, precision)
    wanted = torch_logits(edge, images)
    np.testing.assert_allclose(torch_logits(outliers, images), wanted, rtol=1e-3, atol=1e-3)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    noise = torch.randint(0, 256, (96, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    tokens = embed(outliers, [(noise / 255 - mean) / std])
    grids = {site: Grid(dtype.bits) for site, dtype in dtypes_of(plan).items()}
    scaled, _ = search(outliers, tokens, grids, True, 1024)
    inputs = dict.fromkeys(grids, per_token)
    ours, _ = round_weights(scaled, tokens, dtypes_of(plan), Recipe(), inputs)
    errors = []
    for model, aligned in ((outliers, False), (ours, True)):
        folder = tmp_path / str(aligned)
        folder.mkdir()
        runner = FileRunner(written(model, plan, images, folder, aligned), SPEC, threads=1)
        found = np.stack([runner(image) for image in images])
        errors.append(np.linalg.norm(found - wanted) / np.linalg.norm(wanted - wanted.mean(0)))
    assert errors[1] < 0.3 * errors[0]
    assert errors[0] > 0.5


@pytest.mark.slow
def test_a_model_with_an_attention_pool_can_be_written(images: Images, tmp_path: Path) -> None:
    pooled = to_edge_form(random_vit("vit_base_patch16_siglip_224", embed_dim=192, depth=1))
    plan = plan_for(pooled, "int8_dynamic")
    path = written(on_grid(pooled, plan), plan, images, tmp_path)
    assert any(site.startswith("attention_pool") for site in integer_weights(path))


@pytest.mark.slow
def test_the_stream_in_int16(edge: EdgeViT, images: Images, tmp_path: Path) -> None:
    """Residual additions and norms in 16 bits, where two channels of the stream are far larger than the others."""
    outliers = copy.deepcopy(edge)
    outliers.position.data[:, 0] += 100
    outliers.position.data[:, 1] -= 100
    wanted = torch_logits(outliers, images)
    errors = {}
    for stream, dtype in (("int8", "INT8"), ("int16", "INT16")):
        recipe = Recipe(precision="int8_static", stream=stream, fp32_sites="^head$")
        plan = plan_precision(recipe, weight_sites(edge), compute_sites(edge))
        (tmp_path / stream).mkdir()
        path = written(on_grid(outliers, plan), plan, images, tmp_path / stream)
        assert stream_types(path) == {dtype}
        runner = FileRunner(path, SPEC, threads=1)
        errors[stream] = float(np.abs(np.stack([runner(image) for image in images]) - wanted).mean())
    assert errors["int16"] < 0.9 * errors["int8"]


def stream_types(path: Path) -> set[str]:
    """Of what the residual additions write."""
    content = flatbuffer.read(path)
    tensors = content.subgraphs[0].tensors
    outputs = [tensors[op.outputs[0]] for name, op in flatbuffer.operators(content) if name == "ADD"]
    names = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}
    return {names[tensor.type] for tensor in outputs if re.match(r"blocks\.\d+;", tensor.name.decode())}
