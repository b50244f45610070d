"""Weights that undo what the blocks before have lost, in closed form.

When blocks are cut front to back, an MLP sees other hidden activations x than in the dense model, and the residual
stream that it adds to is off. fc2 can answer for both: with r what is missing between the compressed stream after the
block and the dense model's, `W2 <- W2 + E[r x^T] (Sigma + lambda I)^-1` (centred), and the bias takes the mean. That is
ridge regression on the dense output, drawn to the weights that were there; without cuts before, r is zero.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from edgeflex_tflite.prune.statistics import HiddenMoments

RELATIVE_RIDGE = 0.1
"""Of the mean variance of the hidden activations; less fits the calibration images and not the others."""


def refit(fc2: nn.Linear, moments: HiddenMoments, pairs: Iterable[tuple[Tensor, Tensor]]) -> nn.Linear:
    """A linear whose output on the hidden activations comes nearer to what is wanted.

    Args:
        fc2: `[p] -> [channels]`; it is not changed.
        moments: of its input.
        pairs: hidden activations `[..., p]` and the output that is wanted for them `[..., channels]`, a batch each.
    """
    cross = torch.zeros(fc2.out_features, fc2.in_features, dtype=torch.float64)
    missing = torch.zeros(fc2.out_features, dtype=torch.float64)
    for hidden, wanted in pairs:
        x = hidden.flatten(0, -2)
        residual = wanted.flatten(0, -2) - fc2(x)
        cross += (residual.T @ (x - moments.mean.float())).double()
        missing += residual.sum(0, dtype=torch.float64)
    cross, missing = cross / moments.rows, missing / moments.rows
    sigma = moments.covariance
    ridge = RELATIVE_RIDGE * sigma.trace() / len(sigma)
    factor = torch.linalg.cholesky(sigma + ridge * torch.eye(len(sigma), dtype=sigma.dtype))
    step = torch.cholesky_solve(cross.T, factor).T
    better = nn.Linear(fc2.in_features, fc2.out_features)
    with torch.no_grad():
        better.weight.copy_(fc2.weight.double() + step)
        better.bias.copy_(fc2.bias.double() + missing - step @ moments.mean)
    return better.requires_grad_(False)
