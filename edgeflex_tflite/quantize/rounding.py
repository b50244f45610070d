"""The integers that a file stores for weights and computes with for activations, as float values on their grid."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeflex_tflite.symmetric import quadratic

INT8_LEVELS = 127
SMALLEST_SHARE, CLIP_STEPS = 0.55, 9
"""The clip search goes over the row's largest weight times 1, 0.95, ..., 0.55 (AWQ, arXiv 2306.00978)."""
TINY = 1e-12
SMALLEST_OF_BLOCK = 2.0**-14
"""Of the steps that FP16 holds to its full precision."""


def levels(bits: int) -> int:
    """Largest integer of a symmetric weight: 127 of INT8, 7 of INT4."""
    return 2 ** (bits - 1) - 1


def integers(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """The nearest integers that a file can store, in the weight's shape and dtype; `step` is broadcast to it."""
    return (weight / step).round_().clamp_(-levels(bits), levels(bits))


def on_grid(weight: Tensor, step: Tensor, bits: int) -> Tensor:
    """The nearest values that a file can store; `step` is broadcast to the weight's shape."""
    return integers(weight, step, bits) * step


def of_columns(step: Tensor, columns: int) -> Tensor:
    """The step of each weight, `[out, in]`, from that of each block, `[out, blocks]`."""
    return step.expand(-1, columns) if step.shape[1] == 1 else step.repeat_interleave(columns // step.shape[1], dim=1)


def storable(step: Tensor, block: int) -> Tensor:
    """The nearest steps that a file can store: those of blocks have 8 significant bits and FP16's exponent."""
    if not block:
        return step.clamp_min(TINY)
    return step.clamp_min(SMALLEST_OF_BLOCK).to(torch.bfloat16).to(step.dtype)


def steps_of_largest(weight: Tensor, bits: int, block: int = 0) -> Tensor:
    """Steps such that the largest weight of each block is the largest integer, `[out, 1]` or `[out, blocks]`."""
    return storable(_in_blocks(weight, block).abs().amax(dim=2) / levels(bits), block)


def round_weight(weight: Tensor, bits: int = 8, block: int = 0) -> Tensor:
    """Symmetric, to the nearest, with a step per output channel or per block: `[out, in]` -> the same on the grid."""
    return on_grid(weight, of_columns(steps_of_largest(weight, bits, block), weight.shape[1]), bits)


def clipped_steps(weight: Tensor, hessian: Tensor, bits: int, block: int = 0) -> Tensor:
    """The step of every block whose rounding error `e^T H e` within it is the least of the clip search.

    Every other share of the largest weight is tried, and then the neighbours of each block's best.

    Args:
        weight: `float64 [out, in]`.
        hessian: second moments of the input, `float64 [in, in]`.
        bits: of the stored integer.
        block: weights that share a step; 0: all of an output channel's.

    Returns:
        `float64 [out, blocks]`, of one block where `block` is 0.
    """
    largest = steps_of_largest(weight, bits, block)
    shares = torch.linspace(1, SMALLEST_SHARE, CLIP_STEPS + 1, dtype=largest.dtype)
    parts = _in_blocks(weight.float(), block).transpose(0, 1)
    size = parts.shape[2]
    of_pairs = hessian.float().unflatten(0, (-1, size)).unflatten(2, (-1, size))
    moments = of_pairs.diagonal(dim1=0, dim2=2).movedim(-1, 0)
    best = torch.zeros_like(largest, dtype=torch.long)
    least = torch.full_like(largest, torch.inf, dtype=torch.float32)

    def attempt(share: Tensor) -> None:
        step = storable(largest * shares[share], block).float().T[:, :, None]
        error = on_grid(parts, step, bits) - parts
        loss = quadratic(error, moments).T
        best[loss < least] = share[loss < least]
        torch.minimum(loss, least, out=least)

    for share in range(0, CLIP_STEPS + 1, 2):
        attempt(torch.full_like(best, share))
    middle = best.clone()
    for step in (-1, 1):
        attempt((middle + step).clamp(0, CLIP_STEPS))
    return storable(largest * shares[best], block)


def _in_blocks(weight: Tensor, block: int) -> Tensor:
    """`[out, in]` -> `[out, blocks, block]`."""
    return weight.unflatten(1, (-1, block or weight.shape[1]))


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
