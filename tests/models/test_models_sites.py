"""Sites are what recipes, plans and reports name, so their names are part of the interface."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeflex_tflite.models.edge import Block, EdgeViT, Norm
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from tests.conftest import random_vit

NAMES = [
    "vit_tiny_patch16_224",
    "vit_giant_patch14_dinov2",
    "vit_base_patch16_siglip_224",
    "vit_base_patch32_clip_224",
]


def edge_vit(name: str) -> EdgeViT:
    return to_edge_form(random_vit(name, depth=2))


def test_names_of_weight_sites() -> None:
    block = ["attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.fc2"]
    expected = ["patch_embed", *(f"blocks.{index}.{name}" for index in range(2) for name in block), "head"]
    assert list(weight_sites(edge_vit("vit_tiny_patch16_224"))) == expected


def test_names_of_compute_sites() -> None:
    block = ["", ".norm1", ".attn", ".attn.softmax", ".norm2", ".mlp", ".mlp.act"]
    expected = ["model", *(f"blocks.{index}{name}" for index in range(2) for name in block), "norm"]
    assert list(compute_sites(edge_vit("vit_tiny_patch16_224"))) == expected


@pytest.mark.parametrize(
    ("name", "site"),
    [
        ("vit_giant_patch14_dinov2", "blocks.1.mlp.gate"),
        ("vit_base_patch16_siglip_224", "attention_pool.attn.k"),
        ("vit_base_patch16_siglip_224", "attention_pool.mlp.fc2"),
    ],
)
def test_weight_sites_of_other_parts(name: str, site: str) -> None:
    assert site in weight_sites(edge_vit(name))


@pytest.mark.parametrize("name", NAMES)
def test_every_module_is_one_site_or_none(name: str) -> None:
    edge = edge_vit(name)
    weights, compute = weight_sites(edge), compute_sites(edge)
    assert not set(weights) & set(compute)
    assert all(isinstance(module, (nn.Linear, nn.Conv2d)) for module in weights.values())
    assert compute["model"] is edge
    found = {id(module) for module in [*weights.values(), *compute.values()]}
    left_out = {type(module) for module in edge.modules() if id(module) not in found}
    assert all(issubclass(kind, (nn.Identity, nn.ModuleList)) for kind in left_out)


@pytest.mark.parametrize("name", NAMES)
def test_every_matrix_belongs_to_a_weight_site(name: str) -> None:
    """What is left is vectors, tokens and positions."""
    edge = edge_vit(name)
    left = {name for name, _ in edge.named_parameters() if name.rpartition(".")[0] not in weight_sites(edge)}
    tokens = {"prefix", "position", "attention_pool.attn.q.weight"}
    norms = {name for name, module in edge.named_modules() if isinstance(module, Norm)}
    assert all(name.rpartition(".")[0] in norms for name in left - tokens)
    assert {"prefix", "position"} <= left


@torch.no_grad()
def test_sites_of_a_block_are_its_modules() -> None:
    edge = edge_vit("vit_tiny_patch16_224")
    assert isinstance(compute_sites(edge)["blocks.1"], Block)
    assert weight_sites(edge)["blocks.1.mlp.fc2"] is edge.blocks[1].mlp.fc2
