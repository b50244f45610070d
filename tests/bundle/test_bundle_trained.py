"""The page answers as the interpreter does, on trained models and real images from file to logits."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed")

from edgeflex_tflite import load_model, open_source
from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.bundle.layout import MODEL_FILE
from edgeflex_tflite.data import Preprocessing
from edgeflex_tflite.inputs import DEMO_DATA, DEMO_MODEL
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.verify.runner import FileRunner, file_input
from tests.bundle.conftest import OpenPage
from tests.bundle.outputs import write_output
from tests.bundle.page import answers, choose, logits, png

pytestmark = pytest.mark.slow

IMAGES = 8
TOLERANCE = {"fp32": 1e-4, "mixed": 0.04}
"""Of the largest logit. Mixed files round activations to integers, and what lies between two goes to either: 0.013 was
the most that was seen, with FP32 at 1.2e-6."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A model's output folders by precision, and images of its data."""

    outputs: dict[str, Path]
    spec: InputSpec
    rule: Preprocessing
    images: list[Image.Image]
    labels: tuple[str, ...]


def make(folder: Path, name: str, data: str, checkpoint: str | None = None, img_size: int | None = None) -> Trained:
    model = load_model(name, checkpoint=checkpoint, img_size=img_size)
    rule, edge, source = Preprocessing.of_model(model), to_edge_form(model), open_source(data)
    spec = InputSpec("nhwc", "0-255", rule.mean, rule.std, rule.height, rule.width)
    images = [source.image(index) for index in range(0, len(source), len(source) // IMAGES)][:IMAGES]
    pixels = [rule.resize(image).numpy() for image in images]
    files = {precision: folder / f"{precision}.tflite" for precision in TOLERANCE}
    export_float(edge, spec, files["fp32"])
    plan = plan_precision(Recipe(), weight_sites(edge), compute_sites(edge))
    quantize_file(files["fp32"], files["mixed"], plan, (file_input(each, spec) for each in pixels), threads=1)
    outputs = {
        precision: write_output(
            folder / precision, path.read_bytes(), pixels[0], source.class_names or (), rule, spec, precision
        )
        for precision, path in files.items()
    }
    return Trained(outputs, spec, rule, images, source.class_names or ())


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return make(tmp_path_factory.mktemp("digits"), DEMO_MODEL, DEMO_DATA)


def path_of(variable: str, name: str) -> str:
    folder = os.environ.get(variable)
    if folder is None or not Path(folder, name).exists():
        pytest.skip(f"{variable} names no folder with {name}")
    return str(Path(folder, name))


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A Vision Transformer of 21.5 million parameters."""
    checkpoint = path_of("EDGEFLEX_MODELS", "vit_small_cifar10/model.safetensors")
    data = path_of("EDGEFLEX_CIFAR10", "test.tar")
    return make(tmp_path_factory.mktemp("cifar"), "vit_small_patch14_dinov2", data, checkpoint, 70)


@pytest.mark.parametrize("precision", list(TOLERANCE))
@pytest.mark.parametrize("trained", ["digits", pytest.param("cifar", marks=pytest.mark.realdata)])
def test_the_page_answers_as_the_interpreter_does(
    trained: str,
    precision: str,
    web_bundle: Callable[[Path], Path],
    open_page: OpenPage,
    request: pytest.FixtureRequest,
) -> None:
    model: Trained = request.getfixturevalue(trained)
    output = model.outputs[precision]
    runner = FileRunner(output / MODEL_FILE, model.spec, threads=1)
    page = open_page(web_bundle(output))
    assert page.inner_text("#verdict") == "Self-test passed", page.inner_text("#reason")
    for image in model.images:
        choose(page, "image.png", png(image))
        expected = runner(model.rule.resize(image).numpy())
        difference = np.abs(logits(page) - expected).max() / np.abs(expected).max()
        assert difference <= TOLERANCE[precision]
        order = [model.labels[index] for index in np.argsort(-expected)]
        assert answers(page)[0] == order[0]
        if precision == "fp32":
            assert answers(page) == order[:5]
