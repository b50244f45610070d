"""What cutting the neurons of one block does to the logits, for every number of them, from a few that were tried."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

TINY = torch.finfo(torch.float64).tiny
SMALLEST_DIVERGENCE = 1e-9
"""Of the logits, in nats: nothing smaller is told from rounding."""


@dataclasses.dataclass(frozen=True)
class BlockCurve:
    """What cutting one block costs.

    Attributes:
        dense_width: hidden neurons today.
        error: `float64 [dense_width + 1]`, relative output error after k neurons are cut.
        divergence: `float64 [dense_width + 1]`, predicted KL divergence of the logits after k neurons of this block
            alone are cut.
    """

    dense_width: int
    error: Tensor
    divergence: Tensor

    def cost(self, width: int) -> float:
        """Predicted KL divergence of the logits when the block alone is cut to `width`."""
        return self.divergence[self.dense_width - width].item()


def divergence_curve(error: Tensor, probes: Mapping[int, float]) -> Tensor:
    """KL divergence of the logits for every number of neurons cut, from a few that were measured.

    Up to the first of them it grows as the block's output error does, then exponentially from one to the next, as it
    is seen to do. A measurement below an earlier one is noise, and counts as that one. Behind the last it stays.

    Args:
        error: `float64 [p + 1]`, output error after k neurons are cut, growing from 0.
        probes: `{k: KL divergence}`, each k at least 1.

    Returns:
        `float64 [p + 1]`.
    """
    if not probes:
        return torch.zeros_like(error)
    ends = sorted(probes)
    found = np.maximum.accumulate([max(probes[end], SMALLEST_DIVERGENCE) for end in ends])
    divergence = torch.from_numpy(np.exp(np.interp(np.arange(len(error)), ends, np.log(found))))
    first = ends[0]
    divergence[:first] = found[0] * error[:first] / error[first].clamp_min(TINY)
    return divergence


def level_curve(dense_width: int) -> BlockCurve:
    """The curve of a block of which nothing was measured: each neuron costs the share that is cut already.

    With such curves the least loss is to cut all blocks by the same share.
    """
    cut = torch.arange(dense_width + 1, dtype=torch.float64)
    return BlockCurve(dense_width, torch.full_like(cut, torch.nan), cut**2 / dense_width)


def relative(error: Tensor, output_square: float) -> Tensor:
    """An error curve over the mean square of the block's output."""
    return error / max(output_square, TINY)
