"""The pass that cuts: every block to the shape that was planned for it."""

from __future__ import annotations

import dataclasses

from torch import Tensor

from edgeflex_tflite.artifacts import BlockCut, PrunePlan
from edgeflex_tflite.models.edge import Block, EdgeViT
from edgeflex_tflite.models.tensors import twin
from edgeflex_tflite.profiling.blocks import Progress, Tokens, no_progress
from edgeflex_tflite.prune.attention import cut_contexts, cut_keys
from edgeflex_tflite.prune.compensate import output_errors
from edgeflex_tflite.prune.cut import cut_mlp, whole_shape, without_dropped
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.prune.score import keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.kept import KeptBlocks
from edgeflex_tflite.recover.refit import correct_biases_, refit_, refitted
from edgeflex_tflite.recover.walk import Stage, walk


def prune(
    model: EdgeViT,
    tokens: Tokens,
    plan: PrunePlan,
    recipe: Recipe,
    progress: Progress = no_progress,
    labels: Tensor | None = None,
    kept: KeptBlocks[BlockCut] | None = None,
) -> tuple[EdgeViT, PrunePlan]:
    """Cut every block to its planned width, front to back, on the outputs of the already cut blocks.

    With `recipe.refit`, every linear behind the first cut is also fitted to what the dense model answers, as is what is
    left of every fc2 that is cut. The linear that writes last before a dropped branch is fitted to what both did;
    without `recipe.refit`, its bias takes over the mean, unless `recipe.compensate` is `none`. Scores that need
    `labels` are those of the dense model. `kept` are blocks that a run before has cut.

    Returns:
        A new model, and the plan with each block's measured errors filled in.
    """
    pairs = zip(model.blocks, plan.shapes, strict=True)
    smaller = twin(model.with_blocks(without_dropped(block, whole_shape(block, shape)) for block, shape in pairs))
    kept = kept or KeptBlocks(None, BlockCut)
    cuts = list(plan.cuts)
    from_loss = loss_scores(model, tokens, labels, recipe.prune_score)

    def begun(stage: Stage) -> bool:
        """Whether the stage has to make up for anything that was cut so far."""
        blocks = smaller.blocks if stage.index is None else smaller.blocks[: stage.index + 1]
        pairs = zip(blocks, model.blocks, strict=False)
        return stage.before_dropped or any(block.shape != dense.shape for block, dense in pairs)

    def treat(stage: Stage) -> None:
        cut = None if stage.index is None else cuts[stage.index]
        narrower = cut is not None and cut.width < cut.dense_width and stage.paths == ("mlp.fc2",)
        if recipe.refit:
            if begun(stage) and not narrower:
                refit_(stage)
        elif stage.before_dropped and recipe.compensate != "none":
            correct_biases_(stage)
        if cut is None or stage.index is None:
            return
        shape = cut.shape
        if shape is not None and stage.paths == ("attn.q", "attn.k", "attn.v"):
            inputs = ((x, x) for x, _ in stage.batches())
            stage.block.attn = cut_keys(stage.block.attn, inputs, shape.key_dim)
        elif shape is not None and stage.paths == ("attn.proj",):
            stage.block.attn = cut_contexts(stage.block.attn, stage.regression.inputs, shape)
        elif narrower:
            cuts[stage.index] = _cut_mlp_(stage, cut, recipe, from_loss[stage.index])

    def restore(index: int) -> Block | None:
        found = kept.restore(index, smaller.blocks[index])
        if found is None:
            return None
        block, cuts[index] = found
        return block

    def finished(index: int) -> None:
        smaller.blocks[index] = kept.keep(index, smaller.blocks[index], cuts[index])

    fits = recipe.refit or any(plan.dropped)
    walk(model, smaller, tokens, treat, progress, "prune blocks", recipe.read_weight, restore, finished, compare=fits)
    return smaller, dataclasses.replace(plan, cuts=tuple(cuts))


def _cut_mlp_(stage: Stage, cut: BlockCut, recipe: Recipe, from_loss: Tensor | None) -> BlockCut:
    mlp, moments = stage.block.mlp, stage.regression.inputs
    assert isinstance(moments, HiddenMoments)
    order = keep_order(mlp, moments, recipe.prune_score, from_loss, mlp.width - cut.width)
    alone = cut_mlp(mlp, moments, order, cut.width, "none")
    chosen = stage.block.mlp = cut_mlp(mlp, moments, order, cut.width, recipe.compensate)
    kept, lost = order[: cut.width].sort().values, order[cut.width :]
    error_cut_alone, error = output_errors(mlp.fc2, (alone.fc2, chosen.fc2), kept, lost, moments)
    if recipe.refit:
        chosen.fc2 = refitted(stage.regression.of(kept), chosen.fc2)
    return dataclasses.replace(cut, error_cut_alone=error_cut_alone, error=error)
