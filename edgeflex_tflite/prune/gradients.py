"""What the loss says about every hidden neuron: scores that need labels and gradients, kept as baselines.

Both are taken from the dense model, in one pass forward and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.profiling.blocks import Tokens

BATCH = 8
"""Images that are differentiated at once: the hidden activations of all blocks are held for so many."""


class LossMoments:
    """Sums over one block's hidden activations x and the derivatives g of each image's cross entropy, in float64.

    Attributes:
        images, rows: how many images, and tokens of them.
        products: sum over images of `(sum over tokens of g_j x_j)^2`, `[p]`.
        gradients, activations: sums over tokens of g_j^2 and of x_j^2, `[p]`.
    """

    def __init__(self, width: int) -> None:
        self.images = self.rows = 0
        self.products, self.gradients, self.activations = torch.zeros(3, width, dtype=torch.float64)

    def add(self, x: Tensor, g: Tensor) -> None:
        """Add a batch, both `[B, tokens, p]`."""
        x, g = x.double(), g.double()
        self.products += (g * x).sum(1).square().sum(0)
        self.gradients += g.square().sum((0, 1))
        self.activations += x.square().sum((0, 1))
        self.images += x.shape[0]
        self.rows += x.shape[0] * x.shape[1]


def taylor(moments: LossMoments) -> Tensor:
    """Mean over images of `(sum over tokens of g_j x_j)^2`: the square of what the loss changes by, to first order,
    without the neuron (Molchanov et al. 2019, arXiv 1906.10771, with a gate of 1 on it)."""
    return moments.products / moments.images


def hessian(moments: LossMoments) -> Tensor:
    """`E[g_j^2] E[x_j^2] / 2` over tokens: the second-order change of Optimal Brain Damage (LeCun et al. 1990), with
    the diagonal of the empirical Fisher matrix as curvature."""
    return moments.gradients / moments.rows * moments.activations / moments.rows / 2


LOSS_SCORES: dict[str, Callable[[LossMoments], Tensor]] = {"taylor": taylor, "hessian": hessian}


def loss_scores(model: EdgeViT, tokens: Tokens, labels: Tensor | None, score: str) -> Sequence[Tensor | None]:
    """Importance of every hidden neuron, `float64 [p]` a block; None for each block where the score needs no labels.

    Args:
        model: in evaluation mode.
        tokens: residual stream before the first block.
        labels: class of each image, `int64 [images]`; not read where the score needs none.
        score: a score of the recipe, with labels one of `LOSS_SCORES`.
    """
    if score not in LOSS_SCORES:
        return [None] * len(model.blocks)
    assert labels is not None
    moments = [LossMoments(block.mlp.width) for block in model.blocks]
    pieces = [piece for batch in tokens for piece in batch.split(BATCH)]
    wanted = labels.split([len(piece) for piece in pieces])
    for piece, classes in zip(pieces, wanted, strict=True):
        for found, (x, g) in zip(moments, _derivatives(model, piece, classes), strict=True):
            found.add(x, g)
    return [LOSS_SCORES[score](found) for found in moments]


def _derivatives(model: EdgeViT, x: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For each block, hidden activations and the derivatives of each image's loss, `[B, tokens, p]`.

    Of the last block, only the tokens that the head reads are there; the loss does not depend on the others.
    """
    hidden: list[Tensor] = []

    def watch(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden.append(inputs[0])

    hooks = [block.mlp.fc2.register_forward_pre_hook(watch) for block in model.blocks]
    try:
        with torch.enable_grad():
            logits = model.classify(model.transform(x.clone().requires_grad_()))
            gradients = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), hidden)
    finally:
        for hook in hooks:
            hook.remove()
    return zip((found.detach() for found in hidden), gradients, strict=True)
