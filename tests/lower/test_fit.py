"""The arena budget decides the pieces."""

from __future__ import annotations

import pytest

from edgeflex_tflite.artifacts import WHOLE, Chunks
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.lower.fit import LARGEST_SPLIT, finer_at, fit_arena
from edgeflex_tflite.lower.predict import predict_memory
from edgeflex_tflite.models.edge import EdgeViT
from tests.lower.conftest import SPEC, plan_for


@pytest.mark.parametrize(
    ("chunks", "site", "expected"),
    [
        (WHOLE, "blocks.0.mlp.fc1", Chunks(1, 2)),
        (Chunks(2, 4), "blocks.2.mlp.act", Chunks(2, 8)),
        (Chunks(1, 4), "blocks.0.norm2", Chunks(1, 8)),
        (Chunks(1, 4), "blocks.0.attn.softmax", Chunks(2, 4)),
        (Chunks(2, 4), "blocks.0.norm1", Chunks(3, 4)),
        (Chunks(1, 1), "blocks.1", Chunks(2, 2)),
        (Chunks(3, 1), "blocks.1.attn", Chunks(3, 1)),
        (Chunks(1, LARGEST_SPLIT), "blocks.1.mlp.fc2", Chunks(1, LARGEST_SPLIT)),
        (Chunks(1, 1), "model", Chunks(1, 1)),
        (Chunks(1, 1), "", Chunks(1, 1)),
    ],
)
def test_what_is_split_further(edge: EdgeViT, chunks: Chunks, site: str, expected: Chunks) -> None:
    assert finer_at(chunks, site, edge) == expected


@pytest.mark.slow
def test_the_fewest_pieces_that_fit(edge: EdgeViT) -> None:
    plan = plan_for(edge, "fp32")
    shapes = [block.shape for block in edge.blocks]
    _, whole = predict_memory(edge, shapes, plan, SPEC, 1)
    assert fit_arena(edge, plan, SPEC, whole.arena_bytes, 1, whole) == (WHOLE, whole)
    chunks, cost = fit_arena(edge, plan, SPEC, whole.arena_bytes - 1, 1, whole)
    assert chunks != WHOLE
    assert cost.arena_bytes < whole.arena_bytes
    assert cost == predict_memory(edge, shapes, plan, SPEC, 1, chunks)[1]


@pytest.mark.slow
def test_an_impossible_budget_names_the_least(edge: EdgeViT) -> None:
    plan = plan_for(edge, "fp32")
    _, whole = predict_memory(edge, [block.shape for block in edge.blocks], plan, SPEC, 1)
    with pytest.raises(UserError, match=r"an arena of 1 kB is impossible for this model: the least is \d+ kB, set by"):
        fit_arena(edge, plan, SPEC, 1000, 1, whole)
