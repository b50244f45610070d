"""What a linear reads in the compressed model, against what it should answer: all that its closed forms need.

With x the input and y the answer that is wanted, both centred, ridge regression drawn to the present weights W is
`W <- W + E[(y - W x) x^T] (Sigma + lambda I)^-1`, and the bias takes the means: `b = E[y] - W E[x]`. Since x comes from
the layers before as they are now, and y from the dense model, that also undoes what those layers have lost
(asymmetric calibration: GPTAQ, arXiv 2504.02692; CORP for cut neurons).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from edgeflex_tflite.prune.statistics import HiddenMoments


class Regression:
    """Moments of one input, and its cross moments with the answers that its readers should give, in float64.

    Attributes:
        inputs: moments of x.
        wanted_means: E[y] of each reader, `[out]`.
        crosses: E[(y - E[y]) (x - E[x])^T] of each reader, `[out, in]`.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, tuple[Tensor, ...]]]) -> None:
        """Args: batches: x `[..., in]` and the wanted `[..., out]` of each reader."""
        self._origins: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._products: list[Tensor] = []
        self.inputs = HiddenMoments(self._watched(batches))
        rows = self.inputs.rows
        shift = self.inputs.mean - self._origins[0].double()
        means = [total / rows for total in self._sums]
        self.wanted_means = tuple(o.double() + mean for o, mean in zip(self._origins[1:], means, strict=True))
        self.crosses = tuple(p / rows - torch.outer(m, shift) for p, m in zip(self._products, means, strict=True))

    def _watched(self, batches: Iterable[tuple[Tensor, tuple[Tensor, ...]]]) -> Iterator[Tensor]:
        for batch, wanted in batches:
            x, answers = batch.flatten(0, -2), [y.flatten(0, -2) for y in wanted]
            if not self._origins:
                self._origins = [x.mean(0), *(y.mean(0) for y in answers)]
                self._sums = [torch.zeros(y.shape[1], dtype=torch.float64) for y in answers]
                self._products = [torch.zeros(y.shape[1], x.shape[1], dtype=torch.float64) for y in answers]
            for reader, y in enumerate(answers):
                centred = y - self._origins[1 + reader]
                self._sums[reader] += centred.sum(0).double()
                self._products[reader] += (centred.T @ (x - self._origins[0])).double()
            yield x

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
