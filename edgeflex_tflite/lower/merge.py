"""Token merging (ToMe, arXiv 2210.09461) as a static graph: every block hands on a fixed number of tokens fewer.

Between attention and MLP the patch tokens are dealt into two sets, the even and the odd ones. Each token of the first
set has a nearest one in the second, by the cosine of their keys; the `count` nearest pairs become one token each, the
mean of all patches in it. A token of s patches counts s times in attention: `softmax(Q K^T + log s)`. Sorting and
choosing are written as matrix products with ones and zeros, so that the graph has no operator that a delegate would
leave behind: the k-th row of a permutation has its one where `rank == k`, and a token's rank is the number of tokens
that are nearer to a partner, or as near and before it. That makes a permutation of any keys: no row of it is empty.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models.edge import ALL_TOKENS, Attention, Block, EdgeViT

SHARP = 1e30
"""A difference of two cosines times this is 0 or beyond 1: those that float32 tells apart differ by more than 1e-30."""


class MergingAttention(Attention):
    """Attention in which a token of s patches counts s times; also gives its keys, averaged over heads."""

    def __init__(self, attn: Attention) -> None:
        super().__init__(attn.q, attn.k, attn.v, attn.proj, attn.num_heads, attn.q_norm, attn.k_norm)

    def forward(self, queries: Tensor, tokens: Tensor, size: Tensor | None = None) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """`size` is `[..., tokens, 1]`, or None where every token is one patch."""
        q = self.q_norm(self.split_heads(self.q(queries)))
        k = self.k_norm(self.k(tokens).unflatten(-1, (self.num_heads, -1)))
        scores = q @ k.movedim(-3, -1)
        if size is not None:
            scores = scores + size.log().transpose(-2, -1).unsqueeze(-3)
        context = self.softmax(scores) @ self.split_heads(self.v(tokens))
        return self.proj(context.transpose(-3, -2).flatten(-2)), k.mean(dim=-2)


class Merge(nn.Module):
    """Merges `count` pairs of the tokens behind the first `prefix` ones."""

    earlier: Tensor
    places: Tensor

    def __init__(self, tokens: int, prefix: int, count: int) -> None:
        super().__init__()
        self.prefix, self.count = prefix, count
        self.pairs = (tokens - prefix) // 2
        places = torch.arange(self.pairs, dtype=torch.float32)
        self.register_buffer("earlier", torch.ones(self.pairs, self.pairs).tril(-1), persistent=False)
        self.register_buffer("places", places[count:, None], persistent=False)

    def forward(self, x: Tensor, size: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Merge the pairs whose keys are nearest.

        Args:
            x: `[..., tokens, channels]`.
            size: patches in each token, `[..., tokens, 1]`.
            keys: `[..., tokens, key_dim]`.

        Returns:
            Tokens and their sizes, `count` fewer of both.
        """
        first, second = self._deal(keys * torch.rsqrt((keys * keys).sum(-1, keepdim=True)))
        cosines = first @ second.transpose(-2, -1)
        nearest = cosines.amax(-1, keepdim=True)
        as_near = ((cosines - nearest) * SHARP + 1).clamp(0, 1)
        partner = (as_near - as_near @ self.earlier.T).clamp(0, 1)
        value = nearest[..., 0]
        rank = ((value[..., None, :] - value[..., :, None]) * SHARP + self.earlier).clamp(0, 1).sum(-1)
        kept = 1 - (rank[..., None, :] - self.places).abs().clamp(0, 1)
        moved = (partner * (self.count - rank).clamp(0, 1)[..., None]).transpose(-2, -1)
        (first_size, second_size), (first, second) = self._deal(size), self._deal(x * size)
        sums = torch.cat([kept @ first, second + moved @ first], dim=-2)
        sizes = torch.cat([kept @ first_size, second_size + moved @ first_size], dim=-2)
        return self._among_others(x, sums / sizes), self._among_others(size, sizes)

    def _deal(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The even and the odd tokens, by a reshape: neighbours lie side by side in one row."""
        dealt = x[..., self.prefix : self.prefix + 2 * self.pairs, :]
        channels = x.shape[-1]
        rows = dealt.reshape(*x.shape[:-2], self.pairs, 2 * channels)
        return rows[..., :channels], rows[..., channels:]

    def _among_others(self, x: Tensor, merged: Tensor) -> Tensor:
        """With the tokens that take no part: the prefix before them, and the odd one out behind."""
        parts = [x[..., : self.prefix, :], merged, x[..., self.prefix + 2 * self.pairs :, :]]
        return torch.cat([part for part in parts if part.shape[-2]], dim=-2)


class MergingBlock(Block):
    """A block whose tokens have sizes, and that merges some behind its attention."""

    def __init__(self, block: Block, merge: Merge | None) -> None:
        attn = MergingAttention(block.attn) if block.attn.num_heads else block.attn
        super().__init__(block.norm1, attn, block.norm2, block.mlp)
        self.merge = merge

    def forward(  # type: ignore[override]
        self, x: Tensor, reads: slice = ALL_TOKENS, size: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens and their sizes -> fewer tokens and their sizes."""
        if not self.attn.num_heads:
            return super().forward(x, reads), size
        normed = self.norm1(x)
        queries = normed
        if reads != ALL_TOKENS:
            x, queries = x[..., reads, :], normed[..., reads, :]
        written, keys = self.attn(queries, normed, size)
        x = x + written
        if self.merge is not None:
            x, size = self.merge(x, torch.ones_like(x[..., :1]) if size is None else size, keys)
        return self.after_mlp(x), size


class MergingViT(EdgeViT):
    """A Vision Transformer whose blocks hand on fewer and fewer tokens."""

    def transform(self, x: Tensor) -> Tensor:
        size: Tensor | None = None
        *early, last = self.blocks
        for block in early:
            x, size = block(x, ALL_TOKENS, size)
        x, _ = last(x, self.reads, size)
        return x


def merging(model: EdgeViT, count: int) -> EdgeViT:
    """The model with `count` pairs of tokens merged in every block but the last; it is not changed itself.

    Raises:
        UserError: as `check_mergeable`.
    """
    if count == 0:
        return model
    check_mergeable(model)
    entering, prefix = tokens_entering(model, count), model.prefix.shape[0]
    leaving = [*entering[1:], entering[-1]]
    changed = model.with_blocks(
        MergingBlock(block, Merge(before, prefix, before - after) if before > after else None)
        for block, before, after in zip(model.blocks, entering, leaving, strict=True)
    )
    changed.__class__ = MergingViT
    return changed


def tokens_entering(model: EdgeViT, count: int) -> list[int]:
    """Tokens that each block reads where each block but the last merges `count` pairs, as far as pairs are left.

    A block whose attention was dropped has no keys to tell pairs by, and hands on what it reads.
    """
    tokens = [model.num_tokens]
    for block in model.blocks[:-1]:
        pairs = (tokens[-1] - model.prefix.shape[0]) // 2 if block.attn.num_heads else 0
        tokens.append(tokens[-1] - min(count, pairs))
    return tokens


def most_merged(model: EdgeViT) -> int:
    """The largest `count` that differs from smaller ones."""
    return (model.num_tokens - model.prefix.shape[0]) // 2


def check_mergeable(model: EdgeViT) -> None:
    """Raises UserError where the head reads all tokens: merged ones are no longer the image's patches."""
    if model.pooling != "token":
        raise UserError(
            f"this model's head reads all tokens ({model.pooling} pooling), so none can be merged: merge_tokens, "
            "latency_target_ms and spend 'tokens' are for models whose head reads the class token"
        )
