"""The edge form in the operators of a target that has not all of them.

An Edge TPU, whose compiler is older than GELU, takes no fully connected layer of several tokens and no constant beside
a computed tensor in a concatenation:

* every linear is written as a 1x1 convolution over tokens, with the same weights (`lower/deploy.py`);
* the prefix tokens are added to patches that are padded in front;
* `gelu(x)` is `x * sigmoid(1.702 x)`, which differs by up to 0.02. Everything else is exact.

What it has no operator for at all, products of two activations and softmax over several rows, stays as it is.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgeflex_tflite import chips
from edgeflex_tflite.models.edge import Block, EdgeViT, Mlp, NoMlp

SIGMOID_SCALE = 1.702
"""Of Hendrycks and Gimpel (arXiv 1606.08415), who propose the approximation."""


class SigmoidGelu(nn.Module):
    """GELU by a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(SIGMOID_SCALE * x)


def form_for(target: str, model: EdgeViT) -> EdgeViT:
    """The model in operators of the target; it is not changed itself."""
    if target != chips.EDGETPU:
        return model
    changed = model.with_blocks(_block(block) for block in model.blocks)
    if model.attention_pool is not None:
        changed.attention_pool = copy.copy(model.attention_pool)
        changed.attention_pool._modules = model.attention_pool._modules | {"mlp": _mlp(model.attention_pool.mlp)}
    changed.for_edgetpu = True
    return changed.eval()


def _block(block: Block) -> Block:
    return Block(block.norm1, block.attn, block.norm2, _mlp(block.mlp))


def _mlp(mlp: Mlp) -> Mlp:
    if isinstance(mlp, NoMlp):
        return mlp
    act = SigmoidGelu() if isinstance(mlp.act, nn.GELU) else mlp.act
    return Mlp(mlp.fc1, act, mlp.fc2, mlp.gate)
