"""What the file's integers will make of weights and activations, simulated in float."""

from __future__ import annotations

from torch import Tensor

LEVELS = 127


def round_weight(weight: Tensor) -> Tensor:
    """INT8 per output channel, symmetric, as the file stores it: `[out, in]` -> the same shape on the grid."""
    scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-12) / LEVELS
    return (weight / scale).round().clamp(-LEVELS, LEVELS) * scale


def round_activation(x: Tensor, per_token: bool) -> Tensor:
    """INT8 with a zero point: for each token by itself (dynamic), or with one scale for all (static)."""
    low, high = (x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)) if per_token else (x.min(), x.max())
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = ((high - low) / (2 * LEVELS + 1)).clamp_min(1e-12)
    zero = (-low / scale).round()
    return ((x / scale).round() + zero).clamp(0, 2 * LEVELS + 1).sub(zero) * scale
