"""The two passes of pruning: one that learns what each block's neurons are worth, one that cuts."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflex_tflite.artifacts import BlockCut, PrunePlan
from edgeflex_tflite.models.edge import Block, EdgeViT, Mlp
from edgeflex_tflite.profiling.blocks import Progress, Tokens, advance, logits_from, mlp_inputs, no_progress, subset
from edgeflex_tflite.prune.allocate import BlockCurve, divergence_curve, relative
from edgeflex_tflite.prune.compensate import error_curve
from edgeflex_tflite.prune.cut import cut_mlp
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.prune.refit import refit
from edgeflex_tflite.prune.score import keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments
from edgeflex_tflite.recipe import Recipe

PROBE_RATIOS = (0.25, 0.5, 0.7, 0.85, 0.95)
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
        curve = relative(curve, _mean_square(outputs))
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

    With `recipe.refit`, every MLP behind the first cut is also fitted to the dense model's stream. Scores that need
    `labels` are those of the dense model.

    Returns:
        A new model, and the plan with each block's measured errors filled in.
    """
    smaller = copy.deepcopy(model)
    cuts: list[BlockCut] = []
    dense_tokens = tokens
    from_loss = _loss_scores(model, tokens, recipe, labels)
    blocks = progress(smaller.blocks, "prune blocks")
    for dense, block, planned, scores in zip(model.blocks, blocks, plan.cuts, from_loss, strict=True):
        fits = recipe.refit and any(cut.width < cut.dense_width for cut in cuts)
        cut = planned.width < planned.dense_width
        if recipe.refit:
            dense_tokens = advance(dense, dense_tokens)
        if fits or cut:
            moments = HiddenMoments(hidden for _, hidden in mlp_inputs(block, tokens))
        if fits:
            _refit_(block, tokens, moments, dense_tokens)
        cuts.append(_cut_block_(block, tokens, moments, planned, recipe, scores) if cut else planned)
        tokens = advance(block, tokens)
    return smaller, dataclasses.replace(plan, cuts=tuple(cuts))


@torch.inference_mode()
def _refit_(block: Block, tokens: Tokens, moments: HiddenMoments, wanted: Tokens) -> None:
    """Fit the MLP's output to the dense model's stream after the block; its hidden activations stay as they are."""
    pairs = ((hidden, target - x) for (x, hidden), target in zip(mlp_inputs(block, tokens), wanted, strict=True))
    mlp = block.mlp
    block.mlp = Mlp(mlp.fc1, mlp.act, refit(mlp.fc2, moments, pairs), mlp.gate)


def _loss_scores(model: EdgeViT, tokens: Tokens, recipe: Recipe, labels: Tensor | None) -> Sequence[Tensor | None]:
    """For each block, the scores that need labels, where the recipe asks for such; otherwise None."""
    if not recipe.needs_labels:
        return [None] * len(model.blocks)
    assert labels is not None
    return loss_scores(model, tokens, labels, recipe.prune_score)


def _cut_block_(
    block: Block, tokens: Tokens, moments: HiddenMoments, cut: BlockCut, recipe: Recipe, from_loss: Tensor | None
) -> BlockCut:
    order = keep_order(block.mlp, moments, recipe.prune_score, from_loss)
    alone = cut_mlp(block.mlp, moments, order, cut.width, "none")
    chosen = cut_mlp(block.mlp, moments, order, cut.width, recipe.compensate)
    alone_error, error = _output_errors(block, [alone, chosen], tokens)
    block.mlp = chosen
    return dataclasses.replace(cut, error_cut_alone=alone_error, error=error)


@torch.inference_mode()
def _output_errors(block: Block, candidates: list[Mlp], tokens: Tokens) -> list[float]:
    """Mean squared error of the block's output with each candidate MLP, over the output's mean square."""
    errors, square = [0.0] * len(candidates), 0.0
    for x, hidden in mlp_inputs(block, tokens):
        output = block.mlp.fc2(hidden)
        square += (x + output).double().square().sum().item()
        for index, mlp in enumerate(candidates):
            errors[index] += (mlp(block.norm2(x)) - output).double().square().sum().item()
    return [error / square for error in errors]


def _mean_square(tokens: Tokens) -> float:
    """Mean over tokens of the squared norm over channels."""
    rows = sum(x.shape[0] * x.shape[1] for x in tokens)
    return sum(x.double().square().sum().item() for x in tokens) / rows


def _with_mlp(block: Block, mlp: Mlp) -> Block:
    return Block(block.norm1, block.attn, block.norm2, mlp)


def kl_divergence(expected: Tensor, actual: Tensor) -> float:
    """Mean KL(expected || actual) of two sets of logits `[images, num_classes]`, in nats."""
    p, q = F.log_softmax(expected.double(), dim=-1), F.log_softmax(actual.double(), dim=-1)
    return F.kl_div(q, p, log_target=True, reduction="batchmean").item()
