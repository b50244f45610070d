"""Every precision is in the file as planned, and the file still computes the model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan, SitePrecision
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for
from tests.lower.test_export import torch_logits

Images = list[NDArray[np.uint8]]
Files = dict[str, tuple[Path, PrecisionPlan]]
TYPES = {
    "mixed": {"INT8": 18, "FLOAT16": 2},
    "fp16": {"FLOAT16": 20},
    "int8_dynamic": {"INT8": 20},
    "int8_static": {"INT8": 18, "FLOAT16": 2},
    "int8_full": {"INT8": 20},
}


@pytest.mark.parametrize("precision", TYPES)
def test_the_file_has_the_planned_types(files: Files, precision: str) -> None:
    path, plan = files[precision]
    assert Counter(check_precisions(path, plan).values()) == TYPES[precision]


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp16", 1e-3), ("mixed", 0.03), ("int8_dynamic", 0.03), ("int8_static", 0.1)]
)
def test_the_file_still_computes_the_model(
    edge: EdgeViT, files: Files, images: Images, precision: str, tolerance: float
) -> None:
    runner = FileRunner(files[precision][0], SPEC, threads=1)
    actual, expected = np.stack([runner(image) for image in images]), torch_logits(edge, images)
    assert np.linalg.norm(actual - expected) <= tolerance * np.linalg.norm(expected)


def test_full_integer_files_take_and_give_integers(files: Files, images: Images) -> None:
    runner = FileRunner(files["int8_full"][0], SPEC, threads=1)
    assert runner.tensor(images[0]).dtype == np.int8
    assert runner.raw(images[0]).dtype == np.int8
    np.testing.assert_array_equal(
        runner.tensor(images[0])[0].astype(np.int16) + 128,
        images[0].transpose(1, 2, 0),
        err_msg="pixels 0-255 fit INT8 exactly",
    )


def test_ranges_are_those_of_all_calibration_images(files: Files, images: Images) -> None:
    runner = FileRunner(files["int8_full"][0], SPEC, threads=1)
    assert runner._input["quantization"] == (1.0, -128), "0 to 255, not an average of each image's extremes"
    saturated = []
    for image in images:
        runner(image)
        saturated.append(runner.saturated)
    assert max(saturated) <= 1, "logits within the calibrated range can be told apart"


def test_static_files_take_and_give_floats(files: Files, images: Images) -> None:
    runner = FileRunner(files["int8_static"][0], SPEC, threads=1)
    assert runner.tensor(images[0]).dtype == runner.raw(images[0]).dtype == np.float32


def test_sites_can_stay_in_fp32(edge: EdgeViT, float_file: Path, images: Images, tmp_path: Path) -> None:
    plan = plan_for(edge, "int8_static", fp32_sites=r"^blocks\.1(\.|$)", stream="int8")
    inputs = [image.transpose(1, 2, 0)[None].astype(np.float32) for image in images]
    quantize_file(float_file, tmp_path / "file.tflite", plan, inputs, threads=1)
    assert check_precisions(tmp_path / "file.tflite", plan)["blocks.1.mlp.fc1"] == "FLOAT32"
    content = flatbuffer.read(tmp_path / "file.tflite")
    graph = content.subgraphs[0]
    softmax = [o for name, o in flatbuffer.operators(content) if name == "SOFTMAX"]
    assert [graph.tensors[o.outputs[0]].type for o in softmax] == [9, 0, 9], "INT8, FLOAT32, INT8"


def test_a_file_that_is_not_as_planned_is_an_error(files: Files) -> None:
    path, plan = files["mixed"]
    changed = plan.weights | {"head": SitePrecision(Dtype.INT8, "planted")}
    with pytest.raises(VerificationError, match="head should be INT8 and is FLOAT16"):
        check_precisions(path, PrecisionPlan(changed, plan.compute, plan.activations))


def test_a_site_that_is_not_in_the_file_is_an_error(files: Files) -> None:
    path, plan = files["mixed"]
    changed = plan.weights | {"blocks.9.mlp.fc1": SitePrecision(Dtype.INT8, "planted")}
    with pytest.raises(VerificationError, match=r"blocks\.9\.mlp\.fc1 is not in the file"):
        check_precisions(path, PrecisionPlan(changed, plan.compute, plan.activations))


@pytest.mark.slow
def test_an_integer_file_has_the_form_that_an_ethos_u_takes_whole(tmp_path: Path) -> None:
    """Vela takes no scales per channel in products of two activations, and means over rows of two dimensions alone."""
    edge = to_edge_form(random_vit("vit_base_patch16_siglip_224", depth=2, qk_norm=True))
    export_float(edge, SPEC, tmp_path / "float.tflite")
    inputs = np.random.default_rng(0).uniform(0, 255, (4, *SPEC.shape)).astype(np.float32)
    quantize_file(tmp_path / "float.tflite", tmp_path / "model.tflite", plan_for(edge, "int8_full"), inputs, threads=1)
    graph = load_graphs(tmp_path / "model.tflite")[0]
    first = [(op.name, graph.tensors[op.inputs[0]]) for op in graph.ops]
    constants = [tensor for name, tensor in first if name == "BATCH_MATMUL" and tensor.is_constant]
    assert [tensor.quantization.granularity for tensor in constants if tensor.quantization] == ["per-tensor"]
    assert {len(tensor.shape) for name, tensor in first if name == "MEAN"} == {2}
