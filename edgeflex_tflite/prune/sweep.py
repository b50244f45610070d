"""The two passes of pruning: one that learns what each block's neurons are worth, one that cuts."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from edgeflex_tflite.artifacts import BlockCut, PrunePlan
from edgeflex_tflite.models.edge import Block, EdgeViT, Mlp
from edgeflex_tflite.profiling.blocks import Progress, Tokens, advance, logits_from, mlp_inputs, no_progress, subset
from edgeflex_tflite.prune.allocate import BlockCurve, divergence_curve, relative
from edgeflex_tflite.prune.compensate import error_curve, mean_square, output_error
from edgeflex_tflite.prune.cut import cut_mlp
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.prune.score import keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.refit import refit_
from edgeflex_tflite.recover.regression import Regression
from edgeflex_tflite.recover.walk import walk

PROBE_RATIOS = (0.25, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99)
"""Shares of a block's neurons that are cut to see what the logits make of it."""


def measure_curves(
    model: EdgeViT,
    tokens: Tokens,
    recipe: Recipe,
    neuron_bytes: list[int],
    progress: Progress = no_progress,
    labels: Tensor | None = None,
) -> list[BlockCurve]:
    """One pass over the dense model: output error and divergence of the logits against neurons cut, for every block.

    Args:
        model: dense, in evaluation mode.
        tokens: residual stream of the calibration images before the first block.
        recipe: gives score, compensation and the number of probe images.
        neuron_bytes: bytes that one hidden neuron of each block takes in the file.
        labels: classes of the images, `int64 [images]`, for scores that ask for them.

    Memory: one block's second moments, `float64 [p, p]`, beside the model and the tokens.
    """
    expected = logits_from(model, 0, subset(tokens, recipe.probe_samples))
    from_loss = _loss_scores(model, tokens, recipe, labels)
    curves = []
    for index, block in enumerate(progress(model.blocks, "measure blocks")):
        moments = HiddenMoments(hidden for _, hidden in mlp_inputs(block, tokens))
        order = keep_order(block.mlp, moments, recipe.prune_score, from_loss[index])
        outputs = advance(block, tokens)
        curve = error_curve(block.mlp.fc2.weight, moments, order, recipe.compensate)
        curve = relative(curve, mean_square(block.mlp.fc2, moments))
        probes = {}
        for width in _probe_widths(block.mlp.width):
            probe = _with_mlp(block, cut_mlp(block.mlp, moments, order, width, recipe.compensate))
            actual = logits_from(model, index + 1, advance(probe, subset(tokens, recipe.probe_samples)))
            probes[block.mlp.width - width] = kl_divergence(expected, actual)
        divergence = divergence_curve(curve, probes)
        curves.append(BlockCurve(block.mlp.width, curve, divergence, neuron_bytes[index]))
        tokens = outputs
    return curves


def _probe_widths(dense_width: int) -> list[int]:
    """Widths to try, each narrower than the dense one."""
    widths = {max(1, math.floor(dense_width * (1 - ratio))) for ratio in PROBE_RATIOS}
    return sorted(widths - {dense_width}, reverse=True)


def prune(
    model: EdgeViT,
    tokens: Tokens,
    plan: PrunePlan,
    recipe: Recipe,
    progress: Progress = no_progress,
    labels: Tensor | None = None,
) -> tuple[EdgeViT, PrunePlan]:
    """Cut every block to its planned width, front to back, on the outputs of the already cut blocks.

    With `recipe.refit`, every linear behind the first cut is also fitted to what the dense model answers. Scores that
    need `labels` are those of the dense model.

    Returns:
        A new model, and the plan with each block's measured errors filled in.
    """
    smaller = copy.deepcopy(model)
    cuts = list(plan.cuts)
    is_cut = [cut.width < cut.dense_width for cut in cuts]
    from_loss = _loss_scores(model, tokens, recipe, labels)

    def treat(parent: nn.Module, index: int | None, paths: tuple[str, ...], regression: Regression) -> None:
        if recipe.refit and any(is_cut[:index]):
            refit_(parent, paths, regression)
        if index is not None and paths == ("mlp.fc2",) and is_cut[index]:
            assert isinstance(parent, Block)
            cuts[index] = _cut_block_(parent, regression.inputs, cuts[index], recipe, from_loss[index])

    walk(model, smaller, tokens, treat, progress, "prune blocks")
    return smaller, dataclasses.replace(plan, cuts=tuple(cuts))


def _loss_scores(model: EdgeViT, tokens: Tokens, recipe: Recipe, labels: Tensor | None) -> Sequence[Tensor | None]:
    """For each block, the scores that need labels, where the recipe asks for such; otherwise None."""
    if not recipe.needs_labels:
        return [None] * len(model.blocks)
    assert labels is not None
    return loss_scores(model, tokens, labels, recipe.prune_score)


def _cut_block_(
    block: Block, moments: HiddenMoments, cut: BlockCut, recipe: Recipe, from_loss: Tensor | None
) -> BlockCut:
    mlp = block.mlp
    order = keep_order(mlp, moments, recipe.prune_score, from_loss)
    alone = cut_mlp(mlp, moments, order, cut.width, "none")
    block.mlp = cut_mlp(mlp, moments, order, cut.width, recipe.compensate)
    kept = order[: cut.width].sort().values
    return dataclasses.replace(
        cut,
        error_cut_alone=output_error(mlp.fc2, alone.fc2, kept, moments),
        error=output_error(mlp.fc2, block.mlp.fc2, kept, moments),
    )


def _with_mlp(block: Block, mlp: Mlp) -> Block:
    return Block(block.norm1, block.attn, block.norm2, mlp)


def kl_divergence(expected: Tensor, actual: Tensor) -> float:
    """Mean KL(expected || actual) of two sets of logits `[images, num_classes]`, in nats."""
    p, q = F.log_softmax(expected.double(), dim=-1), F.log_softmax(actual.double(), dim=-1)
    return F.kl_div(q, p, log_target=True, reduction="batchmean").item()
