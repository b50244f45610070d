"""Which site is stored and computed in what, and what rounding it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

BLOCK_SIZES = (32, 64, 128, 256)
"""Weights that may share a step in TFLite's blockwise INT4."""


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


class Grid(NamedTuple):
    """The values that a file can store as the weights of a linear: integers, symmetric, times a step.

    Attributes:
        bits: of an integer.
        block: weights of an output channel, side by side, that share a step; 0: all of them.
    """

    bits: int
    block: int = 0


def grid_of(dtype: Dtype, inside: int, int4_block: int) -> Grid:
    """That of a linear with so many input channels.

    Args:
        dtype: of the weights; only INT4 ones are in blocks.
        inside: input channels.
        int4_block: weights that should share a step in INT4; 0: all of an output channel's.

    Returns:
        A grid whose block is the largest, up to the one asked for, that the input is a multiple of; 0 if none is.
    """
    possible = [size for size in BLOCK_SIZES if size <= int4_block and inside % size == 0]
    return Grid(dtype.bits, max(possible, default=0) if dtype is Dtype.INT4 else 0)


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
        int4_block: weights that share a step in INT4 sites, as far as their inputs are multiples of it (`grid_of`); 0:
            all of an output channel's.
    """

    weights: dict[str, SitePrecision]
    compute: dict[str, SitePrecision]
    activations: str | None
    integer_io: bool = False
    int4_block: int = 0

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
        block: of them that share a step; 0: all of an output channel's.
        plain_error, error: mean squared error of its output on the calibration tokens over its variance, with each
            weight rounded to the nearest, and as it was rounded.
    """

    site: str
    dtype: Dtype
    plain_error: float
    error: float
    block: int = 0


def share_taken_off(found: Sequence[AwqGroup] | Sequence[RoundedSite]) -> float:
    """Share of the summed error of plain rounding that scales, or a better rounding, take off."""
    return 1 - sum(each.error for each in found) / max(sum(each.plain_error for each in found), 1e-30)
