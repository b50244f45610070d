"""Surgery: an MLP with fewer hidden neurons, as a new module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import Mlp
from edgeflex_tflite.prune.compensate import compensation
from edgeflex_tflite.prune.statistics import HiddenMoments


def cut_mlp(mlp: Mlp, moments: HiddenMoments, order: Tensor, width: int, compensate: str) -> Mlp:
    """Keep the first `width` neurons of `order`.

    Args:
        mlp: it is not changed.
        moments: of its hidden activations.
        order: neurons from the most to the least important.
        width: how many to keep.
        compensate: `ridge` (the kept ones take over what the others did), `bias` (it takes over their mean, FLAP,
            arXiv 2312.11983) or `none`.

    Returns:
        An MLP whose linears really are smaller; kept neurons stay in their old order.
    """
    kept, cut = order[:width].sort().values, order[width:].sort().values
    W2, bias = mlp.fc2.weight.double(), mlp.fc2.bias.double()
    smaller = W2[:, kept]
    if compensate == "ridge" and len(cut):
        B, c = compensation(moments, kept, cut)
        smaller = smaller + W2[:, cut] @ B
        bias = bias + W2[:, cut] @ c
    elif compensate == "bias":
        bias = bias + W2[:, cut] @ moments.mean[cut]
    gate = _linear(mlp.gate.weight[kept], mlp.gate.bias[kept]) if mlp.gate is not None else None
    return Mlp(_linear(mlp.fc1.weight[kept], mlp.fc1.bias[kept]), mlp.act, _linear(smaller, bias), gate)


def resize_mlp(mlp: Mlp, width: int) -> Mlp:
    """An MLP of the given width with the first neurons' weights: the right shapes to load saved weights into."""
    gate = _linear(mlp.gate.weight[:width], mlp.gate.bias[:width]) if mlp.gate is not None else None
    fc1 = _linear(mlp.fc1.weight[:width], mlp.fc1.bias[:width])
    return Mlp(fc1, mlp.act, _linear(mlp.fc2.weight[:, :width], mlp.fc2.bias), gate)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear.requires_grad_(False)
