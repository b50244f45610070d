"""Through a model front to back, linear by linear, with the dense model's tokens beside the compressed one's.

Every linear is shown what it reads behind all that was changed before it, and what the dense model has in its place:
Q, K, V and fc1 are to answer what the dense ones answer, proj and fc2 whatever brings the residual stream back to the
dense stream, the head the dense logits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import ALL_TOKENS, Block, EdgeViT
from edgeflex_tflite.profiling.blocks import Progress, Tokens, advance, no_progress
from edgeflex_tflite.quantize.simulate import seen
from edgeflex_tflite.recover.regression import Regression

Batches = Iterator[tuple[Tensor, tuple[Tensor, ...]]]


@dataclasses.dataclass(frozen=True)
class Stage:
    """Linears that read the same input, when all before them have been treated.

    Attributes:
        parent: the block that holds them, or the model for the head.
        index: number of the block; None for the head.
        paths: of the linears in the parent.
        batches: gives what they read, and what each of them should answer, batch by batch; may be called again.
        reads, read_weight: tokens that count more than once in the regression, and how often; None: all count alike.
    """

    parent: nn.Module
    index: int | None
    paths: tuple[str, ...]
    batches: Callable[[], Batches]
    reads: slice | None = None
    read_weight: int = 1

    @cached_property
    def regression(self) -> Regression:
        return Regression((self._repeated(x), tuple(map(self._repeated, wanted))) for x, wanted in self.batches())

    def _repeated(self, x: Tensor) -> Tensor:
        if self.read_weight == 1 or self.reads in (None, ALL_TOKENS):
            return x
        return torch.cat([x, *[x[..., self.reads, :]] * (self.read_weight - 1)], dim=-2)

    @property
    def sites(self) -> tuple[str, ...]:
        """Paths of the linears in the model."""
        return self.paths if self.index is None else tuple(f"blocks.{self.index}.{path}" for path in self.paths)

    @property
    def block(self) -> Block:
        assert isinstance(self.parent, Block)
        return self.parent


@torch.inference_mode()
def walk(
    dense: EdgeViT,
    model: EdgeViT,
    tokens: Tokens,
    treat: Callable[[Stage], None],
    progress: Progress = no_progress,
    caption: str = "",
    read_weight: int = 1,
    restore: Callable[[int], Block | None] = lambda index: None,
    finished: Callable[[int], None] = lambda index: None,
) -> None:
    """Show `treat` every group of linears that read the same input, in order of execution.

    Args:
        dense: what to come near to; it is not changed.
        model: a twin of it; `treat` puts new modules and tensors into it.
        tokens: residual stream of the calibration images before the first block, the same for both.
        treat: changes the linears of a stage, or the whole attention or MLP that they belong to.
        progress, caption: of the blocks.
        read_weight: how often each token that the head reads counts, wherever a token's own answer is fitted: K and V
            serve all tokens alike.
        restore: gives a block that was treated in a run before; it is taken as it is.
        finished: is told of every block that has been treated now.

    Memory: two residual streams of the calibration images, and the moments of one linear.
    """
    wanted, stream = tokens, tokens
    for index, block in enumerate(progress(model.blocks, caption)):
        reference = dense.blocks[index]
        if (before := restore(index)) is not None:
            model.blocks[index] = before
            wanted, stream = advance(reference, wanted), advance(before, stream)
            continue
        readers = ("mlp.fc1",) if block.mlp.gate is None else ("mlp.fc1", "mlp.gate")
        stage = partial(Stage, block, index, reads=model.reads, read_weight=read_weight)
        projections = partial(_projections, reference, block, wanted, stream)
        treat(Stage(block, index, ("attn.q", "attn.k", "attn.v"), projections))
        half_wanted = [reference.after_attention(x) for x in wanted]
        contexts = [block.attn.context(x, x) for x in map(block.norm1, stream)]
        attended = block.attn
        treat(stage(("attn.proj",), partial(_contexts, attended.proj, contexts, stream, half_wanted)))
        if block.attn is attended:
            half = [x + attended.proj(context) for x, context in zip(stream, contexts, strict=True)]
        else:
            half = [block.after_attention(x) for x in stream]
        del contexts
        neurons = partial(_neurons, reference, block, half_wanted, half)
        treat(stage(readers, neurons))
        wanted = [reference.after_mlp(x) for x in half_wanted]
        treat(stage(("mlp.fc2",), partial(_hidden, block, half, wanted)))
        stream = [block.after_mlp(x) for x in half]
        finished(index)
    treat(Stage(model, None, ("head",), partial(_features, dense, model, wanted, stream)))


def _projections(dense: Block, block: Block, wanted: Tokens, stream: Tokens) -> Batches:
    for target, x in zip(wanted, stream, strict=True):
        normed = dense.norm1(target)
        answers = (dense.attn.q(normed), dense.attn.k(normed), dense.attn.v(normed))
        yield seen(block.attn.v, block.norm1(x)), answers


def _contexts(proj: nn.Linear, contexts: Tokens, stream: Tokens, wanted: Tokens) -> Batches:
    for context, x, target in zip(contexts, stream, wanted, strict=True):
        yield seen(proj, context), (target - x,)


def _neurons(dense: Block, block: Block, wanted: Tokens, stream: Tokens) -> Batches:
    for target, x in zip(wanted, stream, strict=True):
        normed = dense.norm2(target)
        gated = () if dense.mlp.gate is None else (dense.mlp.gate(normed),)
        yield seen(block.mlp.fc1, block.norm2(x)), (dense.mlp.fc1(normed), *gated)


def _hidden(block: Block, stream: Tokens, wanted: Tokens) -> Batches:
    for x, target in zip(stream, wanted, strict=True):
        yield seen(block.mlp.fc2, block.mlp.hidden(block.norm2(x))), (target - x,)


def _features(dense: EdgeViT, model: EdgeViT, wanted: Tokens, stream: Tokens) -> Batches:
    for target, x in zip(wanted, stream, strict=True):
        yield seen(model.head, model.features(x[..., model.reads, :])), (dense.classify(target[..., dense.reads, :]),)
