"""Through a model front to back, linear by linear, with the dense model's tokens beside the compressed one's.

Every linear is shown what it reads behind all that was changed before it, and what the dense model has in its place:
Q, K, V and fc1 are to answer what they answered to the dense model's input, proj and fc2 whatever brings the residual
stream back to the dense stream, the head the dense logits. Where the next attention or MLP was dropped, the dense
stream is the one behind it: the last linear that writes before it answers for it too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Literal

import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import ALL_TOKENS, Block, EdgeViT
from edgeflex_tflite.profiling.blocks import Progress, Tokens, advance, no_progress
from edgeflex_tflite.prune.statistics import Batch
from edgeflex_tflite.quantize.simulate import seen
from edgeflex_tflite.recover.regression import Regression
from edgeflex_tflite.side_by_side import each

Piece = Callable[[int], Batch]
"""What linears read of a batch of images, by its number, and what is wanted in its place or in answer to it."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Linears that read the same input, when all before them have been treated.

    Attributes:
        parent: the block that holds them, or the model for the head.
        index: number of the block; None for the head.
        paths: of the linears in the parent.
        piece: gives what they read, and what is wanted; may be called again, by several threads.
        count: number of batches.
        wants_input: what is wanted is the input that the dense model has in this place, to which the linears, dense
            ones themselves until they are treated, know the answer; otherwise, it is the answer of the only linear.
        before_dropped: the linear answers for a branch too that the dense model has and the compressed one has not.
        reads, read_weight: tokens that count more than once in the regression, and how often; None: all count alike.
    """

    parent: nn.Module
    index: int | None
    paths: tuple[str, ...]
    piece: Piece
    count: int
    wants_input: bool = False
    before_dropped: bool = False
    reads: slice | None = None
    read_weight: int = 1

    def batches(self) -> Iterator[Batch]:
        """Batch by batch."""
        return map(self.piece, range(self.count))

    @cached_property
    def regression(self) -> Regression:
        return Regression.over(partial(self._repeated, index) for index in range(self.count))

    def _repeated(self, index: int) -> Batch:
        """A batch, with the tokens that count more than once as often as they count."""
        x, wanted = self.piece(index)
        if self.read_weight == 1 or self.reads in (None, ALL_TOKENS):
            return x, wanted
        x, wanted = (torch.cat([y, *[y[..., self.reads, :]] * (self.read_weight - 1)], dim=-2) for y in (x, wanted))
        return x, wanted

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
    compare: bool = True,
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
        compare: whether anything is wanted of the linears; without, the dense model is not run, and in each batch what
            is wanted has no channels.

    Memory: two residual streams of the calibration images, and the input and the moments of one linear.
    """
    wanted, stream = tokens if compare else [], tokens
    for index, block in enumerate(progress(model.blocks, caption)):
        reference = dense.blocks[index]
        if (before := restore(index)) is not None:
            model.blocks[index] = before
            wanted, stream = advance(reference, wanted), advance(before, stream)
            continue
        stage = partial(Stage, block, index, count=len(tokens), reads=model.reads, read_weight=read_weight)
        if block.attn.num_heads:
            inputs = partial(_attention_inputs, reference, block, wanted, stream)
            treat(Stage(block, index, ("attn.q", "attn.k", "attn.v"), inputs, len(tokens), wants_input=True))
        wanted = advance(reference.after_attention, wanted)
        if block.attn.num_heads:
            goal = _before_next(dense, model, 2 * index + 1, wanted)
            stream = _through(
                block, "attn.proj", stream, goal, treat, partial(stage, before_dropped=goal is not wanted)
            )
        if block.mlp.width:
            readers = ("mlp.fc1",) if block.mlp.gate is None else ("mlp.fc1", "mlp.gate")
            treat(stage(readers, partial(_mlp_inputs, reference, block, wanted, stream), wants_input=True))
        wanted = advance(reference.after_mlp, wanted)
        if block.mlp.width:
            goal = _before_next(dense, model, 2 * index + 2, wanted)
            stream = _through(block, "mlp.fc2", stream, goal, treat, partial(stage, before_dropped=goal is not wanted))
        finished(index)
    treat(Stage(model, None, ("head",), partial(_features, dense, model, wanted, stream), len(tokens)))


def _through(
    block: Block,
    path: Literal["attn.proj", "mlp.fc2"],
    stream: Tokens,
    goal: Tokens,
    treat: Callable[[Stage], None],
    stage: Callable[..., Stage],
) -> Tokens:
    """The stream behind an attention or MLP whose last linear is treated; what that reads is computed once.

    Args:
        path: of the linear.
        goal: the stream that is wanted there.
        stage: makes one of the block, given paths and pieces.
    """
    enter, after = {
        "attn.proj": (block.context, block.after_attention),
        "mlp.fc2": (block.hidden, block.after_mlp),
    }[path]
    parent, name = path.split(".")
    branch = block.get_submodule(parent)
    inputs = advance(enter, stream)
    treat(stage((path,), partial(_last_inputs, branch.get_submodule(name), inputs, stream, goal)))
    if block.get_submodule(parent) is not branch:
        return advance(after, stream)
    last = branch.get_submodule(name)
    return list(each(lambda pair: pair[0] + last(pair[1]), zip(stream, inputs, strict=True)))


def _before_next(dense: EdgeViT, model: EdgeViT, behind: int, wanted: Tokens) -> Tokens:
    """The dense stream where the model's next branch reads it; `wanted` itself where none was dropped before that.

    Args:
        behind: number of the branch that reads `wanted`: 2i is the attention of block i, 2i + 1 its MLP.
    """
    present, present_in_dense = _branches(model), _branches(dense)
    while behind < len(present) and not present[behind]:
        if present_in_dense[behind]:
            reference = dense.blocks[behind // 2]
            wanted = advance(reference.after_mlp if behind % 2 else reference.after_attention, wanted)
        behind += 1
    return wanted


def _branches(model: EdgeViT) -> list[bool]:
    """Whether the model has the attention, and the MLP, of each block."""
    return [bool(size) for block in model.blocks for size in (block.attn.num_heads, block.mlp.width)]


def _attention_inputs(dense: Block, block: Block, wanted: Tokens, stream: Tokens, index: int) -> Batch:
    return _batch(index, seen(block.attn.v, block.norm1(stream[index])), wanted, dense.norm1)


def _mlp_inputs(dense: Block, block: Block, wanted: Tokens, stream: Tokens, index: int) -> Batch:
    return _batch(index, seen(block.mlp.fc1, block.norm2(stream[index])), wanted, dense.norm2)


def _last_inputs(last: nn.Module, inputs: Tokens, stream: Tokens, wanted: Tokens, index: int) -> Batch:
    return _batch(index, seen(last, inputs[index]), wanted, lambda goal: goal - stream[index])


def _features(dense: EdgeViT, model: EdgeViT, wanted: Tokens, stream: Tokens, index: int) -> Batch:
    features = model.features(stream[index][..., model.reads, :])
    return _batch(index, seen(model.head, features), wanted, lambda x: dense.classify(x[..., dense.reads, :]))


def _batch(index: int, x: Tensor, wanted: Tokens, answer: Callable[[Tensor], Tensor]) -> Batch:
    """What is read in a batch, and what the dense stream wants of it; nothing if that is not run."""
    return x, answer(wanted[index]) if wanted else x[..., :0]
