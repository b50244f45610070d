"""What a linear reads in the compressed model, against what it should answer: all that its closed forms need.

With x the input and y the answer that is wanted, both centred, ridge regression drawn to the present weights W is
`W <- W + E[(y - W x) x^T] (Sigma + lambda I)^-1`, and the bias takes the means: `b = E[y] - W E[x]`. Since x comes from
the layers before as they are now, and y from the dense model, that also undoes what those layers have lost
(asymmetric calibration: GPTAQ, arXiv 2504.02692; CORP for cut neurons).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from edgeflex_tflite.prune.statistics import Batch, HiddenMoments, summed


class Regression:
    """Moments of one input, and its cross moments with the answers that its readers should give, in float64.

    Attributes:
        inputs: moments of x.
        wanted_means: E[y] of each reader, `[out]`.
        crosses: E[(y - E[y]) (x - E[x])^T] of each reader, `[out, in]`.
    """

    def __init__(self, batches: Iterable[Callable[[], Batch]]) -> None:
        """Args: batches: make x `[..., in]` and the wanted `[..., out]` of each reader."""
        sums = summed(batches)
        self.inputs = HiddenMoments.of_sums(sums)
        shift = sums.total / sums.rows
        means = [total / sums.rows for total in sums.totals]
        self.wanted_means = tuple(o.double() + mean for o, mean in zip(sums.origins[1:], means, strict=True))
        self.crosses = tuple(p / sums.rows - torch.outer(m, shift) for p, m in zip(sums.products, means, strict=True))

    def refit(self, weight: Tensor, reader: int, relative_ridge: float) -> Tensor:
        """Ridge regression on what `reader` should answer, drawn to `weight`; both `float64 [out, in]`.

        Args:
            weight: what is there.
            reader: number of the linear among those that read x.
            relative_ridge: lambda over the mean variance of x.
        """
        sigma = self.inputs.covariance
        factor = torch.linalg.cholesky(regularized(sigma, relative_ridge))
        return weight + torch.cholesky_solve((self.crosses[reader] - weight @ sigma).T, factor).T

    def bias(self, weight: Tensor, reader: int) -> Tensor:
        """The bias with which `weight` answers right in the mean (bias correction), `float64 [out]`."""
        return self.wanted_means[reader] - weight @ self.inputs.mean


def regularized(covariance: Tensor, relative_ridge: float) -> Tensor:
    """`Sigma + lambda I`, with lambda relative to the mean variance."""
    ridge = (relative_ridge * covariance.trace() / len(covariance)).clamp_min(torch.finfo(torch.float64).tiny)
    return covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype)
