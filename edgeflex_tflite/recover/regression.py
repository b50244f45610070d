"""What a linear reads in the compressed model, against what it should answer: all that its closed forms need.

With x the input and y the answer that is wanted, both centred, ridge regression drawn to the present weights W is
`W <- W + E[(y - W x) x^T] (Sigma + lambda I)^-1`, and the bias takes the means: `b = E[y] - W E[x]`. Since x comes from
the layers before as they are now, and y from the dense model, that also undoes what those layers have lost
(asymmetric calibration: GPTAQ, arXiv 2504.02692; CORP for cut neurons).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import cached_property

import torch
from torch import Tensor

from edgeflex_tflite.prune.statistics import Batch, HiddenMoments, Moments, centre_, plus_diagonal, summed

RELATIVE_RIDGE = 0.1
"""Of the mean variance of the input; less fits the calibration images and not the others."""


@dataclasses.dataclass(frozen=True)
class Regression:
    """Moments of one input, and its cross moments with the answer that is wanted, in float64.

    Attributes:
        inputs: moments of x.
        wanted_mean: E[y], `[out]`.
        cross: E[(y - E[y]) (x - E[x])^T], `[out, in]`.
    """

    inputs: Moments
    wanted_mean: Tensor
    cross: Tensor

    @classmethod
    def over(cls, batches: Iterable[Callable[[], Batch]]) -> Regression:
        """Over batches that make x `[..., in]` and the wanted y `[..., out]`."""
        sums = summed(batches)
        shift, mean = sums.total / sums.rows, sums.total_of_answer / sums.rows
        cross = centre_(sums.product, mean, shift, sums.rows)
        return cls(HiddenMoments.of_sums(sums), sums.origin_of_answer.double() + mean, cross)

    def of(self, kept: Tensor) -> Regression:
        """The same on some of the inputs alone, `int64 [r]`."""
        return Regression(self.inputs.of(kept), self.wanted_mean, self.cross[:, kept])

    def refit(self, weight: Tensor, relative_ridge: float = RELATIVE_RIDGE) -> Tensor:
        """Ridge regression on what is wanted, drawn to `weight`; both `float64 [out, in]`.

        Args:
            weight: what is there.
            relative_ridge: lambda over the mean variance of x.
        """
        return weight + self._divided(self.cross - weight @ self.inputs.covariance, relative_ridge)

    def bias(self, weight: Tensor) -> Tensor:
        """The bias with which `weight` answers right in the mean (bias correction), `float64 [out]`."""
        return self.wanted_mean - weight @ self.inputs.mean

    @cached_property
    def restoring(self) -> Tensor:
        """Where y is what x was before: the matrix that makes y of x, drawn to the identity, `float64 [in, in]`.

        `W restoring` is the refit of any W, to the answer `W y`.
        """
        return plus_diagonal(self._divided(self.cross - self.inputs.covariance, RELATIVE_RIDGE), 1)

    def _divided(self, missing: Tensor, relative_ridge: float) -> Tensor:
        """`missing (Sigma + lambda I)^-1`."""
        factor = torch.linalg.cholesky(regularized(self.inputs.covariance, relative_ridge))
        return torch.cholesky_solve(missing.T, factor).T


def regularized(covariance: Tensor, relative_ridge: float) -> Tensor:
    """`Sigma + lambda I`, with lambda relative to the mean variance."""
    ridge = (relative_ridge * covariance.trace() / len(covariance)).clamp_min(torch.finfo(torch.float64).tiny)
    return plus_diagonal(covariance, ridge)
