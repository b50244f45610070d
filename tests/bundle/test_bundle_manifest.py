"""A run is the same run only if everything that can change its file is the same."""

from __future__ import annotations

from pathlib import Path

import torch

from edgeflex_tflite import serialize
from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.bundle.manifest import PACKAGES, versions
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.prune.cut import resize_mlp, with_widths
from tests.conftest import random_vit


def test_every_package_that_makes_bytes_has_a_version() -> None:
    assert set(PACKAGES) < set(versions())
    assert versions()["python"].startswith("3.")


def test_weights_hash_sees_values_names_and_shapes() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([[3.0]])}
    same = {"b": torch.tensor([[3.0]]).half(), "a": torch.tensor([1.0, 2.0])}
    assert serialize.sha256_of_weights(state) == serialize.sha256_of_weights(same)
    others = [
        {**state, "a": torch.tensor([1.0, 2.5])},
        {**state, "b": torch.tensor([3.0])},
        {"a": state["a"], "c": state["b"]},
    ]
    hashes = {serialize.sha256_of_weights(other) for other in [state, *others]}
    assert len(hashes) == 4


def test_models_of_other_widths_come_back_as_they_were(tmp_path: Path) -> None:
    dense = to_edge_form(random_vit())
    narrow = to_edge_form(random_vit(seed=1))
    narrow.blocks[1].mlp = resize_mlp(narrow.blocks[1].mlp, 32)
    serialize.write_model(tmp_path / "model.safetensors", narrow)
    read = serialize.read_model(tmp_path / "model.safetensors", dense)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(read(images), narrow(images))
    assert dense.blocks[1].mlp.width == 192
    assert not list(tmp_path.glob("*.tmp"))


def test_models_of_other_shapes_come_back_as_they_were(tmp_path: Path) -> None:
    """Also where the tensors of two heads of 8 channels are as large as those of one of 16."""
    dense = to_edge_form(random_vit())
    shapes = [BlockShape(192, 2, 8, 16), BlockShape(32, 1, 16, 16), BlockShape(192, 3, 16, 16)]
    small = with_widths(to_edge_form(random_vit(seed=1)), shapes)
    serialize.write_model(tmp_path / "model.safetensors", small)
    read = serialize.read_model(tmp_path / "model.safetensors", dense)
    images = torch.randn(2, 3, 32, 32)
    assert [block.shape for block in read.blocks] == shapes
    assert torch.equal(read(images), small(images))
    assert not any(parameter.requires_grad for parameter in read.parameters())
    before = (tmp_path / "model.safetensors").read_bytes()
    serialize.write_model(tmp_path / "model.safetensors", read)
    assert (tmp_path / "model.safetensors").read_bytes() == before
