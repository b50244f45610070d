"""Walking block by block computes what the model computes in one go."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import advance, embed, logits_from, mlp_inputs, no_progress, subset
from tests.conftest import random_vit

ARCHITECTURES = [
    ("vit_tiny_patch16_224", {"depth": 3}),
    ("vit_tiny_patch16_224", {"depth": 1}),
    ("vit_giant_patch14_dinov2", {"depth": 2}),
    ("vit_medium_patch16_reg4_gap_256", {"depth": 2}),
    ("vit_base_patch16_siglip_224", {"depth": 2}),
]


def edge_vit(name: str, options: dict[str, Any]) -> EdgeViT:
    return to_edge_form(random_vit(name, **options))


def batches() -> list[Tensor]:
    return list(torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2)).split(2))


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_logits_from_any_block(name: str, options: dict[str, Any]) -> None:
    edge = edge_vit(name, options)
    with torch.no_grad():
        expected = edge(torch.cat(batches()))
    tokens = embed(edge, batches())
    for first, block in enumerate(edge.blocks):
        torch.testing.assert_close(logits_from(edge, first, tokens), expected, rtol=1e-5, atol=1e-5)
        tokens = advance(block, tokens)
    torch.testing.assert_close(logits_from(edge, len(edge.blocks), tokens), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_mlp_inputs_complete_the_block(name: str, options: dict[str, Any]) -> None:
    edge = edge_vit(name, options)
    tokens, block = embed(edge, batches()), edge.blocks[0]
    for (x, hidden), expected in zip(mlp_inputs(block, tokens), advance(block, tokens), strict=True):
        assert hidden.shape[-1] == block.mlp.width
        torch.testing.assert_close(x + block.mlp.fc2(hidden), expected, rtol=1e-5, atol=1e-5)


def test_inference_mode_stays_inside() -> None:
    edge = edge_vit(*ARCHITECTURES[0])
    inputs = mlp_inputs(edge.blocks[0], embed(edge, batches()))
    next(inputs)
    assert not torch.is_inference_mode_enabled()


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), images=st.integers(0, 20))
def test_subset_is_the_first_images(sizes: list[int], images: int) -> None:
    everything = torch.arange(sum(sizes)).float()[:, None, None].expand(-1, 2, 3)
    kept = subset(list(everything.split(sizes)), images)
    found = torch.cat(kept) if kept else everything[:0]
    assert torch.equal(found, everything[:images])
    assert all(len(batch) for batch in kept)


def test_no_progress_passes_everything_on() -> None:
    items = [1, 2]
    assert no_progress(items, "caption") is items
