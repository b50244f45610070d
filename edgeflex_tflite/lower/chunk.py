"""A block in pieces that run one after the other, each adding its own part to the residual stream.

An MLP is a sum over its hidden neurons and attention a sum over its heads, so neither needs all of them at once:
`x + sum_i fc2_i(act(fc1_i(norm(x))))`. The result is the same, and the arena holds one piece of the hidden activations
and of the attention weights instead of all. A piece's operators keep the names of the sites that they are part of.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import WHOLE, Chunks
from edgeflex_tflite.lower.flatbuffer import CHUNK
from edgeflex_tflite.models.edge import ALL_TOKENS, Attention, Block, EdgeViT, Mlp
from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.prune.cut import rows


class ChunkedBlock(Block):
    """A block whose attention and MLP are several smaller ones, `attn_chunk0`, `mlp_chunk0`, and so on.

    A dropped one is in no pieces.
    """

    def __init__(self, block: Block, chunks: Chunks) -> None:
        nn.Module.__init__(self)
        self.norm1, self.norm2 = block.norm1, block.norm2
        self._attention = self._add("attn", split_attention(block.attn, chunks.attention))
        self._mlp = self._add("mlp", split_mlp(block.mlp, chunks.mlp))

    def _add(self, name: str, pieces: list) -> list[str]:
        names = [f"{name}{CHUNK}{number}" for number in range(len(pieces))]
        for each, piece in zip(names, pieces, strict=True):
            self.add_module(each, piece)
        return names

    def after_attention(self, x: Tensor, reads: slice = ALL_TOKENS) -> Tensor:
        normed = self.norm1(x)
        queries = normed
        if reads != ALL_TOKENS:
            x, queries = x[..., reads, :], normed[..., reads, :]
        for name in self._attention:
            x = x + self.get_submodule(name)(queries, normed)
        return x

    def after_mlp(self, x: Tensor) -> Tensor:
        normed = self.norm2(x)
        for name in self._mlp:
            x = x + self.get_submodule(name)(normed)
        return x


def chunked(model: EdgeViT, chunks: Chunks) -> EdgeViT:
    """The same function, with every block in pieces; the model itself is not changed."""
    if chunks == WHOLE:
        return model
    return model.with_blocks(ChunkedBlock(block, chunks) for block in model.blocks)


def split_mlp(mlp: Mlp, count: int) -> list[Mlp]:
    """MLPs over consecutive neurons, as equal as they can be, whose outputs add up to the MLP's."""
    pieces: list[Mlp] = []
    if not mlp.width:
        return pieces
    for kept in torch.arange(mlp.width).tensor_split(min(count, mlp.width)):
        gate = None if mlp.gate is None else rows(mlp.gate, kept)
        pieces.append(Mlp(rows(mlp.fc1, kept), mlp.act, _columns(mlp.fc2, kept, not pieces), gate))
    return pieces


def split_attention(attn: Attention, count: int) -> list[Attention]:
    """Attentions over consecutive heads, as equal as they can be, whose outputs add up to the attention's."""
    pieces: list[Attention] = []
    if not attn.num_heads:
        return pieces
    assert isinstance(attn.q, nn.Linear)
    for heads in torch.arange(attn.num_heads).tensor_split(min(count, attn.num_heads)):
        keys, values = _channels(heads, attn.key_dim), _channels(heads, attn.value_dim)
        q, k, v = rows(attn.q, keys), rows(attn.k, keys), rows(attn.v, values)
        proj = _columns(attn.proj, values, not pieces)
        pieces.append(Attention(q, k, v, proj, len(heads), attn.q_norm, attn.k_norm))
    return pieces


def _channels(heads: Tensor, size: int) -> Tensor:
    return (heads[:, None] * size + torch.arange(size)).flatten()


def _columns(source: nn.Linear, kept: Tensor, first: bool) -> nn.Linear:
    """The linear with the input channels `kept` alone; only the first piece adds the bias."""
    return linear(source.weight[:, kept], source.bias if first else None)
