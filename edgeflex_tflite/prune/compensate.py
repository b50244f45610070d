"""Closed-form compensation: the kept neurons predict the cut ones, linearly.

With x the hidden activations, S kept and P cut, `x_P ~ B x_S + c` where `B = Sigma_PS (Sigma_SS + lambda I)^-1` and
`c = mu_P - B mu_S`; then `W2 <- W2[:, S] + W2[:, P] B` and `b2 <- b2 + W2[:, P] c` (CORP). On the calibration tokens
this never gives a larger output error than cutting alone: the residual covariance is
`Sigma_PP - B Sigma_SP - lambda B B^T`, and the mean error is gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgeflex_tflite.prune.statistics import Moments

SMALLEST_RELATIVE_RIDGE = 1e-4
"""Of the mean variance: keeps the solve well conditioned where the estimate below asks for no ridge at all."""


def ridge(covariance: Tensor, rows: int) -> float:
    """Shrinkage intensity for a covariance estimated from `rows` samples (OAS, arXiv 0907.4698), as lambda.

    Args:
        covariance: `[p, p]` float64.
        rows: number of samples behind it.
    """
    p = len(covariance)
    trace = covariance.trace()
    trace_of_square = covariance.square().sum()
    numerator = (1 - 2 / p) * trace_of_square + trace**2
    denominator = (rows + 1 - 2 / p) * (trace_of_square - trace**2 / p)
    rho = (numerator / denominator).clamp(SMALLEST_RELATIVE_RIDGE, 1.0) if denominator > 0 else torch.tensor(1.0)
    return max((rho * trace / p).item(), torch.finfo(torch.float64).tiny)


def compensation(moments: Moments, kept: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """`B [cut, kept]` and `c [cut]` of the linear prediction of cut neurons from kept ones, in float64."""
    sigma = moments.covariance
    regularized = sigma[kept][:, kept] + ridge(sigma, moments.rows) * torch.eye(len(kept), dtype=sigma.dtype)
    factor = torch.linalg.cholesky(regularized)
    B = torch.cholesky_solve(sigma[kept][:, cut], factor).T
    return B, moments.mean[cut] - B @ moments.mean[kept]


def error_curve(weight: Tensor, moments: Moments, order: Tensor, compensate: str) -> Tensor:
    """Output error for every number of neurons cut, last of `order` first.

    With `ridge`, the residual covariance of the last k neurons given the others is `L_PP L_PP^T`, where L is the
    Cholesky factor of the whole (regularized) covariance in that order; so one factorization gives the curve for all k.
    Without, errors of the cut neurons add up by their second moments, or by their covariance where the bias has taken
    their means.

    Args:
        weight: fc2's, `[channels, p]`.
        moments: of its input.
        order: neurons from the first kept to the first cut, `[p]`.
        compensate: `ridge`, `bias` or `none`.

    Returns:
        `float64 [p + 1]`: entry k is the mean squared error of the output, summed over channels, when k are cut.
    """
    W = weight.double()[:, order]
    if compensate == "ridge":
        sigma = moments.covariance[order][:, order]
        L = torch.linalg.cholesky(sigma + ridge(sigma, moments.rows) * torch.eye(len(order), dtype=sigma.dtype))
        each = (W @ L).square().sum(0)
    else:
        together = {"bias": moments.covariance, "none": moments.second}[compensate]
        pairs = (W.T @ W) * together[order][:, order]
        each = 2 * pairs.tril(-1).sum(0) + pairs.diagonal()
    return torch.cat([torch.zeros(1, dtype=torch.float64), each.flip(0).cumsum(0)])


def mean_square(linear: nn.Linear, moments: Moments) -> float:
    """Mean over tokens of a linear's squared output, summed over channels."""
    return _mean_square(linear.weight.double(), linear.bias.double(), moments.mean, moments.covariance.float())


def output_errors(dense: nn.Linear, smaller: Sequence[nn.Linear], kept: Tensor, moments: Moments) -> tuple[float, ...]:
    """Mean squared errors of fc2's output when each of `smaller` reads the `kept` neurons, over the mean square."""
    covariance = moments.covariance.float()

    def size(weight: Tensor, bias: Tensor) -> float:
        return _mean_square(weight, bias, moments.mean, covariance)

    whole = max(size(dense.weight.double(), dense.bias.double()), torch.finfo(torch.float64).tiny)
    errors = []
    for reader in smaller:
        weight = dense.weight.double().clone()
        weight[:, kept] -= reader.weight.double()
        errors.append(size(weight, dense.bias.double() - reader.bias.double()) / whole)
    return tuple(errors)


def _mean_square(weight: Tensor, bias: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """Of `weight x + bias`; the largest product is in `covariance`'s float32, half the time of float64."""
    used = weight.any(0)
    if not used.all():
        covariance = covariance[used][:, used]
    single = weight[:, used].float()
    varies = ((single @ covariance) * single).sum(dtype=torch.float64)
    return (varies + (weight @ mean + bias).square().sum()).item()
