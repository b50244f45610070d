"""A graph that was lowered before and takes other weights is the file that lowering these gives, byte for byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from timm.layers import SwiGLU
from torch import nn

from edgeflex_tflite import chips
from edgeflex_tflite.artifacts import Chunks, InputSpec
from edgeflex_tflite.lower import export, template
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.template import Template, Templates
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.forms import form_for
from edgeflex_tflite.models.tensors import frozen
from edgeflex_tflite.models.translate import to_edge_form
from tests.conftest import random_vit
from tests.lower.conftest import SPEC

Lowered = Callable[..., bytes]


@pytest.fixture
def lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lowered:
    """The file of a model by graphs of this test alone."""
    monkeypatch.setattr(export, "_templates", Templates())

    def bytes_of(model: EdgeViT, spec: InputSpec = SPEC, *how: Any) -> bytes:
        path = tmp_path / "float.tflite"
        export_float(model, spec, path, *how)
        return path.read_bytes()

    return bytes_of


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that were traced and lowered."""
    seen, convert = [], export._convert

    def watched(module: nn.Module, path: Path) -> Any:
        seen.append(module)
        return convert(module, path)

    monkeypatch.setattr(export, "_convert", watched)
    return seen


def edge_vit(seed: int, name: str = "vit_tiny_patch16_224", **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, seed=seed, **({"depth": 2} | options)))


MODELS: list[tuple[str, dict[str, Any]]] = [
    ("vit_small_patch14_reg4_dinov2", {}),
    ("vit_base_patch32_clip_quickgelu_224", {}),
    ("vit_base_patch16_siglip_224", {}),
    ("vit_tiny_patch16_224", {"mlp_layer": SwiGLU}),
    ("vit_tiny_patch16_224", {"qk_norm": True}),
    ("vit_tiny_patch16_224", {"qkv_bias": False, "img_size": (16, 40)}),
]
WAYS: list[tuple[InputSpec, tuple[Any, ...]]] = [
    (SPEC, ()),
    (dataclasses.replace(SPEC, layout="nchw", range="normalized", batch=3), ()),
    (SPEC, (Chunks(attention=3, mlp=2),)),
    (SPEC, (Chunks(), 2)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), MODELS, ids=[f"{name} {[*options]}" for name, options in MODELS])
def test_families(name: str, options: dict[str, Any], lowered: Lowered, conversions: list[nn.Module]) -> None:
    first, second = (edge_vit(seed, name, **options) for seed in (0, 1))
    spec = dataclasses.replace(SPEC, height=first.img_size[0], width=first.img_size[1])
    check(first, second, lowered, conversions, spec)


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "how"), WAYS)
def test_ways_to_write(spec: InputSpec, how: tuple[Any, ...], lowered: Lowered, conversions: list[nn.Module]) -> None:
    check(edge_vit(0), edge_vit(1), lowered, conversions, spec, *how)


@pytest.mark.slow
def test_what_the_converter_computes_of_weights_is_lowered_anew(lowered: Lowered, conversions: list[nn.Module]) -> None:
    """For an Edge TPU, prefix and positions become one constant."""
    first, second = (form_for(chips.EDGETPU, edge_vit(seed, depth=1)) for seed in (0, 1))
    assert lowered(first) != lowered(second)
    assert len(conversions) == 2


def check(first: EdgeViT, second: EdgeViT, lowered: Lowered, conversions: list[nn.Module], *how: Any) -> None:
    """The second model's file by the first one's graph, and by a graph of its own; the first one's again."""
    before = lowered(first, *how)
    by_template = lowered(second, *how)
    assert len(conversions) == 1
    assert lowered(first, *how) == before != by_template
    export._templates = Templates()
    assert lowered(second, *how) == by_template
    assert len(conversions) == 2


def with_bias(model: EdgeViT, change: Callable[[torch.Tensor], torch.Tensor]) -> EdgeViT:
    model.blocks[1].mlp.fc2.bias = frozen(change(model.blocks[1].mlp.fc2.bias))
    return model


@pytest.mark.parametrize("change", [torch.zeros_like, torch.ones_like])
def test_weights_that_the_converter_could_leave_out_are_part_of_the_graph(
    change: Callable, lowered: Lowered, conversions: list[nn.Module]
) -> None:
    lowered(edge_vit(0))
    found = lowered(with_bias(edge_vit(1), change))
    assert len(conversions) == 2
    assert lowered(with_bias(edge_vit(1), change)) == found
    assert len(conversions) == 2


def test_equal_weights_are_stored_once(lowered: Lowered, conversions: list[nn.Module]) -> None:
    def tied(seed: int) -> EdgeViT:
        model = edge_vit(seed)
        return with_bias(model, lambda _: model.blocks[0].mlp.fc2.bias)

    lowered(edge_vit(0))
    assert len(lowered(tied(1))) < len(lowered(edge_vit(1)))
    assert len(conversions) == 2


@pytest.mark.parametrize(
    "other", [{"depth": 3}, {"num_heads": 2}, {"mlp_ratio": 3}, {"act_layer": nn.ReLU}, {"global_pool": "avg"}], ids=str
)
def test_another_graph(other: dict[str, Any]) -> None:
    """Also where all weights have the same shapes."""
    keys = {key_of(edge_vit(seed, **options)) for options in ({}, other) for seed in (0, 1)}
    assert len(keys) == 2


def test_another_epsilon() -> None:
    model = edge_vit(0)
    before = key_of(model)
    model.norm.eps *= 2
    assert key_of(model) != before


def key_of(model: nn.Module) -> bytes:
    return template._graph_key(model, dict(template._parameters(model)))


def weights(**values: list[float]) -> dict[str, Any]:
    return {name: torch.tensor(value).numpy() for name, value in values.items()}


def file_with(*buffers: list[float]) -> Any:
    content = schema.ModelT()
    content.buffers = [schema.BufferT()]
    for values in buffers:
        content.buffers.append(schema.BufferT())
        content.buffers[-1].data = torch.tensor(values).view(torch.uint8).numpy()
    return content


def test_a_weight_that_is_not_in_the_file_as_it_is() -> None:
    """The converter has computed something of it: other weights would not be found again."""
    assert Template.of(file_with([1, 2.0], [3, 4.0]), weights(a=[1, 2.0], b=[3, 5.0])) is None
    assert Template.of(file_with([1, 2.0], [3, 4.0]), weights(a=[1, 2.0], b=[3, 4.0])) is not None


def test_a_weight_that_is_in_the_file_twice() -> None:
    assert Template.of(file_with([1, 2.0], [1, 2.0]), weights(a=[1, 2.0])) is None


def test_constants_stay() -> None:
    content = file_with([1, 2.0], [3, 4.0])
    found = Template.of(content, weights(a=[3, 4.0])).filled(weights(a=[5, 6.0]))
    assert [bytes(buffer.data) for buffer in found.buffers[1:]] == [
        bytes(buffer.data) for buffer in file_with([1, 2.0], [5, 6.0]).buffers[1:]
    ]
    assert bytes(content.buffers[2].data) == bytes(file_with([3, 4.0]).buffers[1].data)


def test_a_function_is_no_part_of_what_is_known() -> None:
    """Another one may have its address by then."""

    class Applied(nn.Linear):
        def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
            super().__init__(2, 2)
            self.function = function

    templates, lowerings = Templates(), []
    for function in (torch.relu, torch.relu, torch.tanh):
        module = Applied(function)
        values = [parameter.flatten().tolist() for parameter in module.parameters()]
        templates.lowered(module, lambda values=values: lowerings.append(values) or file_with(*values))  # type: ignore
    assert len(lowerings) == 3


def test_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "KEPT", 2)
    templates, lowerings = Templates(), []

    def lower(inputs: int) -> None:
        torch.manual_seed(inputs)
        module = nn.Linear(inputs, 2)

        def made() -> Any:
            lowerings.append(inputs)
            return file_with(*(parameter.flatten().tolist() for parameter in module.parameters()))

        templates.lowered(module, made)

    for inputs in (3, 4, 3, 5, 3, 4):
        lower(inputs)
    assert lowerings == [3, 4, 5, 4]
