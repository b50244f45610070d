"""Small attentions and inputs whose channels hang together, as those of trained models do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import Attention, Norm

CHANNELS = 12


def random_attention(seed: int, heads: int = 3, dim: int = 4, normed: bool = False) -> Attention:
    torch.manual_seed(seed)
    q, k, v = (nn.Linear(CHANNELS, heads * dim) for _ in range(3))
    proj = nn.Linear(heads * dim, CHANNELS)
    norms = [Norm(torch.rand(dim) + 0.5, torch.randn(dim), 1e-6) if normed else nn.Identity() for _ in range(2)]
    attn = Attention(q, k, v, proj, heads, *norms)
    with torch.no_grad():
        for parameter in attn.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return attn.requires_grad_(False)


def random_tokens(seed: int, images: int = 20, tokens: int = 7, rank: int = CHANNELS) -> Tensor:
    """`[images, tokens, CHANNELS]` with a mean of their own, in `rank` dimensions of falling size around it."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(rank, CHANNELS, generator=generator) * 0.8 ** torch.arange(rank)[:, None]
    return torch.randn(images, tokens, rank, generator=generator) @ mixing + torch.randn(CHANNELS, generator=generator)


def inputs_of(x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Two batches of self-attention's inputs."""
    return [(batch, batch) for batch in x.split(-(-len(x) // 2))]
