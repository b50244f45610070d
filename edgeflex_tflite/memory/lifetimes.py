"""From which op to which op each buffer is needed.

The rules are those of LiteRT's `tflite/arena_planner.cc` (PlanAllocations): a buffer begins with the op that
writes it, or with the first op for graph inputs and variables, and ends with its last reader. Graph inputs,
outputs, variables and outputs that nobody reads never end.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass

from edgeflex_tflite.memory.prepare import Prepared, real_indices

FOREVER = sys.maxsize
"""Last op of a buffer that is never freed."""


@dataclass(frozen=True)
class Lifetime:
    """Ops during which a buffer is needed, both included.

    Attributes:
        first: Index of the op before which it is placed.
        last: Index of the op after which it is free, or FOREVER.
    """

    first: int
    last: int = FOREVER

    @property
    def whole(self) -> bool:
        """Needed from the first op to the end."""
        return self.first == 0 and self.last == FOREVER

    def overlaps(self, other: Lifetime) -> bool:
        """Whether both are needed during some op."""
        return self.first <= other.last and other.first <= self.last


def lifetimes(prepared: Prepared, owners: dict[int, int]) -> dict[int, Lifetime]:
    """Lifetime of each tensor that the graph or a kernel allocates.

    Args:
        prepared: The prepared graph.
        owners: For each tensor inside another one's buffer, the owner: its reads keep the owner alive.
    """
    first = _first_ops(prepared)
    last = _last_ops(prepared, owners)
    spans = {index: Lifetime(op, last.get(index, FOREVER)) for index, op in first.items()}
    for op, indices in enumerate(prepared.temporaries):
        spans.update(dict.fromkeys(indices, Lifetime(op, op)))
    return spans


def always_kept(prepared: Prepared) -> list[int]:
    """Graph outputs, variables and graph inputs."""
    graph = prepared.graph
    variables = [t.index for t in graph.tensors if t.is_variable]
    return real_indices(graph.outputs) + variables + real_indices(graph.inputs)


def _first_ops(prepared: Prepared) -> dict[int, int]:
    graph = prepared.graph
    first = {t.index: 0 for t in graph.tensors if t.is_variable}
    first.update(dict.fromkeys(real_indices(graph.inputs), 0))
    for op in graph.ops:
        for index in real_indices(op.outputs):
            first.setdefault(index, op.index)
    return first


def _last_ops(prepared: Prepared, owners: dict[int, int]) -> dict[int, int]:
    kept = Counter(always_kept(prepared))
    last: dict[int, int] = {}
    for op in prepared.graph.ops:
        for index in real_indices(op.inputs):
            owner = owners.get(index, index)
            if not kept[owner]:
                last[owner] = op.index
    return last
