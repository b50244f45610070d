"""Which site is stored and computed in what, and what rounding it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from enum import Enum


class Dtype(str, Enum):
    """What a site is stored and computed in; INT16 is for activations alone."""

    FP32 = "FP32"
    FP16 = "FP16"
    INT16 = "INT16"
    INT8 = "INT8"
    INT4 = "INT4"

    @property
    def is_integer(self) -> bool:
        return self in (Dtype.INT8, Dtype.INT4)

    @property
    def bits(self) -> int:
        """Of one weight."""
        return {"FP32": 32, "FP16": 16, "INT16": 16, "INT8": 8, "INT4": 4}[self.value]


@dataclasses.dataclass(frozen=True)
class SitePrecision:
    """What a site's weights become, and why."""

    dtype: Dtype
    reason: str


@dataclasses.dataclass(frozen=True)
class PrecisionPlan:
    """Precision of every site, by name.

    Attributes:
        weights: sites that hold a weight matrix or kernel.
        compute: sites without one (norms, attention products, softmax, activations, residual additions).
        activations: what INT8 sites multiply: `dynamic` (quantized at run time, float between sites) or `static`
            (quantized by calibration, integers between sites); None where no site is INT8.
        integer_io: the file's own input and output are INT8.
    """

    weights: dict[str, SitePrecision]
    compute: dict[str, SitePrecision]
    activations: str | None
    integer_io: bool = False

    def lowered(self, dtypes: Mapping[str, Dtype]) -> PrecisionPlan:
        """With some sites in another precision, because the budget asks for it."""
        changed = {site: SitePrecision(dtype, "chosen for the budget") for site, dtype in dtypes.items()}
        return dataclasses.replace(self, weights=self.weights | changed)

    def of(self, sites: Collection[str]) -> PrecisionPlan:
        """That of a model which has these sites alone."""
        weights, compute = (
            {site: found for site, found in precisions.items() if site in sites}
            for precisions in (self.weights, self.compute)
        )
        return dataclasses.replace(self, weights=weights, compute=compute)


@dataclasses.dataclass(frozen=True)
class AwqGroup:
    """The scale that AWQ chose for linears that read the same input.

    Attributes:
        sites: the linears, or the linear whose input was scaled.
        alpha: exponent of the mean absolute activation; 0 means that plain rounding won.
        plain_error, error: mean squared error of the residual stream behind the attention or MLP that reads the scaled
            input, without and with the scale.
    """

    sites: tuple[str, ...]
    alpha: float
    plain_error: float
    error: float


@dataclasses.dataclass(frozen=True)
class RoundedSite:
    """What rounding costs at one linear.

    Attributes:
        site: the linear.
        dtype: of its weights in the file.
        plain_error, error: mean squared error of its output on the calibration tokens over its variance, with each
            weight rounded to the nearest, and as it was rounded.
    """

    site: str
    dtype: Dtype
    plain_error: float
    error: float


def share_taken_off(found: Sequence[AwqGroup] | Sequence[RoundedSite]) -> float:
    """Share of the summed error of plain rounding that scales, or a better rounding, take off."""
    return 1 - sum(each.error for each in found) / max(sum(each.plain_error for each in found), 1e-30)
