"""How much each hidden neuron matters; the lowest are cut first."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgeflex_tflite.models.edge import Mlp
from edgeflex_tflite.prune.compensate import ridge
from edgeflex_tflite.prune.obs import obs_order
from edgeflex_tflite.prune.statistics import HiddenMoments, plus_diagonal


def energy(mlp: Mlp, moments: HiddenMoments) -> Tensor:
    """`E[x_j^2] ||W2[:, j]||^2`: what the neuron adds to the squared output by itself."""
    return moments.second.diagonal() * mlp.fc2.weight.double().square().sum(0)


def flap(mlp: Mlp, moments: HiddenMoments) -> Tensor:
    """`Var(x_j) ||W2[:, j]||^2`: what is lost when the bias takes over the neuron's mean (FLAP, arXiv 2312.11983)."""
    return moments.covariance.diagonal() * mlp.fc2.weight.double().square().sum(0)


def mean_abs(_: Mlp, moments: HiddenMoments) -> Tensor:
    """`E|x_j|`, the score of EdgeFlex-Transformer (arXiv 2512.19741)."""
    return moments.mean_abs


def magnitude(mlp: Mlp, _: HiddenMoments) -> Tensor:
    """L2 norm of all weights that go into and out of the neuron."""
    square = mlp.fc1.weight.double().square().sum(1) + mlp.fc2.weight.double().square().sum(0)
    if mlp.gate is not None:
        square = square + mlp.gate.weight.double().square().sum(1)
    return square.sqrt()


SCORES: dict[str, Callable[[Mlp, HiddenMoments], Tensor]] = {
    "energy": energy,
    "flap": flap,
    "mean_abs": mean_abs,
    "magnitude": magnitude,
}


OBS = "obs"


def keep_order(
    mlp: Mlp, moments: HiddenMoments, score: str, from_loss: Tensor | None = None, count: int | None = None
) -> Tensor:
    """Neurons from the most to the least important, `int64 [p]`; ties by index.

    `obs` is no score of single neurons: it cuts one after the other, and looks anew each time. `from_loss` are the
    scores of `gradients.loss_scores`, where the recipe asks for one of them. Where no more than `count` will be cut,
    the order of those before them is left open.
    """
    if from_loss is not None:
        return torch.argsort(from_loss, descending=True, stable=True)
    if score == OBS:
        sigma = moments.covariance
        hessian = plus_diagonal(sigma, ridge(sigma, moments.rows))
        cut = obs_order(mlp.fc2.weight, hessian, count)[0].flip(0)
        kept = torch.ones(len(sigma), dtype=torch.bool)
        kept[cut] = False
        return torch.cat([kept.nonzero().flatten(), cut])
    return torch.argsort(SCORES[score](mlp, moments), descending=True, stable=True)
