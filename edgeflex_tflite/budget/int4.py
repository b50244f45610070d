"""What INT4 weights cost: linears of a block that become INT4 together, and what the logits make of it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from edgeflex_tflite.artifacts import Dtype, grid_of
from edgeflex_tflite.budget.probe import Rest
from edgeflex_tflite.models.edge import Block
from edgeflex_tflite.models.tensors import linear, twin
from edgeflex_tflite.profiling.blocks import Tokens
from edgeflex_tflite.prune.statistics import HiddenMoments, Moments
from edgeflex_tflite.quantize.gptq import Curvature, gptq

INT4_NAMES = {
    ("attn.q", "attn.k", "attn.v"): "qkv",
    ("attn.proj",): "proj",
    ("mlp.fc1", "mlp.gate"): "fc1",
    ("mlp.fc2",): "fc2",
}
INT4_GROUPS = tuple(INT4_NAMES)
"""Linears of a block that become INT4 together."""


def int4_costs(
    block: Block, tokens: Tokens, context: Moments | None, hidden: Moments | None, int4_block: int, rest: Rest
) -> dict[tuple[str, ...], float]:
    """KL divergence of the logits, in nats, when a group of the block's linears has INT4 weights, for each group.

    Args:
        block: dense.
        tokens: what enters it.
        context, hidden: moments of what proj and fc2 read.
        int4_block: as in the recipe.
        rest: asks the rest of the model.
    """
    halfway = [block.after_attention(x) for x in tokens]
    read = {
        "attn.q": HiddenMoments(block.norm1(x) for x in tokens),
        "attn.proj": context,
        "mlp.fc1": HiddenMoments(block.norm2(x) for x in halfway),
        "mlp.fc2": hidden,
    }
    costs = {}
    for group in INT4_GROUPS:
        paths = present(block, group)
        moments = read[paths[0]]
        assert moments is not None
        changed, curvature = twin(block), Curvature.of(moments.covariance)
        for path in paths:
            changed.set_submodule(path, _in_int4(block.get_submodule(path), moments, curvature, int4_block))
        costs[paths] = rest(changed, f"{INT4_NAMES[group]} INT4")
    return costs


def _in_int4(dense: nn.Module, moments: Moments, curvature: Curvature, int4_block: int) -> nn.Linear:
    assert isinstance(dense, nn.Linear)
    weight = dense.weight.double()
    rounded = gptq(weight, curvature, *grid_of(Dtype.INT4, dense.in_features, int4_block))
    return linear(rounded, dense.bias.double() + (weight - rounded) @ moments.mean)


def present(block: Block, group: Iterable[str]) -> tuple[str, ...]:
    """The linears of a group that a block has: not every MLP is gated."""
    return tuple(path for path in group if path != "mlp.gate" or block.mlp.gate is not None)
