"""The one architecture that every later stage works on: a plain, pre-norm Vision Transformer in edge form.

The edge form computes what timm's model computes, exactly up to float rounding, but is laid out for a phone:

* Q, K and V are separate linears, so each can be scaled, pruned or quantized by itself;
* the softmax scale is inside Q, LayerScale inside the linear before it, a norm's shift inside the linears after it;
* whatever writes to the residual stream writes values of zero mean, so that a LayerNorm need not subtract the mean;
* positions are added to the prefix tokens (class token, registers) once, before anything runs;
* activations keep to rank 3: an image is `[tokens, channels]`, its heads are `[heads, tokens, head_dim]`;
* the last block computes only the tokens that the head reads.

Every block accepts leading batch dimensions too (`[..., tokens, channels]`): calibration runs the same code in batches.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflex_tflite import rewrites
from edgeflex_tflite.artifacts import BlockShape

Pooling = Literal["token", "avg", "map"]
ALL_TOKENS = slice(None)


class Norm(nn.Module):
    """LayerNorm over the last dimension: `x / sqrt(mean(x^2) + eps) * weight + bias` of the centred x.

    Attributes:
        weight: `[channels]`.
        bias: `[channels]`, or None where the readers' biases already hold it.
        centred: the input is known to have zero mean, so the mean is not subtracted (SliceGPT, arXiv 2401.15024).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, eps: float, centred: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias) if bias is not None else None
        self.eps = eps
        self.centred = centred

    def forward(self, x: Tensor) -> Tensor:
        """Any leading dimensions, which become one at most: an Ethos-U takes means of rows of two dimensions alone."""
        return self._of_rows(x) if x.dim() <= 2 else self._of_rows(x.flatten(0, -2)).reshape(x.shape)

    def _of_rows(self, x: Tensor) -> Tensor:
        if not self.centred:
            x = x - x.mean(dim=-1, keepdim=True)
        x = x * torch.rsqrt((x * x).mean(dim=-1, keepdim=True) + self.eps) * self.weight
        return x if self.bias is None else x + self.bias


class Centre(nn.Module):
    """Subtracts the mean over channels, where it cannot be folded into what came before."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(dim=-1, keepdim=True)


class Attention(nn.Module):
    """Multi-head attention `softmax(Q K^T) V` with the softmax scale already inside Q.

    Attributes:
        q, k: linears to `num_heads * key_dim` channels; `q` of a latent query is a constant `[1, num_heads * key_dim]`.
        v: linear to `num_heads * value_dim` channels.
        q_norm, k_norm: norms over each head's channels, or identities.
        proj: linear from `num_heads * value_dim` channels back to the model's.
    """

    def __init__(
        self,
        q: nn.Module,
        k: nn.Linear,
        v: nn.Linear,
        proj: nn.Linear,
        num_heads: int,
        q_norm: nn.Module,
        k_norm: nn.Module,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = q, k, v
        self.q_norm, self.k_norm = q_norm, k_norm
        self.softmax = nn.Softmax(dim=-1)
        self.proj = proj

    @property
    def key_dim(self) -> int:
        """Channels of one head's queries and keys."""
        return self.k.out_features // self.num_heads

    @property
    def value_dim(self) -> int:
        """Channels of one head's values."""
        return self.v.out_features // self.num_heads

    def split_heads(self, x: Tensor) -> Tensor:
        """`[..., tokens, heads * dim]` -> `[..., heads, tokens, dim]`."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-3, -2)

    def context(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Attention output before `proj`: `[..., queries, num_heads * value_dim]`."""
        return self.attend(self.q(queries), self.k(tokens), self.v(tokens))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The same, of what the linears answer."""
        q = self.q_norm(self.split_heads(q))
        k = self.k_norm(k.unflatten(-1, (self.num_heads, -1))).movedim(-3, -1)
        weights = self.softmax(q @ k)
        return (weights @ self.split_heads(v)).transpose(-3, -2).flatten(-2)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        return self.proj(self.context(queries, tokens))


class NoAttention(Attention):
    """In the place of an attention that was dropped: it has no heads, and no block asks it."""

    key_dim = value_dim = 0

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.num_heads = 0


class Mlp(nn.Module):
    """`fc2(act(fc1(x)))`, or with a gate `fc2(act(gate(x)) * fc1(x))` (SwiGLU)."""

    def __init__(self, fc1: nn.Linear, act: nn.Module, fc2: nn.Linear, gate: nn.Linear | None = None) -> None:
        super().__init__()
        self.fc1, self.gate, self.act, self.fc2 = fc1, gate, act, fc2

    @property
    def width(self) -> int:
        """Number of hidden neurons."""
        return self.fc2.in_features

    def hidden(self, x: Tensor) -> Tensor:
        """Activations that fc2 reads: `[..., tokens, width]`."""
        return self.activated(self.fc1(x), None if self.gate is None else self.gate(x))

    def activated(self, neurons: Tensor, gate: Tensor | None = None) -> Tensor:
        """The same, of what fc1 and the gate answer."""
        return self.act(neurons) if gate is None else self.act(gate) * neurons

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.hidden(x))


class NoMlp(Mlp):
    """In the place of an MLP that was dropped: it has no neurons, and no block asks it."""

    width = 0
    gate = None

    def __init__(self) -> None:
        nn.Module.__init__(self)


class Block(nn.Module):
    """Pre-norm block: `x + attn(norm1(x))`, then `x + mlp(norm2(x))`; a branch that was dropped adds nothing."""

    def __init__(self, norm1: nn.Module, attn: Attention, norm2: nn.Module, mlp: Mlp) -> None:
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = norm1, attn, norm2, mlp

    @property
    def shape(self) -> BlockShape:
        return BlockShape(self.mlp.width, self.attn.num_heads, self.attn.key_dim, self.attn.value_dim)

    def context(self, x: Tensor) -> Tensor:
        """What the attention's proj reads, of all tokens."""
        normed = self.norm1(x)
        return self.attn.context(normed, normed)

    def hidden(self, x: Tensor) -> Tensor:
        """What the MLP's fc2 reads, given the residual stream between attention and MLP."""
        return self.mlp.hidden(self.norm2(x))

    def after_attention(self, x: Tensor, reads: slice = ALL_TOKENS) -> Tensor:
        """The residual stream between attention and MLP, for the tokens in `reads` alone."""
        if isinstance(self.attn, NoAttention):
            return x if reads == ALL_TOKENS else x[..., reads, :]
        normed = self.norm1(x)
        if reads == ALL_TOKENS:
            return x + self.attn(normed, normed)
        return x[..., reads, :] + self.attn(normed[..., reads, :], normed)

    def after_mlp(self, x: Tensor) -> Tensor:
        """The residual stream after the MLP, given the one before it."""
        return x if isinstance(self.mlp, NoMlp) else x + self.mlp(self.norm2(x))

    def forward(self, x: Tensor, reads: slice = ALL_TOKENS) -> Tensor:
        return self.after_mlp(self.after_attention(x, reads))


class Blocks(nn.ModuleList):
    """A module list that says what it holds."""

    def __iter__(self) -> Iterator[Block]:
        return super().__iter__()  # type: ignore[return-value]

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index)


class LatentQuery(nn.Module):
    """The constant query of attention pooling: the same `[1, channels]` whatever it is asked about."""

    def __init__(self, query: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(query)

    def forward(self, _: Tensor) -> Tensor:
        return self.weight


class AttentionPool(nn.Module):
    """Attention pooling of SigLIP: one latent query over all tokens, then a residual MLP."""

    def __init__(self, attn: Attention, norm: nn.Module, mlp: Mlp) -> None:
        super().__init__()
        self.attn, self.norm, self.mlp = attn, norm, mlp

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.attn(x, x)
        return (pooled + self.mlp(self.norm(pooled)))[..., 0, :]


class EdgeViT(nn.Module):
    """A Vision Transformer in edge form.

    Attributes:
        patch_embed: convolution whose stride is its kernel, `[B, 3, H, W]` -> `[B, channels, rows, columns]`.
        prefix: `[prefix_tokens, channels]`, class token and registers with their positions added.
        position: `[patches, channels]`, added to the patch embeddings.
        norm_pre: norm before the first block (CLIP), or an identity.
        blocks: the transformer blocks, in order.
        norm, fc_norm: norms before and after pooling, or identities.
        pooling: how the tokens become one vector: the first token, the mean, or attention pooling.
        reads: the tokens that pooling reads from the last block.
        head: linear to `num_classes` logits.
        for_edgetpu: written in operators that an Edge TPU takes, see `models/forms.py`.
        rewrites: names of the exact rewrites that have been made, or are made when it is written.
    """

    for_edgetpu = False
    rewrites = rewrites.FOR_ANY_WEIGHTS

    def __init__(
        self,
        *,
        patch_embed: nn.Conv2d,
        prefix: Tensor,
        position: Tensor,
        norm_pre: nn.Module,
        blocks: list[Block],
        norm: nn.Module,
        pooling: Pooling,
        reads: slice,
        attention_pool: AttentionPool | None,
        fc_norm: nn.Module,
        head: nn.Linear,
        img_size: tuple[int, int],
    ) -> None:
        super().__init__()
        self.patch_embed = patch_embed
        self.prefix = nn.Parameter(prefix)
        self.position = nn.Parameter(position)
        self.norm_pre = norm_pre
        self.blocks = Blocks(blocks)
        self.norm = norm
        self.pooling = pooling
        self.reads = reads
        self.attention_pool = attention_pool
        self.fc_norm = fc_norm
        self.head = head
        self.img_size = img_size

    @property
    def num_tokens(self) -> int:
        return self.prefix.shape[0] + self.position.shape[0]

    def with_blocks(self, blocks: Iterable[Block]) -> EdgeViT:
        """The same model, all else shared, with other blocks; it is not changed itself."""
        changed = copy.copy(self)
        changed._modules = dict(self._modules)
        changed.blocks = Blocks(blocks)
        return changed

    def embed(self, images: Tensor) -> Tensor:
        """`float32 [B, 3, H, W]` images -> `[B, tokens, channels]` residual stream before the first block."""
        patches = self.patch_embed(images).permute(0, 2, 3, 1).flatten(1, 2)
        return self.assemble(patches, self.prefix.expand(len(patches), -1, -1))

    def assemble(self, patches: Tensor, prefix: Tensor) -> Tensor:
        """Patch embeddings and prefix tokens -> residual stream, for any leading dimensions."""
        count = prefix.shape[-2]
        if self.for_edgetpu and count:
            x = F.pad(patches, (0, 0, count, 0)) + torch.cat([prefix, self.position.expand_as(patches)], dim=-2)
        elif count:
            x = torch.cat([prefix, patches + self.position], dim=-2)
        else:
            x = patches + self.position
        return self.norm_pre(x)

    def features(self, x: Tensor) -> Tensor:
        """The tokens in `reads` after the last block, `[..., tokens, channels]` -> what the head reads."""
        x = self.norm(x)
        if self.pooling == "token":
            x = x[..., 0, :]
        elif self.pooling == "avg":
            x = x.mean(dim=-2)
        else:
            assert self.attention_pool is not None
            x = self.attention_pool(x)
        return self.fc_norm(x)

    def classify(self, x: Tensor) -> Tensor:
        """The tokens in `reads` after the last block, `[..., tokens, channels]` -> logits `[..., num_classes]`."""
        return self.head(self.features(x))

    def transform(self, x: Tensor) -> Tensor:
        """Residual stream before the first block -> the tokens in `reads` after the last one."""
        *early, last = self.blocks
        for block in early:
            x = block(x)
        return last(x, self.reads)

    def forward(self, images: Tensor) -> Tensor:
        """Normalized images `float32 [B, 3, H, W]` -> logits `float32 [B, num_classes]`."""
        return self.classify(self.transform(self.embed(images)))
