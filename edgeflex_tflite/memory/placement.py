"""Where each buffer lies inside an arena.

The rules are those of LiteRT's `tflite/arena_planner.cc` (CreateTensorAllocationVector) and
`tflite/simple_memory_arena.cc` (Allocate).
"""

from __future__ import annotations

from bisect import insort_right
from collections.abc import Iterable
from dataclasses import dataclass

from edgeflex_tflite.memory.lifetimes import Lifetime

ALIGNMENT_BYTES = 64
"""Every buffer begins at a multiple of this (`tflite/util.h`, kDefaultTensorAlignment)."""


@dataclass(frozen=True)
class Request:
    """A buffer that wants a place.

    Attributes:
        tensor: Index of the tensor that owns it.
        bytes: Size.
        lifetime: Ops during which it is needed.
    """

    tensor: int
    bytes: int
    lifetime: Lifetime


@dataclass(frozen=True)
class Placed:
    """A buffer with a place.

    Attributes:
        request: What was asked for.
        offset_bytes: Distance from the arena's begin.
    """

    request: Request
    offset_bytes: int

    @property
    def end_bytes(self) -> int:
        """First byte behind it."""
        return self.offset_bytes + self.request.bytes


def placing_key(request: Request) -> tuple[int, int, int]:
    """Order of placement: whole-run buffers by index, then falling size, then first use."""
    if request.lifetime.whole:
        return (0, request.tensor, 0)
    return (1, -request.bytes, request.lifetime.first)


def place(requests: Iterable[Request]) -> list[Placed]:
    """Place buffers in the order given, each into the smallest gap between those needed at the same time."""
    placed: list[Placed] = []
    for request in requests:
        insort_right(placed, Placed(request, _offset(request, placed)), key=lambda p: p.offset_bytes)
    return placed


def extent_bytes(placed: Iterable[Placed]) -> int:
    """Size of the arena: the end of its furthest buffer."""
    return max((p.end_bytes for p in placed), default=0)


def _offset(request: Request, placed: list[Placed]) -> int:
    """The gap's begin; `placed` is ordered by offset.

    A gap is measured from the unaligned end of the buffer before it, but compared from the aligned one:
    that is how the runtime does it, and it decides between gaps that differ by less than the alignment.
    """
    best, best_gap, end = None, None, 0
    first, last = request.lifetime.first, request.lifetime.last
    for other in placed:
        lifetime = other.request.lifetime
        if lifetime.last < first or lifetime.first > last:
            continue
        start = _align(end)
        fits = start + request.bytes <= other.offset_bytes
        if fits and (best_gap is None or other.offset_bytes - start < best_gap):
            best, best_gap = start, other.offset_bytes - end
        end = max(end, other.end_bytes)
        if best_gap == 0:
            break
    return _align(end) if best is None else best


def _align(offset: int) -> int:
    return -(-offset // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
