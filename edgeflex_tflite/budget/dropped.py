"""What dropping a whole attention or MLP does to the logits, when the linear before it takes over.

The last linear that writes to the residual stream before a branch, proj for the MLP of its block and fc2 of the block
before for an attention, is fitted to what both did, as it will be when the model is cut. So nothing of a dropped branch
is left in the file, and its mean output, which a bias can give, is not lost. Thousands of weights are fitted that way,
and what they make of the images that they were fitted to says little: the probe's images are not among these.
"""

from __future__ import annotations

import dataclasses

import torch

from edgeflex_tflite.budget.probe import Rest
from edgeflex_tflite.models.edge import Block
from edgeflex_tflite.models.tensors import twin
from edgeflex_tflite.profiling.blocks import Tokens, advance, beyond, mlp_inputs, subset
from edgeflex_tflite.prune.cut import without_dropped
from edgeflex_tflite.recover.refit import refit_
from edgeflex_tflite.recover.walk import Stage

DROPPED = {"attn": {"num_heads": 0, "key_dim": 0, "value_dim": 0}, "mlp": {"width": 0}}
"""Sizes of a block without its attention, or its MLP."""


def droppable(index: int) -> tuple[str, ...]:
    """The branches of block number `index` that have a linear before them to take over: all but the first attention."""
    return ("attn", "mlp") if index else ("mlp",)


@torch.inference_mode()
def dropped_costs(tokens: Tokens, before: Tokens, rest: Rest) -> dict[str, float]:
    """KL divergence of the logits, in nats, when a branch of the block is dropped, for each that is `droppable`.

    Args:
        tokens: what enters the block, of the probe's images and then of others.
        before: what enters the block before it.
        rest: asks the rest of the model about the probe's images.
    """
    images = sum(map(len, rest.tokens))
    block, probed = rest.model.blocks[rest.index], subset(before, images)
    tokens, before = beyond(tokens, images), beyond(before, images)
    half = [block.after_attention(x) for x in tokens]
    costs = {}
    if "attn" in droppable(rest.index):
        previous = _answering(rest.model.blocks[rest.index - 1], before, half)
        without = without_dropped(block, dataclasses.replace(block.shape, **DROPPED["attn"]))
        costs["attn"] = dataclasses.replace(rest, tokens=advance(previous, probed))(without, "no attention")
    without = twin(without_dropped(block, dataclasses.replace(block.shape, **DROPPED["mlp"])))
    contexts = [block.context(x) for x in tokens]
    wanted = [block.after_mlp(y) - x for x, y in zip(tokens, half, strict=True)]
    refit_(Stage(without, None, ("attn.proj",), lambda i: (contexts[i], wanted[i]), len(wanted)))
    return costs | {"mlp": rest(without, "no MLP")}


def _answering(block: Block, tokens: Tokens, goal: Tokens) -> Block:
    """The block with an fc2 that brings the residual stream to `goal`."""
    changed = twin(block)
    batches = [(hidden, wanted - x) for (x, hidden), wanted in zip(mlp_inputs(block, tokens), goal, strict=True)]
    refit_(Stage(changed, None, ("mlp.fc2",), batches.__getitem__, len(batches)))
    return changed
