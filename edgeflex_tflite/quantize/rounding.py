"""The integers that a file stores for weights and computes with for activations, as float values on their grid."""

from __future__ import annotations

import torch
from torch import Tensor

INT8_LEVELS = 127
SMALLEST_SHARE, CLIP_STEPS = 0.55, 9
"""The clip search goes over the row's largest weight times 1, 0.95, ..., 0.55 (AWQ, arXiv 2306.00978)."""
TINY = 1e-12


def levels(bits: int) -> int:
    """Largest integer of a symmetric weight: 127 of INT8, 7 of INT4."""
    return 2 ** (bits - 1) - 1


def integers(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """The nearest integers that a file can store, in the weight's shape and dtype; `step` is broadcast to it."""
    return (weight / step).round_().clamp_(-levels(bits), levels(bits))


def on_grid(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """The nearest values that a file can store."""
    return integers(weight, step, bits) * step


def steps_of_largest(weight: Tensor, bits: int) -> Tensor:
    """One step per output channel such that its largest weight is the largest integer, `[out, 1]`."""
    return weight.abs().amax(dim=1, keepdim=True).clamp_min(TINY) / levels(bits)


def round_weight(weight: Tensor, bits: int = 8) -> Tensor:
    """Per output channel, symmetric, to the nearest: `[out, in]` -> the same shape on the grid."""
    return on_grid(weight, steps_of_largest(weight, bits), bits)


def clipped_steps(weight: Tensor, hessian: Tensor, bits: int) -> Tensor:
    """The step of every output channel, `[out, 1]`, whose rounding error `e^T H e` is the least of the clip search.

    Every other share of the largest weight is tried, and then the neighbours of each channel's best.

    Args:
        weight: `float64 [out, in]`.
        hessian: second moments of the input, `float64 [in, in]`.
        bits: of the stored integer.
    """
    largest = steps_of_largest(weight, bits)
    shares = torch.linspace(1, SMALLEST_SHARE, CLIP_STEPS + 1, dtype=largest.dtype)
    weight, hessian = weight.float(), hessian.float()
    best = torch.zeros_like(largest, dtype=torch.long)
    least = torch.full_like(largest, torch.inf, dtype=torch.float32)

    def attempt(share: Tensor) -> None:
        error = on_grid(weight, (largest * shares[share]).float(), bits) - weight
        loss = ((error @ hessian) * error).sum(1, keepdim=True)
        best[loss < least] = share[loss < least]
        torch.minimum(loss, least, out=least)

    for share in range(0, CLIP_STEPS + 1, 2):
        attempt(torch.full_like(best, share))
    middle = best.clone()
    for step in (-1, 1):
        attempt((middle + step).clamp(0, CLIP_STEPS))
    return largest * shares[best]


def round_activation(x: Tensor, per_token: bool) -> Tensor:
    """INT8 with a zero point: for each token by itself (dynamic), or with one scale for all (static)."""
    low, high = (x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)) if per_token else (x.min(), x.max())
    return round_between(x, low, high)


def round_between(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """INT8 with a zero point, for values from `low` to `high`; what lies outside is clipped."""
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / (2 * INT8_LEVELS + 1)).clamp_min(TINY)
    zero = (-low / scale).round()
    return ((x / scale).round() + zero).clamp(0, 2 * INT8_LEVELS + 1).sub(zero) * scale
