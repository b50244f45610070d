"""Small MLPs whose hidden activations hang together, as those of trained ones do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import Mlp
from edgeflex_tflite.prune.statistics import HiddenMoments


def random_mlp(seed: int, width: int, channels: int = 5, gated: bool = False, act: nn.Module | None = None) -> Mlp:
    torch.manual_seed(seed)
    fc1, gate = nn.Linear(channels, width), nn.Linear(channels, width) if gated else None
    mlp = Mlp(fc1, act or (nn.SiLU() if gated else nn.GELU()), nn.Linear(width, channels), gate)
    with torch.no_grad():
        for parameter in mlp.parameters():
            parameter.add_(torch.randn_like(parameter))
    return mlp.requires_grad_(False)


def random_inputs(seed: int, tokens: int, channels: int = 5) -> Tensor:
    """`[2, tokens, channels]` of fewer dimensions than channels, so that hidden neurons correlate."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(max(1, channels - 2), channels, generator=generator)
    return torch.randn(2, tokens, len(mixing), generator=generator) @ mixing + 0.3


def moments_of(mlp: Mlp, x: Tensor) -> HiddenMoments:
    return HiddenMoments([mlp.hidden(x)])


def output_error(mlp: Mlp, smaller: Mlp, x: Tensor) -> float:
    """Mean over tokens of the squared output error, summed over channels, in float64."""
    mlp, smaller = (Mlp(m.fc1, m.act, m.fc2, m.gate).double() for m in (mlp, smaller))
    error = (mlp(x.double()) - smaller(x.double())).square().sum(-1).mean().item()
    mlp.float()
    smaller.float()
    return error
