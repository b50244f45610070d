"""Sharing a budget among the blocks: always the cut that costs least for each byte it saves."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgeflex_tflite.errors import UserError

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
        neuron_bytes: bytes of weights that one neuron takes in the file.
    """

    dense_width: int
    error: Tensor
    divergence: Tensor
    neuron_bytes: int

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
    ends = sorted(probes)
    found = np.maximum.accumulate([max(probes[end], SMALLEST_DIVERGENCE) for end in ends])
    divergence = torch.from_numpy(np.exp(np.interp(np.arange(len(error)), ends, np.log(found))))
    first = ends[0]
    divergence[:first] = found[0] * error[:first] / error[first].clamp_min(TINY)
    return divergence


def level_curve(dense_width: int, neuron_bytes: int) -> BlockCurve:
    """The curve of a block of which nothing was measured: each neuron's bytes cost the share that is cut already.

    With such curves `allocate` cuts all blocks by the same share, one step of widths apart at most.
    """
    cut = torch.arange(dense_width + 1, dtype=torch.float64)
    return BlockCurve(dense_width, torch.full_like(cut, torch.nan), neuron_bytes * cut**2 / dense_width, neuron_bytes)


def smallest_width(dense_width: int, multiple: int) -> int:
    """The narrowest MLP that allocation considers."""
    return min(multiple, dense_width)


def allocate(curves: list[BlockCurve], bytes_to_save: int, multiple: int) -> tuple[int, ...]:
    """Widths, front to back, that save at least `bytes_to_save` of weights.

    Greedy: from the dense widths, repeatedly narrow the block whose next step adds the least predicted KL divergence
    for each byte saved. Widths are multiples of `multiple`, or dense.

    Raises:
        UserError: even the narrowest MLPs do not save that much.
    """
    widths = [curve.dense_width for curve in curves]
    possible = sum((c.dense_width - smallest_width(c.dense_width, multiple)) * c.neuron_bytes for c in curves)
    if possible < bytes_to_save:
        raise UserError(f"pruning the MLPs saves at most {possible:,} bytes, {bytes_to_save:,} are needed")
    queue: list[tuple[float, int, int]] = []
    for index, curve in enumerate(curves):
        _push(queue, index, curve, widths[index], multiple)
    saved = 0
    while saved < bytes_to_save:
        _, index, narrower = heapq.heappop(queue)
        saved += (widths[index] - narrower) * curves[index].neuron_bytes
        widths[index] = narrower
        _push(queue, index, curves[index], narrower, multiple)
    return tuple(widths)


def _push(queue: list[tuple[float, int, int]], index: int, curve: BlockCurve, width: int, multiple: int) -> None:
    narrower = (width - 1) // multiple * multiple
    if narrower < smallest_width(curve.dense_width, multiple):
        return
    saved = (width - narrower) * curve.neuron_bytes
    heapq.heappush(queue, ((curve.cost(narrower) - curve.cost(width)) / saved, index, narrower))


def bytes_for_ratio(curves: list[BlockCurve], ratio: float) -> int:
    """Bytes of weights in the given share of all MLP neurons."""
    return round(ratio * sum(curve.dense_width * curve.neuron_bytes for curve in curves))


def relative(error: Tensor, output_square: float) -> Tensor:
    """An error curve over the mean square of the block's output."""
    return error / max(output_square, TINY)
