"""What is cut of each block, and what was expected of it."""

from __future__ import annotations

import dataclasses

from edgeflex_tflite.artifacts.precision import Dtype


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """The sizes of a block that pruning may change.

    Attributes:
        width: hidden neurons of the MLP; 0 where it was dropped.
        num_heads: heads of the attention; it and the next two are 0 where that was dropped.
        key_dim: channels of one head's queries and keys.
        value_dim: channels of one head's values.
    """

    width: int
    num_heads: int
    key_dim: int
    value_dim: int

    def has(self, path: str) -> bool:
        """Whether a block of this shape has the module at a path: a branch that was dropped leaves none."""
        return bool(self.num_heads if path.startswith(("norm1", "attn")) else self.width)


@dataclasses.dataclass(frozen=True)
class BlockCut:
    """How one block is cut.

    Attributes:
        width, dense_width: hidden neurons after and before.
        predicted_error: mean squared error of the MLP's output that the allocation expects, over its mean square.
        predicted_divergence: KL divergence of the logits that the allocation expects of what it does to this block
            alone. Both are None where the allocation measures nothing.
        error_cut_alone, error: the same relative error as measured in the sweep, before and after compensation.
        shape: of the block, where its attention is cut too; its width is `width`.
    """

    width: int
    dense_width: int
    predicted_error: float | None
    predicted_divergence: float | None
    error_cut_alone: float | None = None
    error: float | None = None
    shape: BlockShape | None = None

    @property
    def is_cut(self) -> bool:
        return self.width < self.dense_width or self.shape is not None


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What one change alone does to the logits of the dense model.

    Attributes:
        block: number of the block that is changed; None outside of the blocks.
        change: in words.
        divergence: KL divergence of the logits, in nats.
    """

    block: int | None
    change: str
    divergence: float


@dataclasses.dataclass(frozen=True)
class PrunePlan:
    """One `BlockCut` a block, front to back, and the bytes that the plan is predicted to need.

    Attributes:
        dtypes: of the sites whose precision the budget has lowered.
        predicted_divergence: KL divergence of the logits that the allocation expects of the whole plan, in nats; None
            where it measures nothing.
        sensitivities: what was measured.
    """

    cuts: tuple[BlockCut, ...]
    predicted_weights_bytes: int
    predicted_arena_bytes: int
    dtypes: dict[str, Dtype] = dataclasses.field(default_factory=dict)
    predicted_divergence: float | None = None
    sensitivities: tuple[Sensitivity, ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether any block is."""
        return any(cut.is_cut for cut in self.cuts)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(cut.width for cut in self.cuts)

    @property
    def shapes(self) -> tuple[int | BlockShape, ...]:
        """Of the blocks; a number is the width of an MLP beside an attention that is not cut."""
        return tuple(cut.shape or cut.width for cut in self.cuts)

    @property
    def dropped(self) -> tuple[int, int]:
        """Attentions, and MLPs, that are dropped as a whole."""
        attentions = [cut for cut in self.cuts if cut.shape is not None and not cut.shape.num_heads]
        return len(attentions), self.widths.count(0)

    @property
    def predicted_bytes(self) -> int:
        return self.predicted_weights_bytes + self.predicted_arena_bytes
