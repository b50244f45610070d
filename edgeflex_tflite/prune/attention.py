"""Surgery: an attention with smaller or fewer heads, as a new module."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.models.edge import Attention
from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.prune.cut import cut_inputs, rows
from edgeflex_tflite.prune.heads import channels_of, head_order
from edgeflex_tflite.prune.query_key import ScoreMoments, query_key_maps
from edgeflex_tflite.prune.statistics import HiddenMoments, Moments
from edgeflex_tflite.prune.value import principal_channels, rank_order

AttentionInputs = Iterable[tuple[Tensor, Tensor]]
"""For each batch of images, what the queries are made of `[..., queries, channels]`, and keys and values."""


def can_truncate(attn: Attention) -> bool:
    """Whether queries and keys may lose channels: not where a norm over them stands before the scores."""
    return isinstance(attn.q, nn.Linear) and all(isinstance(norm, nn.Identity) for norm in (attn.q_norm, attn.k_norm))


def score_moments(attn: Attention, inputs: AttentionInputs) -> ScoreMoments:
    """Of the queries and keys of a `can_truncate` attention."""
    return ScoreMoments(_queries_and_keys(attn, inputs))


@torch.inference_mode()
def _queries_and_keys(attn: Attention, inputs: AttentionInputs) -> Iterator[tuple[Tensor, Tensor]]:
    for queries, tokens in inputs:
        yield attn.split_heads(attn.q(queries)), attn.split_heads(attn.k(tokens))


def context_moments(attn: Attention, inputs: AttentionInputs) -> HiddenMoments:
    """Of what proj reads."""
    return HiddenMoments(_contexts(attn, inputs))


@torch.inference_mode()
def _contexts(attn: Attention, inputs: AttentionInputs) -> Iterator[Tensor]:
    for queries, tokens in inputs:
        yield attn.context(queries, tokens)


def truncate_keys(attn: Attention, moments: ScoreMoments, rank: int) -> Attention:
    """Queries and keys of `rank` channels a head; the scores' error is least.

    Args:
        attn: `can_truncate`; it is not changed.
        moments: of its queries and keys.
        rank: new `key_dim`.
    """
    if rank == attn.key_dim:
        return attn
    assert can_truncate(attn) and isinstance(attn.q, nn.Linear)
    A, C = query_key_maps(moments, rank)
    q = _mapped(attn.q, A.mT, torch.zeros_like(moments.key_mean))
    k = _mapped(attn.k, C.mT, moments.key_mean)
    return Attention(q, k, attn.v, attn.proj, attn.num_heads, attn.q_norm, attn.k_norm)


def truncate_values(attn: Attention, moments: Moments, rank: int, compensate: bool) -> Attention:
    """Values of `rank` channels a head: each head's best ones, in the basis of `principal_channels`.

    Args:
        attn: it is not changed.
        moments: of what its proj reads.
        rank: new `value_dim`.
        compensate: let the kept channels take over what they predict; the bias takes the mean over in either case.
    """
    if rank == attn.value_dim:
        return attn
    T, W = principal_channels(attn.proj.weight, moments.covariance, attn.num_heads)
    kept, cut = rank_order(attn.num_heads, attn.value_dim).tensor_split([attn.num_heads * rank])
    kept = kept.sort().values
    sorted_moments = moments.mapped(torch.block_diag(*T))
    if compensate:
        proj = cut_inputs(linear(W, attn.proj.bias), sorted_moments, kept, cut)
    else:
        proj = linear(W[:, kept], attn.proj.bias + W[:, cut] @ sorted_moments.mean[cut])
    v = _mapped(attn.v, T[:, :rank], torch.zeros(attn.num_heads, attn.value_dim))
    return Attention(attn.q, attn.k, v, proj, attn.num_heads, attn.q_norm, attn.k_norm)


def cut_heads(attn: Attention, moments: Moments, order: Tensor, num_heads: int, compensate: bool) -> Attention:
    """Keep the first `num_heads` heads of `order`; they stay in their old order.

    Args:
        attn: it is not changed.
        moments: of what its proj reads.
        order: heads from the most to the least important.
        num_heads: how many to keep.
        compensate: let the kept ones, and the bias, take over what the others did.
    """
    if num_heads == attn.num_heads:
        return attn
    assert isinstance(attn.q, nn.Linear)
    kept, cut = order[:num_heads].sort().values, order[num_heads:].sort().values
    keys, values = channels_of(kept, attn.key_dim), channels_of(kept, attn.value_dim)
    if compensate:
        proj = cut_inputs(attn.proj, moments, values, channels_of(cut, attn.value_dim))
    else:
        proj = linear(attn.proj.weight[:, values], attn.proj.bias)
    q, k, v = rows(attn.q, keys), rows(attn.k, keys), rows(attn.v, values)
    return Attention(q, k, v, proj, num_heads, attn.q_norm, attn.k_norm)


def cut_keys(attn: Attention, inputs: AttentionInputs, key_dim: int) -> Attention:
    """Queries and keys of `key_dim` channels a head, judged on `inputs`, which are read where anything is to be cut."""
    return attn if key_dim == attn.key_dim else truncate_keys(attn, score_moments(attn, inputs), key_dim)


def cut_contexts(attn: Attention, moments: Moments, shape: BlockShape) -> Attention:
    """As many heads as `shape` has, and then as many channels of values, with all that is left taking over.

    Args:
        attn: it is not changed.
        moments: of what its proj reads.
        shape: gives `num_heads` and `value_dim`.
    """
    order = head_order(attn.proj.weight, moments, attn.num_heads)
    kept = channels_of(order[: shape.num_heads].sort().values, attn.value_dim)
    fewer = cut_heads(attn, moments, order, shape.num_heads, compensate=True)
    return truncate_values(fewer, moments.of(kept), shape.value_dim, compensate=True)


def _mapped(source: nn.Linear, matrices: Tensor, shift: Tensor) -> nn.Linear:
    """A linear whose heads are `matrices (x - shift)` of what they were.

    Args:
        source: to `heads * d` channels.
        matrices: `float64 [heads, r, d]`.
        shift: `[heads, d]`.
    """
    heads = len(matrices)
    weight = matrices @ source.weight.double().unflatten(0, (heads, -1))
    bias = matrices @ (source.bias.double().unflatten(0, (heads, -1)) - shift)[..., None]
    return linear(weight.flatten(0, 1), bias.flatten())
