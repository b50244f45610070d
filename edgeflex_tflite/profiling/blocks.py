"""Walking a model block by block, with the calibration images' tokens held between blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from edgeflex_tflite.models.edge import ALL_TOKENS, Block, EdgeViT
from edgeflex_tflite.side_by_side import each

Tokens = list[Tensor]
"""The residual stream of the calibration images, `[B, tokens, channels]` a batch."""


def embed(model: EdgeViT, batches: Iterable[Tensor]) -> Tokens:
    """Residual stream before the first block."""
    with torch.inference_mode():
        return list(each(model.embed, batches))


def advance(block: Callable[[Tensor], Tensor], tokens: Tokens) -> Tokens:
    """Residual stream after `block`, or a part of one; every token is computed, whatever the head reads."""
    with torch.inference_mode():
        return list(each(block, tokens))


def logits_from(model: EdgeViT, first: int, tokens: Tokens) -> Tensor:
    """Logits `[images, num_classes]` when `tokens` enter block number `first`."""
    with torch.inference_mode():
        *early, last = model.blocks
        for block in early[first:]:
            tokens = advance(block, tokens)
        if first > len(early):
            return torch.cat([model.classify(x[..., model.reads, :]) for x in tokens])
        return torch.cat(list(each(lambda x: model.classify(last(x, model.reads)), tokens)))


def attention_inputs(block: Block, tokens: Tokens, reads: slice = ALL_TOKENS) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch, what the attention makes queries of, of the tokens in `reads`, and keys and values."""
    for entering in tokens:
        with torch.inference_mode():
            normed = block.norm1(entering)
        yield normed[..., reads, :], normed


def mlp_inputs(block: Block, tokens: Tokens) -> Iterator[tuple[Tensor, Tensor]]:
    """For each batch, the residual stream after attention and the hidden activations that fc2 reads."""
    for entering in tokens:
        with torch.inference_mode():
            x = block.after_attention(entering)
            hidden = block.hidden(x)
        yield x, hidden


def subset(tokens: Tokens, images: int) -> Tokens:
    """The first `images` images."""
    kept: Tokens = []
    for x in tokens:
        room = images - sum(len(batch) for batch in kept)
        if room <= 0:
            break
        kept.append(x[:room])
    return kept


def beyond(tokens: Tokens, images: int) -> Tokens:
    """All but the first `images` images."""
    left: Tokens = []
    for x in tokens:
        left += [x[images:]] if len(x) > images else []
        images = max(0, images - len(x))
    return left


class Progress(Protocol):
    """Wraps an iterable of work in a progress bar with a caption."""

    def __call__(self, items: Iterable, caption: str, total: int | None = None) -> Iterable: ...


def no_progress(items: Iterable, caption: str, total: int | None = None) -> Iterable:
    return items
