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

from edgeflex_tflite.prune.statistics import Moments, plus_diagonal
from edgeflex_tflite.symmetric import gram, quadratic

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
    trace_of_square = torch.linalg.vector_norm(covariance).square()
    numerator = (1 - 2 / p) * trace_of_square + trace**2
    denominator = (rows + 1 - 2 / p) * (trace_of_square - trace**2 / p)
    rho = (numerator / denominator).clamp(SMALLEST_RELATIVE_RIDGE, 1.0) if denominator > 0 else torch.tensor(1.0)
    return max((rho * trace / p).item(), torch.finfo(torch.float64).tiny)


def compensation(weight: Tensor, moments: Moments, kept: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """What the kept neurons and the bias take over from the cut ones.

    Args:
        weight: of the cut neurons, W2[:, P], `float64 [channels, cut]`.
        moments: of all neurons.
        kept, cut: indices.

    Returns:
        `weight B [channels, kept]` and `weight c [channels]`, float64.
    """
    sigma = moments.covariance
    across = sigma[kept]
    factor = torch.linalg.cholesky(plus_diagonal(across[:, kept], ridge(sigma, moments.rows)))
    wanted = across[:, cut]
    if len(weight) < len(cut):  # the system is solved for whichever are fewer
        taken_over = torch.cholesky_solve(wanted @ weight.T, factor).T
    else:
        taken_over = weight @ torch.cholesky_solve(wanted, factor).T
    return taken_over, weight @ moments.mean[cut] - taken_over @ moments.mean[kept]


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
        L = torch.linalg.cholesky(plus_diagonal(sigma, ridge(sigma, moments.rows)))
        each = (W @ L).square().sum(0)
    else:
        together = {"bias": moments.covariance, "none": moments.second}[compensate]
        pairs = gram(W) * together[order][:, order]
        each = 2 * pairs.tril(-1).sum(0) + pairs.diagonal()
    return torch.cat([torch.zeros(1, dtype=torch.float64), each.flip(0).cumsum(0)])


def mean_square(linear: nn.Linear, moments: Moments) -> float:
    """Mean over tokens of a linear's squared output, summed over channels."""
    weight = linear.weight
    varies = quadratic(weight, moments.covariance.float()).sum(dtype=torch.float64)
    return (varies + (weight.double() @ moments.mean + linear.bias.double()).square().sum()).item()


def output_errors(
    dense: nn.Linear, smaller: Sequence[nn.Linear], kept: Tensor, cut: Tensor, moments: Moments
) -> tuple[float, ...]:
    """Mean squared errors of fc2's output when each of `smaller` reads the `kept` neurons, over the mean square.

    With D = W2[:, S] - W2' the varying part of an error is the trace of `D Sigma_SS D^T + 2 D Sigma_SP W2[:, P]^T +
    W2[:, P] Sigma_PP W2[:, P]^T`, and that of the output itself is the same with a W2' of zeros. These products are in
    float32, half the time of float64.
    """
    of_cut = dense.weight[:, cut]
    rows_kept, rows_cut = moments.covariance[kept].float(), moments.covariance[cut].float()
    among_kept, across = rows_kept[:, kept], of_cut @ rows_cut[:, kept]
    alone = quadratic(of_cut, rows_cut[:, cut]).sum(dtype=torch.float64)

    def size(weight: Tensor, bias: Tensor) -> float:
        lost = dense.weight[:, kept] - weight
        varies = alone
        if lost.any():
            varies = alone + (quadratic(lost, among_kept) + 2 * (across * lost).sum(1)).sum(dtype=torch.float64)
        mean = lost.double() @ moments.mean[kept] + of_cut.double() @ moments.mean[cut]
        return (varies + (mean + dense.bias.double() - bias.double()).square().sum()).item()

    whole = max(size(torch.zeros(()), torch.zeros(())), torch.finfo(torch.float64).tiny)
    return tuple(max(0.0, size(reader.weight, reader.bias)) / whole for reader in smaller)
