"""A run is the same run only if everything that can change its file is the same."""

from __future__ import annotations

from pathlib import Path

import torch

from edgeflex_tflite import serialize
from edgeflex_tflite.bundle.manifest import PACKAGES, versions
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.prune.cut import resize_mlp
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
