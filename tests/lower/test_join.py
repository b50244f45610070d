"""Several signatures of one file: the same weights once, the same answers, an arena each."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.join import batch_signature, join
from edgeflex_tflite.lower.merge import merging
from edgeflex_tflite.lower.predict import memory_cost, predict_memory, signature_graphs
from edgeflex_tflite.lower.quantizer import SIGNATURE, quantize_file
from edgeflex_tflite.memory import allocated_bytes, weights_bytes
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.verify.parity import BOUND
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner, file_input, in_batches
from edgeflex_tflite.verify.signatures import signature_logits
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for
from tests.lower.test_export import torch_logits

BATCH = 3
BATCHED = batch_signature(BATCH)
PRECISIONS = ("fp32", "mixed", "int8_static")
SHAPES_BYTES = 2000
"""Constants that one batch size has and another has not: shapes, and prefix tokens that are repeated."""
Images = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def floats(edge: EdgeViT, float_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`{signature: FP32 file}`."""
    path = tmp_path_factory.mktemp("batched") / "float.tflite"
    export_float(edge, dataclasses.replace(SPEC, batch=BATCH), path)
    return {SIGNATURE: float_file, BATCHED: path}


@pytest.fixture(scope="module")
def made(
    edge: EdgeViT, floats: dict[str, Path], images: Images, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Path]]]:
    """`{precision: (joined file, {signature: its own file})}`."""
    found = {}
    for precision in PRECISIONS:
        folder = tmp_path_factory.mktemp(precision)
        alone = {name: folder / f"{name}.tflite" for name in floats}
        for (name, path), size in zip(alone.items(), (1, BATCH), strict=True):
            inputs = in_batches((file_input(image, SPEC) for image in images), size)
            quantize_file(floats[name], path, plan_for(edge, precision), inputs, threads=1)
        found[precision] = (joined(alone, folder / "joined.tflite"), alone)
    return found


def joined(alone: dict[str, Path], path: Path) -> Path:
    flatbuffer.write(join({name: flatbuffer.read(each) for name, each in alone.items()}), path)
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_grows_by_its_graph_alone(made: Any, precision: str) -> None:
    path, alone = made[precision]
    first, second = alone[SIGNATURE], alone[BATCHED]
    assert weights_bytes(path) - weights_bytes(first) <= SHAPES_BYTES
    graph = second.stat().st_size - weights_bytes(second)
    assert path.stat().st_size - first.stat().st_size <= graph


def test_scales_are_stored_once(made: Any) -> None:
    root = schema.Model.GetRootAs(made["mixed"][0].read_bytes())
    places = [
        {
            (tensor.Name().split(b";")[0], tensor.Buffer()): tensor.Quantization()._tab.Pos
            for tensor in map(root.Subgraphs(graph).Tensors, range(root.Subgraphs(graph).TensorsLength()))
            if tensor.Quantization() is not None and tensor.Quantization().ScaleLength() > 1
        }
        for graph in range(2)
    ]
    assert len(places[0]) > 10
    assert places[0] == places[1]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_signature_answers_as_its_own_file(made: Any, images: Images, precision: str) -> None:
    path, alone = made[precision]
    assert signature_graphs(path) == {SIGNATURE: 0, BATCHED: 1}
    for name, own in alone.items():
        expected = signature_logits(own, SIGNATURE, images, SPEC, 1)
        np.testing.assert_array_equal(signature_logits(path, name, images, SPEC, 1), expected, err_msg=name)


def test_the_first_signature_is_what_a_plain_interpreter_runs(made: Any, images: Images) -> None:
    path, alone = made["mixed"]
    runner, own = FileRunner(path, SPEC, 1), FileRunner(alone[SIGNATURE], SPEC, 1)
    np.testing.assert_array_equal([runner(image) for image in images], [own(image) for image in images])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_answers_as_its_images_one_by_one(made: Any, images: Images, precision: str) -> None:
    one, several = (signature_logits(made[precision][0], name, images, SPEC, 1) for name in (SIGNATURE, BATCHED))
    assert one.shape == several.shape == (len(images), 10)
    np.testing.assert_allclose(several, one, atol=1e-3 * float(np.abs(one).max()))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_interpreter_keeps_an_arena_for_each_signature_that_has_run(made: Any, precision: str) -> None:
    path = made[precision][0]
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), num_threads=1, experimental_op_resolver_type=plain)
    for name in (BATCHED, SIGNATURE):
        runner = interpreter.get_signature_runner(name)
        runner(args_0=np.zeros(runner.get_input_details()["args_0"]["shape"], np.float32))
    assert allocated_bytes(interpreter._interpreter, load_graphs(path)) == memory_cost(path).arena_bytes


@pytest.mark.parametrize("precision", ["mixed", "int8_static"])
def test_its_memory_is_predicted(edge: EdgeViT, made: Any, precision: str) -> None:
    shapes = [block.shape for block in edge.blocks]
    _, predicted = predict_memory(edge, shapes, plan_for(edge, precision), SPEC, 1, batches=(1, BATCH))
    real = memory_cost(made[precision][0])
    assert predicted.arena_bytes == real.arena_bytes
    assert abs(predicted.weights_bytes - real.weights_bytes) <= SHAPES_BYTES


def test_types_are_read_back_from_every_graph(edge: EdgeViT, made: Any, tmp_path: Path) -> None:
    mixed, floats = made["mixed"][1], made["fp32"][1]
    check_precisions(made["mixed"][0], plan_for(edge, "mixed"))
    wrong = joined({SIGNATURE: mixed[SIGNATURE], BATCHED: floats[BATCHED]}, tmp_path / "wrong.tflite")
    with pytest.raises(VerificationError, match="should be INT8 and is FLOAT32"):
        check_precisions(wrong, plan_for(edge, "mixed"))


def test_one_signature_is_left_as_it_is(float_file: Path) -> None:
    model = flatbuffer.read(float_file)
    before = copy.copy(vars(model))
    assert join({SIGNATURE: model}) is model
    assert vars(model) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "merged"),
    [
        ({"global_pool": "map", "class_token": False}, 0),
        ({}, 2),
    ],
)
def test_a_batch_of_every_kind_of_model(options: dict, merged: int, images: Images, tmp_path: Path) -> None:
    edge = to_edge_form(random_vit(**options))
    export_float(edge, dataclasses.replace(SPEC, batch=BATCH), tmp_path / "file.tflite", merged=merged)
    expected = torch_logits(merging(edge, merged), images)
    actual = signature_logits(tmp_path / "file.tflite", SIGNATURE, images, SPEC, 1)
    np.testing.assert_allclose(actual, expected, atol=BOUND * float(np.abs(expected).max()))
