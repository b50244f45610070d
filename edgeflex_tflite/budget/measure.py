"""What each single change to a block does to the logits: measured on the dense model, a few points for each kind.

Every number is a KL divergence between the dense model's logits and those with one block changed and nothing else. What
was not tried lies between what was as the error of the block's own output says. Changes are taken to add up.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import Sensitivity
from edgeflex_tflite.budget.curves import BlockCurve, divergence_curve, relative
from edgeflex_tflite.budget.dropped import droppable, dropped_costs
from edgeflex_tflite.budget.int4 import INT4_GROUPS, int4_costs, present
from edgeflex_tflite.budget.probe import Probe, Rest, with_attention, with_mlp
from edgeflex_tflite.models.edge import Block, EdgeViT
from edgeflex_tflite.models.tensors import frozen, twin
from edgeflex_tflite.profiling.blocks import (
    Progress,
    Tokens,
    advance,
    attention_inputs,
    logits_from,
    mlp_inputs,
    no_progress,
    subset,
)
from edgeflex_tflite.prune.attention import (
    can_truncate,
    context_moments,
    cut_heads,
    score_moments,
    truncate_keys,
    truncate_values,
)
from edgeflex_tflite.prune.compensate import error_curve, mean_square
from edgeflex_tflite.prune.cut import cut_mlp
from edgeflex_tflite.prune.heads import head_error_curve, head_order
from edgeflex_tflite.prune.query_key import score_error_curve
from edgeflex_tflite.prune.score import keep_order
from edgeflex_tflite.prune.statistics import HiddenMoments, Moments
from edgeflex_tflite.prune.value import value_error_curve
from edgeflex_tflite.quantize.rounding import round_weight
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.side_by_side import each

PROBE_RATIOS = (0.25, 0.5, 0.65, 0.8, 0.9, 0.97)
"""Shares of a block's neurons that are cut to see what the logits make of it."""
TINY = torch.finfo(torch.float64).tiny


@dataclasses.dataclass(frozen=True)
class BlockCosts:
    """KL divergence of the logits, in nats, for whatever may be done to one block.

    Attributes:
        mlp: for every number of neurons cut; None where they are not to be.
        sizes: `{name in BlockShape: {size: divergence}}` of the attention, dense sizes left out.
        int4: `{linears of the block: divergence}` when they are stored in INT4.
        dropped: `{attn or mlp: divergence}` when it is dropped, and the linear before takes over.
    """

    mlp: BlockCurve | None
    sizes: dict[str, dict[int, float]]
    int4: dict[tuple[str, ...], float]
    dropped: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Costs:
    """KL divergence of the logits for whatever may be done to a model.

    Attributes:
        blocks: of each block.
        int8: of each FP16 site outside the blocks, when it becomes INT8.
        sensitivities: all that was measured.
    """

    blocks: tuple[BlockCosts, ...]
    int8: dict[str, float]
    sensitivities: tuple[Sensitivity, ...] = ()

    def of(self, levers: Collection[str]) -> Costs:
        """Those of some levers alone."""
        names = {"key_dim": "qk", "value_dim": "v", "num_heads": "heads"}
        return dataclasses.replace(
            self,
            blocks=tuple(
                BlockCosts(
                    cost.mlp if "mlp" in levers else None,
                    {name: found for name, found in cost.sizes.items() if names[name] in levers},
                    cost.int4 if "int4" in levers else {},
                    cost.dropped if "branches" in levers else {},
                )
                for cost in self.blocks
            ),
            int8=self.int8 if "fp16" in levers else {},
        )


def measure_blocks(
    model: EdgeViT,
    tokens: Tokens,
    recipe: Recipe,
    levers: Collection[str],
    from_loss: Sequence[Tensor | None],
    progress: Progress = no_progress,
) -> Costs:
    """One pass over the dense model: the costs of every block.

    Args:
        model: dense, in evaluation mode.
        tokens: residual stream of the calibration images before the first block.
        recipe: gives score, compensation, the multiple that sizes are of, and the number of probe images.
        levers: what may be done, some of `recipe.LEVERS`.
        from_loss: scores that need labels, of each block, or None.

    Memory: for each thread, one block's second moments, `float64 [p, p]`, its tokens and those of the block before,
    beside the model.
    """
    expected = logits_from(model, 0, subset(tokens, recipe.probe_samples))

    def costs(index: int, entering: Tokens, before: Tokens) -> tuple[BlockCosts, list[Sensitivity]]:
        rest = Rest(model, index, subset(entering, recipe.probe_samples), Probe(expected))
        found = _block_costs(model.blocks[index], entering, recipe, levers, from_loss[index], rest)
        if "branches" in levers:
            found = dataclasses.replace(found, dropped=dropped_costs(entering, before, rest))
        return found, rest.probe.found

    def entering(tokens: Tokens) -> Iterator[tuple[int, Tokens, Tokens]]:
        before = tokens
        for index, block in enumerate(model.blocks):
            yield index, tokens, before
            before, tokens = tokens, advance(block, tokens)

    measured = each(lambda turn: costs(*turn), entering(tokens))
    found = list(progress(measured, "measure blocks", len(model.blocks)))
    return Costs(tuple(costs for costs, _ in found), {}, tuple(itertools.chain(*(probed for _, probed in found))))


def _block_costs(
    block: Block, tokens: Tokens, recipe: Recipe, levers: Collection[str], from_loss: Tensor | None, rest: Rest
) -> BlockCosts:
    hidden = context = None
    mlp, sizes = None, {}
    if "mlp" in levers or "int4" in levers:
        hidden = HiddenMoments(hidden for _, hidden in mlp_inputs(block, tokens))
    if {"v", "heads", "int4"} & set(levers):
        context = context_moments(block.attn, attention_inputs(block, tokens))
    if "mlp" in levers:
        assert hidden is not None
        mlp = _mlp_curve(block, hidden, recipe, from_loss, rest)
    if "qk" in levers and can_truncate(block.attn):
        sizes["key_dim"] = _key_costs(block, tokens, recipe.width_multiple, rest)
    if "v" in levers:
        sizes["value_dim"] = _value_costs(block, context, recipe.width_multiple, rest)
    if "heads" in levers:
        sizes["num_heads"] = _head_costs(block, context, rest)
    int4 = int4_costs(block, tokens, context, hidden, recipe.int4_block, rest) if "int4" in levers else {}
    return BlockCosts(mlp, sizes, int4)


def _mlp_curve(
    block: Block, moments: HiddenMoments, recipe: Recipe, from_loss: Tensor | None, rest: Rest
) -> BlockCurve:
    mlp = block.mlp
    order = keep_order(mlp, moments, recipe.prune_score, from_loss)
    error = error_curve(mlp.fc2.weight, moments, order, recipe.compensate)
    probes = {
        mlp.width - width: rest(
            with_mlp(block, cut_mlp(mlp, moments, order, width, recipe.compensate)), f"{width} neurons"
        )
        for width in probe_widths(mlp.width)
    }
    return BlockCurve(mlp.width, relative(error, mean_square(mlp.fc2, moments)), divergence_curve(error, probes))


def probe_widths(dense_width: int) -> list[int]:
    """Widths to try, each narrower than the dense one."""
    widths = {max(1, math.floor(dense_width * (1 - ratio))) for ratio in PROBE_RATIOS}
    return sorted(widths - {dense_width}, reverse=True)


def _key_costs(block: Block, tokens: Tokens, multiple: int, rest: Rest) -> dict[int, float]:
    moments = score_moments(block.attn, attention_inputs(block, tokens))
    sizes = _smaller(block.attn.key_dim, multiple)
    return _scaled(
        score_error_curve(moments),
        sizes,
        lambda size: rest(with_attention(block, truncate_keys(block.attn, moments, size)), f"{size} key channels"),
    )


def _value_costs(block: Block, moments: Moments | None, multiple: int, rest: Rest) -> dict[int, float]:
    assert moments is not None
    attn = block.attn
    error = value_error_curve(attn.proj.weight, moments, attn.num_heads, compensate=True)
    sizes = _smaller(attn.value_dim, multiple)
    return _scaled(
        error,
        sizes,
        lambda size: rest(with_attention(block, truncate_values(attn, moments, size, True)), f"{size} value channels"),
    )


def _head_costs(block: Block, moments: Moments | None, rest: Rest) -> dict[int, float]:
    assert moments is not None
    attn = block.attn
    order = head_order(attn.proj.weight, moments, attn.num_heads)
    error = head_error_curve(attn.proj.weight, moments, order, compensate=True)
    sizes = _smaller(attn.num_heads, 1)
    return _scaled(
        error,
        sizes,
        lambda size: rest(with_attention(block, cut_heads(attn, moments, order, size, True)), f"{size} heads"),
    )


def _smaller(dense: int, multiple: int) -> list[int]:
    """Multiples below the dense size, the largest first."""
    return list(range((dense - 1) // multiple * multiple, 0, -multiple))


def _scaled(error: Tensor, sizes: list[int], measure: Callable[[int], float]) -> dict[int, float]:
    """The divergence at every size: measured in the middle, and elsewhere in proportion to the error.

    Args:
        error: for every number of channels or heads cut.
        sizes: the largest first.
        measure: the divergence at a size.
    """
    if not sizes:
        return {}
    dense, middle = len(error) - 1, sizes[len(sizes) // 2]
    factor = measure(middle) / max(error[dense - middle].item(), TINY)
    return {size: factor * error[dense - size].item() for size in sizes}


@torch.inference_mode()
def measure_int8(model: EdgeViT, batches: Iterable[Tensor], sites: Iterable[str], images: int) -> list[Sensitivity]:
    """KL divergence of the logits when one site outside the blocks has INT8 weights, for each of `sites`.

    Args:
        model: dense.
        batches: normalized calibration images, `float32 [B, 3, H, W]` each.
        sites: the patch embedding, the head.
        images: how many of them to look at.
    """
    pixels = torch.cat(list(batches))[:images]
    probe = Probe(model(pixels))
    for site in sites:
        changed = twin(model)
        layer = changed.get_submodule(site)
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        layer.weight = frozen(round_weight(layer.weight.flatten(1)).view_as(layer.weight))
        probe(changed(pixels), None, site)
    return probe.found


def nothing_measured(block: Block, index: int, levers: Collection[str], multiple: int) -> BlockCosts:
    """What may be done to block number `index`, at no cost: for what is the least that it can be made to take."""
    sizes = {
        "key_dim": _smaller(block.attn.key_dim, multiple) if "qk" in levers and can_truncate(block.attn) else [],
        "value_dim": _smaller(block.attn.value_dim, multiple) if "v" in levers else [],
        "num_heads": _smaller(block.attn.num_heads, 1) if "heads" in levers else [],
    }
    free = torch.zeros(block.mlp.width + 1, dtype=torch.float64)
    return BlockCosts(
        BlockCurve(block.mlp.width, free, free) if "mlp" in levers else None,
        {name: dict.fromkeys(found, 0.0) for name, found in sizes.items()},
        {present(block, group): 0.0 for group in INT4_GROUPS} if "int4" in levers else {},
        dict.fromkeys(droppable(index), 0.0) if "branches" in levers else {},
    )
