"""What a memory plan tells."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Allocation:
    """One placed buffer.

    Attributes:
        tensor: Index of the tensor that owns it; indices behind the file's are kernels' scratch tensors.
        name: Name of that tensor.
        sharers: Indices of further tensors that live in the same buffer.
        bytes: Size.
        offset_bytes: Distance from the begin of its arena.
        first_op: Index of the op before which it is placed.
        last_op: Index of the last op that needs it; the graph's last op when it is never freed.
        persistent: Lies in the persistent arena.
    """

    tensor: int
    name: str
    sharers: tuple[int, ...]
    bytes: int
    offset_bytes: int
    first_op: int
    last_op: int
    persistent: bool


@dataclass(frozen=True)
class ArenaPlan:
    """The memory plan of one graph, graph inputs and outputs included, constants not.

    Attributes:
        graph_index: Position of the graph in the file.
        peak_bytes: Size of the arena that ops reuse one after the other.
        persistent_bytes: Size of the arena that is never reused: variables, dequantized constants, row sums.
        lower_bound_bytes: Largest sum of live bytes over the ops; no plan can do with less.
        peak_op: Index and type of the op that sets the peak: of those during which the furthest buffer is live,
            the one with the most live bytes. None for a graph without ops.
        live_at_peak: The arena's buffers that are live during that op, by offset.
        timeline_bytes: For each op, the sum of the arena's live bytes.
        allocations: All buffers of both arenas, by offset.
        unmodelled_ops: Op types whose kernels' scratch tensors are unknown; the plan counts none for them.
        dynamic_tensors: Names of tensors that get heap blocks of their own; not counted.
        planned_ops: Number of ops that are planned before the first inference: all, unless an op's outputs
            cannot be sized before it has run.
        open_shapes: Names of planned tensors for which the file leaves a dimension open; the plan holds for the
            shape that is written in the file.
        callees: Plans of the graphs that this one's control flow runs, each with arenas of its own.
    """

    graph_index: int
    peak_bytes: int
    persistent_bytes: int
    lower_bound_bytes: int
    peak_op: tuple[int, str] | None
    live_at_peak: tuple[Allocation, ...]
    timeline_bytes: tuple[int, ...]
    allocations: tuple[Allocation, ...]
    unmodelled_ops: tuple[str, ...]
    dynamic_tensors: tuple[str, ...]
    planned_ops: int
    open_shapes: tuple[str, ...]
    callees: tuple[ArenaPlan, ...]

    @property
    def total_bytes(self) -> int:
        """Both arenas together with those of the callees, which live at the same time."""
        return self.peak_bytes + self.persistent_bytes + sum(plan.total_bytes for plan in self.callees)
