"""The edge form's own promises: any leading dimensions, and a last block that computes only what the head reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from tests.conftest import random_vit


def edge_vit(name: str, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"img_size": 24, "embed_dim": 24, "depth": 2} | options)))


POOLED = [
    ("vit_tiny_patch16_224", {}, 10, 1),
    ("vit_small_patch14_reg4_dinov2", {}, 14, 1),
    ("vit_medium_patch16_reg4_gap_256", {}, 13, 9),
    ("vit_medium_patch16_gap_240", {}, 9, 9),
    ("vit_base_patch16_siglip_224", {}, 9, 9),
    ("vit_tiny_patch16_224", {"global_pool": "map"}, 10, 9),
    ("vit_tiny_patch16_224", {"global_pool": "avg", "pool_include_prefix": True}, 10, 10),
]


@pytest.mark.parametrize(("name", "options", "tokens", "read"), POOLED)
@torch.no_grad()
def test_last_block_computes_what_the_head_reads(name: str, options: dict[str, Any], tokens: int, read: int) -> None:
    edge = edge_vit(name, **options)
    x = edge.embed(torch.randn(2, 3, 24, 24))
    assert edge.num_tokens == x.shape[1] == tokens
    seen: list[tuple[int, ...]] = []
    edge.blocks[-1].mlp.fc2.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape)))
    transformed = edge.transform(x)
    assert seen == [(2, read, 24)] and transformed.shape == (2, read, 24)
    for block in edge.blocks:
        x = block(x)
    torch.testing.assert_close(transformed, x[:, edge.reads], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [row[:2] for row in POOLED])
@torch.no_grad()
def test_one_image_without_batch_dimension(name: str, options: dict[str, Any]) -> None:
    edge = edge_vit(name, **options)
    images = torch.randn(3, 3, 24, 24)
    expected = edge(images)
    for image, logits in zip(images, expected, strict=True):
        patches = edge.patch_embed(image[None])[0].permute(1, 2, 0).flatten(0, 1)
        x = edge.assemble(patches, edge.prefix)
        assert x.shape == (edge.num_tokens, 24)
        torch.testing.assert_close(edge.classify(edge.transform(x)), logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_activations_keep_to_rank_three_for_one_image() -> None:
    edge = edge_vit("vit_base_patch16_siglip_224", qk_norm=True)
    ranks: dict[str, int] = {}

    def watch(name: str) -> Any:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            ranks[name] = output.dim()

        return hook

    for name, module in edge.named_modules():
        module.register_forward_hook(watch(name))
    edge.classify(edge.transform(edge.assemble(torch.randn(9, 24), edge.prefix)))
    assert ranks["blocks.0.attn.softmax"] == 3 and ranks["blocks.0.mlp.fc1"] == 2
    assert max(ranks.values()) == 3


def test_mlp_width_counts_hidden_neurons_once() -> None:
    """A packed SwiGLU's fc1 has twice as many outputs in timm."""
    edge = edge_vit("vit_giant_patch14_dinov2", mlp_ratio=4)
    mlp = edge.blocks[0].mlp
    assert mlp.gate is not None
    assert mlp.width == mlp.fc1.out_features == mlp.gate.out_features == 48
