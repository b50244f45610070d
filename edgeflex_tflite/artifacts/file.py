"""What is written: the input that a file takes, the way its blocks compute, the memory that it needs."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the written file takes as its image.

    Attributes:
        layout: `nhwc` or `nchw`.
        range: `0-255` (pixels as a camera gives them), `0-1`, or `normalized` (`(pixel / 255 - mean) / std`).
        mean, std: the model's normalization of 0-1 pixels, per channel.
        height, width: in pixels.
        batch: images at once.
    """

    layout: str
    range: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    height: int
    width: int
    batch: int = 1

    @property
    def _unit(self) -> float | None:
        return {"0-255": 255.0, "0-1": 1.0, "normalized": None}[self.range]

    @property
    def scale(self) -> tuple[float, ...]:
        """Factor per channel from the file's units to normalized ones: `normalized = scale * x + shift`."""
        if self._unit is None:
            return (1.0, 1.0, 1.0)
        return tuple(1.0 / (self._unit * std) for std in self.std)

    @property
    def shift(self) -> tuple[float, ...]:
        """Summand per channel from the file's units to normalized ones."""
        if self._unit is None:
            return (0.0, 0.0, 0.0)
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the file's input tensor."""
        size = (self.height, self.width)
        return (self.batch, *size, 3) if self.layout == "nhwc" else (self.batch, 3, *size)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """In how many pieces, one after the other, each block of a file computes; 1: at once.

    Attributes:
        attention: groups of heads.
        mlp: groups of hidden neurons.
    """

    attention: int = 1
    mlp: int = 1


WHOLE = Chunks()


@dataclasses.dataclass(frozen=True)
class Merging:
    """The tokens that a file merges on their way through its blocks.

    Attributes:
        count: pairs that each block but the last merges.
        tried: `(count, median latency in ms)` of every file that was measured for a latency target, in that order.
        drops: `(count, percentage points of top-1 lost)` of every file that was measured for the loss that is allowed.
    """

    count: int = 0
    tried: tuple[tuple[int, float], ...] = ()
    drops: tuple[tuple[int, float], ...] = ()


UNMERGED = Merging()


@dataclasses.dataclass(frozen=True)
class MemoryCost:
    """What a file needs on the device: its weights, and the arena that TFLite plans for its activations.

    Each signature's graph has an arena of its own, which the interpreter allocates when the signature is first used
    and does not give back, so the arenas of all signatures count.

    Attributes:
        peak_op: type and number of the operator that sets the arena.
        peak_site: the site that it belongs to; empty in files whose tensors are not named after sites.
    """

    weights_bytes: int
    arena_bytes: int
    file_bytes: int
    peak_op: str
    peak_site: str = ""

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.arena_bytes
