"""How a plan and the memory that the runtime really allocated differ, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

from edgeflex_tflite.graph import UNSIZED_DTYPES, Graph
from edgeflex_tflite.memory import Allocation, ArenaMeasurement, ArenaPlan, measure_arena, plan_arena
from edgeflex_tflite.memory.runtime import Block
from edgeflex_tflite.parse import load_graphs


def differences(path: Path, *, graph: int = 0, num_threads: int = 1) -> list[str]:
    """What the runtime does differently from the plan; empty when they agree byte for byte."""
    plan = plan_arena(path, graph=graph, num_threads=num_threads)
    measured = measure_arena(path, graph=graph, num_threads=num_threads)
    parsed = load_graphs(path)[graph]
    in_arena = [a for a in plan.allocations if not a.persistent and visible(a, parsed)]
    kept = [a for a in plan.allocations if a.persistent and visible(a, parsed)]
    if measured.arena is None and all(is_scalar(a, parsed) for a in in_arena):
        return []  # without any neighbour that has dimensions, the interpreter does not show where it keeps them
    found = [*misplaced(in_arena, measured.arena, measured), *misplaced(kept, measured.persistent, measured)]
    found += unplanned(plan, measured)
    if in_arena and plan.peak_bytes != measured.peak_bytes:
        found.append(f"planned {plan.peak_bytes} bytes, measured {measured.peak_bytes}")
    if len(kept) == sum(a.persistent for a in plan.allocations) and plan.persistent_bytes != measured.persistent_bytes:
        found.append(f"planned {plan.persistent_bytes} bytes for good, measured {measured.persistent_bytes}")
    return found


def visible(allocation: Allocation, graph: Graph) -> bool:
    """Whether the interpreter shows the buffer's owner; resource handles it does not."""
    return allocation.tensor >= len(graph.tensors) or graph.tensors[allocation.tensor].dtype not in UNSIZED_DTYPES


def is_scalar(allocation: Allocation, graph: Graph) -> bool:
    """Whether the buffer's owner has no dimensions."""
    return allocation.tensor < len(graph.tensors) and not graph.tensors[allocation.tensor].shape


def misplaced(allocations: list[Allocation], block: Block | None, measured: ArenaMeasurement) -> list[str]:
    """Buffers that do not lie where the plan puts them."""
    base = block.address if block else 0
    return [
        f"tensor {tensor} ({a.name}): planned at {a.offset_bytes}, "
        f"measured at {measured.addresses.get(tensor, base - 1) - base}"
        for a in allocations
        for tensor in (a.tensor, *a.sharers)
        if measured.addresses.get(tensor) != base + a.offset_bytes
    ]


def unplanned(plan: ArenaPlan, measured: ArenaMeasurement) -> list[str]:
    """Tensors in the arenas that the plan knows nothing of."""
    planned = {tensor for a in plan.allocations for tensor in (a.tensor, *a.sharers)}
    blocks = [b for b in (measured.arena, measured.persistent) if b is not None]
    return [f"tensor {i} is not planned" for b in blocks for i in b.tensors if i not in planned]


def resized(path: Path, *, graph: int = 0) -> list[int]:
    """Tensors whose bytes the runtime computes otherwise than the file says: its shapes are not those of its ops."""
    measured = measure_arena(path, graph=graph)
    tensors = load_graphs(path)[graph].tensors
    return [t.index for t in tensors if measured.sizes_bytes.get(t.index, t.bytes) != t.bytes]
