"""The fewest pieces with which a file keeps to an arena budget, found by planning the arena of each candidate."""

from __future__ import annotations

import dataclasses

from edgeflex_tflite.artifacts import WHOLE, Chunks, InputSpec, MemoryCost, PrecisionPlan
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.lower.predict import predict_memory
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.recipe import KILOBYTE

MARGIN = 0.03
"""Of the budget: TFLite's greedy placement of all blocks' pieces may waste a little more than that of a few blocks'."""
LARGEST_SPLIT = 64
"""Pieces of an MLP beyond which their number costs more than the hidden activations that are left."""


def fit_arena(
    model: EdgeViT, plan: PrecisionPlan, spec: InputSpec, budget_bytes: int, threads: int, whole: MemoryCost
) -> tuple[Chunks, MemoryCost]:
    """Split whatever sets the peak further, until the arena is within the budget.

    Args:
        model: dense.
        plan: precision of every site.
        spec: of the file's input.
        budget_bytes: for the arena.
        threads: of the interpreter that calibrates.
        whole: cost of the file with no block in pieces.

    Returns:
        The pieces, and the cost of the file that computes in them.

    Raises:
        UserError: no number of pieces is enough; says what the least is.
    """
    chunks, cost = WHOLE, whole
    least = cost.arena_bytes
    while cost.arena_bytes > budget_bytes * (1 if chunks == WHOLE else 1 - MARGIN):
        finer = finer_at(chunks, cost.peak_site, model)
        if finer == chunks:
            raise UserError(
                f"an arena of {budget_bytes / KILOBYTE:.0f} kB is impossible for this model: the least is "
                f"{-(-least // KILOBYTE)} kB, set by {cost.peak_op} of {cost.peak_site}, and without --arena_budget_kb "
                f"it is {-(-whole.arena_bytes // KILOBYTE)} kB"
            )
        chunks = finer
        _, cost = predict_memory(model, [block.shape for block in model.blocks], plan, spec, threads, chunks)
        least = min(least, cost.arena_bytes)
    return chunks, cost


def finer_at(chunks: Chunks, site: str, model: EdgeViT) -> Chunks:
    """More pieces of what a site belongs to, attention or MLP; of both where it is the stream between them."""
    _, _, inside = site.removeprefix("blocks.").partition(".")
    finer = chunks
    if not site.startswith("blocks."):
        return chunks
    if not inside.startswith(("mlp", "norm2")):
        finer = dataclasses.replace(finer, attention=_next_split(chunks.attention, model.blocks[0].attn.num_heads))
    if not inside.startswith(("attn", "norm1")):
        width = max(block.mlp.width for block in model.blocks)
        finer = dataclasses.replace(finer, mlp=min(2 * chunks.mlp, LARGEST_SPLIT, width))
    return finer


def _next_split(groups: int, heads: int) -> int:
    """The least number of groups that makes the largest of them smaller."""
    largest = -(-heads // groups)
    return groups if largest == 1 else -(-heads // (largest - 1))
