"""Every rewrite is exact, can be left out by itself, and saves what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.rewrites import ALL, FLAT, REWRITES
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for
from tests.lower.test_export import torch_logits

DEPTH = 2
Images = list[NDArray[np.uint8]]
Exported = Callable[[str], Path]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return random_vit(depth=DEPTH)


@pytest.fixture(scope="module")
def without(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The file with one rewrite left out, made once; "" leaves none out."""
    folder = tmp_path_factory.mktemp("without")

    def path(name: str) -> Path:
        file = folder / f"{name}.tflite"
        if not file.exists():
            export_float(to_edge_form(model, ALL - {name}), SPEC, file)
        return file

    return path


def logits(file: Path, images: Images) -> NDArray[np.float32]:
    runner = FileRunner(file, SPEC, threads=1)
    return np.stack([runner(image) for image in images])


def counts(file: Path) -> Counter[str]:
    return Counter(name for name, _ in flatbuffer.operators(flatbuffer.read(file)))


@pytest.mark.parametrize("name", ["", *REWRITES])
def test_every_rewrite_is_exact(name: str, model: nn.Module, without: Exported, images: Images) -> None:
    expected = torch_logits(model, images)
    assert np.abs(logits(without(name), images) - expected).max() <= 1e-5 * np.abs(expected).max()


NORMS = 2 * DEPTH + 1


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("shift", {"ADD": 2 * DEPTH, "MUL": 2 * DEPTH}),
        ("scale", {"MUL": 2 * DEPTH}),
        ("centre", {"MEAN": NORMS, "SUB": NORMS}),
        ("keep_dims", {"RESHAPE": NORMS - 2}),
        ("squares", {"MUL": NORMS, "ADD": NORMS, "SQUARED_DIFFERENCE": -NORMS}),
        ("flat", {"RESHAPE": DEPTH}),
    ],
)
def test_every_rewrite_saves_operators(name: str, more: dict[str, int], without: Exported) -> None:
    """A shift that stays holds the scale back. A norm of one token has its dimension already."""
    found = counts(without(name))
    found.subtract(counts(without("")))
    assert {operator: count for operator, count in found.items() if count} == more


def test_the_whole_last_block_is_computed_where_that_is_asked_for(without: Exported) -> None:
    def rows(file: Path) -> set[int]:
        content = flatbuffer.read(file)
        outputs = [content.subgraphs[0].tensors[operator.outputs[0]] for _, operator in flatbuffer.operators(content)]
        site = f"blocks.{DEPTH - 1}.mlp.fc1;"
        return {int(np.prod(tensor.shape[:-1])) for tensor in outputs if tensor.name.decode().startswith(site)}

    assert rows(without("last_block")) == {17}
    assert rows(without("")) == {1}


@pytest.mark.parametrize("precision", ["mixed", "int8_dynamic", "int8_static"])
def test_joining_heads_in_proj_changes_no_bit_of_a_quantized_file(
    precision: str, model: nn.Module, without: Exported, images: Images, tmp_path: Path
) -> None:
    """Activations that are quantized for each token still are, though a token lies in several rows."""
    plan = plan_for(to_edge_form(model), precision)
    inputs = [image.transpose(1, 2, 0)[None].astype(np.float32) for image in images]
    for name in ("", FLAT):
        quantize_file(without(name), tmp_path / f"quantized{name}.tflite", plan, inputs, threads=1)
    joined, reshaped = (logits(tmp_path / f"quantized{name}.tflite", images) for name in ("", FLAT))
    np.testing.assert_array_equal(joined, reshaped)
    assert np.abs(joined - logits(without(""), images)).max() > 0


def test_squares_with_an_epsilon_that_matters(tmp_path: Path, images: Images) -> None:
    """All patches nearly the same and no positions: variances come down to what epsilon is."""
    model = random_vit(pos_embed="none", class_token=False, global_pool="avg")
    with torch.no_grad():
        model.patch_embed.proj.weight.mul_(1e-5)
        model.patch_embed.proj.bias.copy_(1e-3 * torch.randn(48, generator=torch.Generator().manual_seed(0)))
    export_float(to_edge_form(model, ALL), SPEC, tmp_path / "file.tflite")
    expected = torch_logits(model, images)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 0.0
    no_epsilon = torch_logits(model, images)
    bound = 1e-4 * np.abs(expected).max()
    assert np.abs(logits(tmp_path / "file.tflite", images) - expected).max() <= bound
    assert np.abs(no_epsilon - expected).max() > 10 * bound, "or else epsilon would not matter"


def test_integers_between_the_linears_keep_their_operators(integer_form_file: Path) -> None:
    found = counts(integer_form_file)
    assert found["SQUARED_DIFFERENCE"] == 0
    assert found["RESHAPE"] == 4 * 3 + 1, "three blocks, each of which makes heads of Q, K and V and joins them"
