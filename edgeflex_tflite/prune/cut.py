"""Surgery: an MLP with fewer hidden neurons, and blocks of any shape, as new modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.models.edge import Attention, Block, EdgeViT, Mlp, NoAttention, NoMlp
from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.prune.compensate import compensation
from edgeflex_tflite.prune.statistics import HiddenMoments, Moments


def cut_mlp(mlp: Mlp, moments: HiddenMoments, order: Tensor, width: int, compensate: str) -> Mlp:
    """Keep the first `width` neurons of `order`.

    Args:
        mlp: it is not changed.
        moments: of its hidden activations.
        order: neurons from the most to the least important.
        width: how many to keep.
        compensate: `ridge` (the kept ones take over what the others did), `bias` (it takes over their mean, FLAP,
            arXiv 2312.11983) or `none`.

    Returns:
        An MLP whose linears really are smaller; kept neurons stay in their old order.
    """
    kept, cut = order[:width].sort().values, order[width:].sort().values
    fc2 = cut_inputs(mlp.fc2, moments, kept, cut, compensate)
    gate = rows(mlp.gate, kept) if mlp.gate is not None else None
    return Mlp(rows(mlp.fc1, kept), mlp.act, fc2, gate)


def cut_inputs(reader: nn.Linear, moments: Moments, kept: Tensor, cut: Tensor, compensate: str = "ridge") -> nn.Linear:
    """The linear without the inputs `cut`, for which those in `kept` take over.

    Args:
        reader: `[p] -> [channels]`; it is not changed.
        moments: of its input.
        kept, cut: indices into p, which share none and leave none out.
        compensate: `ridge` (the kept inputs take over), `bias` (it takes over the mean of the cut ones) or `none`.
    """
    W, bias = reader.weight.double(), reader.bias.double()
    smaller = W[:, kept]
    if compensate == "ridge" and len(cut):
        taken_over, shift = compensation(W[:, cut], moments, kept, cut)
        smaller, bias = smaller + taken_over, bias + shift
    elif compensate == "bias":
        bias = bias + W[:, cut] @ moments.mean[cut]
    return linear(smaller, bias)


def with_widths(model: EdgeViT, shapes: Sequence[int | BlockShape]) -> EdgeViT:
    """A copy whose blocks have the given MLP widths or shapes; of each kind of weights, the first ones stay."""
    blocks = zip(model.blocks, shapes, strict=True)
    return model.with_blocks(resize_block(block, whole_shape(block, shape)) for block, shape in blocks)


def whole_shape(block: Block, shape: int | BlockShape) -> BlockShape:
    """A number is the width of an MLP beside the block's own attention."""
    return dataclasses.replace(block.shape, width=shape) if isinstance(shape, int) else shape


def resize_block(block: Block, shape: BlockShape) -> Block:
    """A block of the given shape with the first weights of each kind: the right sizes to load saved ones into."""
    left = without_dropped(block, shape)
    return Block(left.norm1, resize_attention(left.attn, shape), left.norm2, resize_mlp(left.mlp, shape.width))


def without_dropped(block: Block, shape: BlockShape) -> Block:
    """The block without the branches that a shape has not, and without their norms; the others are as they are."""
    norm1, attn = (block.norm1, block.attn) if shape.num_heads else (nn.Identity(), NoAttention())
    norm2, mlp = (block.norm2, block.mlp) if shape.width else (nn.Identity(), NoMlp())
    return Block(norm1, attn, norm2, mlp)


def resize_mlp(mlp: Mlp, width: int) -> Mlp:
    """An MLP of the given width with the first neurons' weights."""
    if width == mlp.width:
        return mlp
    gate = rows(mlp.gate, slice(width)) if mlp.gate is not None else None
    return Mlp(rows(mlp.fc1, slice(width)), mlp.act, linear(mlp.fc2.weight[:, :width], mlp.fc2.bias), gate)


def resize_attention(attn: Attention, shape: BlockShape) -> Attention:
    """Attention of the given shape with the first weights of q, k, v and proj."""
    if (shape.num_heads, shape.key_dim, shape.value_dim) == (attn.num_heads, attn.key_dim, attn.value_dim):
        return attn
    assert isinstance(attn.q, nn.Linear)
    keys, values = slice(shape.num_heads * shape.key_dim), slice(shape.num_heads * shape.value_dim)
    proj = linear(attn.proj.weight[:, values], attn.proj.bias)
    q, k, v = rows(attn.q, keys), rows(attn.k, keys), rows(attn.v, values)
    return Attention(q, k, v, proj, shape.num_heads, attn.q_norm, attn.k_norm)


def rows(source: nn.Linear, kept: Tensor | slice) -> nn.Linear:
    """The linear with the output channels `kept` alone."""
    return linear(source.weight[kept], source.bias[kept])
