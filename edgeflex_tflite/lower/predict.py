"""What a file will need before it exists, from a model of few blocks that is lowered in its place.

All blocks but the last differ in their sizes alone, so a model of those that are largest in one of them and the last
block has the arena of the whole one, and the weights of the blocks that it leaves out can be counted.
"""

from __future__ import annotations

import dataclasses
import heapq
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from edgeflex_tflite.artifacts import (
    WHOLE,
    BlockShape,
    Chunks,
    Dtype,
    InputSpec,
    MemoryCost,
    PrecisionPlan,
    grid_of,
)
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.deploy import scale_targets
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.memory import plan_arena, weights_bytes
from edgeflex_tflite.models.edge import Block, Blocks, EdgeViT, Norm
from edgeflex_tflite.parse import load_file
from edgeflex_tflite.prune.cut import whole_shape, with_widths
from edgeflex_tflite.rewrites import FOR_ANY_WEIGHTS, SCALE

FLOAT_BYTES = BIAS_BYTES = ROW_SUM_BYTES = 4
BLOCK_STEP_BYTES = 2
ARENA_ALIGNMENT_BYTES = 64
ADDED_UP = ("attn.proj", "mlp.fc2")
"""Linears whose pieces add up, the first of them with the bias; the pieces of others stand side by side."""
BLOCKS_OF_EACH_KIND = 2
"""Where the MLP no longer sets the peak, a block between two others may need more arena than the first one."""


def memory_cost(path: Path) -> MemoryCost:
    """Weights and planned arenas of a file; the operator at the peak is that of the largest."""
    arenas = [plan_arena(path, graph=graph) for graph in sorted({0, *signature_graphs(path).values()})]
    plan = max(arenas, key=lambda each: each.total_bytes)
    total = sum(each.total_bytes for each in arenas)
    peak_op, site = "none", ""
    if plan.peak_op is not None:
        index, name = plan.peak_op
        content = flatbuffer.read(path)
        peak_op, site = f"{name} (operator {index})", flatbuffer.site_of_operator(content, index, plan.graph_index)
    return MemoryCost(weights_bytes(path), total, path.stat().st_size, peak_op, site)


def signature_graphs(path: Path) -> dict[str, int]:
    """The subgraph of each signature of a file, in the file's order."""
    return {each.name: each.graph for each in load_file(path).signatures}


def predict_memory(
    model: EdgeViT,
    shapes: Sequence[int | BlockShape],
    plan: PrecisionPlan,
    spec: InputSpec,
    threads: int,
    chunks: Chunks = WHOLE,
    batches: Sequence[int] = (1,),
) -> tuple[MemoryCost, MemoryCost]:
    """Memory of the file that a model would give with blocks of these shapes.

    Args:
        model: dense.
        shapes: one a block; a number is an MLP's width.
        plan: precision of every site.
        spec: of the file's input.
        threads: of the interpreter that calibrates.
        chunks: the pieces that blocks compute in.
        batches: images at once, of each signature.

    Returns:
        The cost in FP32, and in the precisions of the plan. `file_bytes` is that of the file of few blocks plus the
        weights of the blocks that it leaves out.
    """
    probe = with_widths(model, shapes)
    wanted = [block.shape for block in probe.blocks]
    dense = chunks == WHOLE and wanted == [block.shape for block in model.blocks]
    chosen = _largest_and_last(wanted, of_each=1 if dense else BLOCKS_OF_EACH_KIND)
    probe.blocks = Blocks(probe.blocks[index] for index in chosen)
    probe_plan = plan_of_blocks(plan, chosen)
    left_out = [index for index in range(len(shapes)) if index not in chosen]
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        float_path, path = Path(folder, "float.tflite"), Path(folder, "probe.tflite")
        for batch in batches:
            batched = dataclasses.replace(spec, batch=batch)
            export_float(probe, batched, float_path, chunks)
            images = np.random.default_rng(0).uniform(0, 255, batched.shape).astype(np.float32)
            quantize_file(float_path, path, probe_plan, [images], threads)
            costs.append(
                (
                    _extrapolate(memory_cost(float_path), model, shapes, left_out, None, chunks),
                    _extrapolate(memory_cost(path), model, shapes, left_out, plan, chunks),
                )
            )
    in_float, as_planned = zip(*costs, strict=True)
    return _joined(in_float), _joined(as_planned)


def _joined(costs: Sequence[MemoryCost]) -> MemoryCost:
    """Of one file with the signatures of several: one set of weights, and the arena of each."""
    largest = max(costs, key=lambda cost: cost.arena_bytes)
    return dataclasses.replace(
        costs[0],
        arena_bytes=sum(cost.arena_bytes for cost in costs),
        peak_op=largest.peak_op,
        peak_site=largest.peak_site,
    )


def _largest_and_last(shapes: Sequence[BlockShape], of_each: int) -> list[int]:
    """The `of_each` largest blocks, the first of equals, in each kind of activations, and the last block."""
    kinds = zip(
        *((s.width, s.num_heads, s.num_heads * s.key_dim, s.num_heads * s.value_dim) for s in shapes), strict=True
    )
    *early, last = range(len(shapes))
    largest = [index for sizes in kinds for index in heapq.nlargest(of_each, early, sizes.__getitem__)]
    return sorted({*largest, last})


def block_bytes(
    block: Block,
    shape: int | BlockShape,
    prefix: str,
    plan: PrecisionPlan | None,
    chunks: Chunks = WHOLE,
    rewrites: frozenset[str] = FOR_ANY_WEIGHTS,
) -> tuple[int, int]:
    """What one block adds to a file, at a given MLP width or in a given shape.

    Args:
        block: gives what depends on neither.
        shape: of the block; a number is its MLP's width.
        prefix: the block's path, as in `blocks.3`.
        plan: precision of every site; None: FP32.
        chunks: the pieces that the block computes in.
        rewrites: of the model.

    Returns:
        Bytes of weights, and bytes that stay in the arena from the start.
    """
    weights = kept = 0
    in_linears = {target.source for target in scale_targets(block)} if SCALE in rewrites else set()
    shape = whole_shape(block, shape)
    pieces = linear_pieces(block.attn.proj.out_features, shape, chunks)
    left = [(name, module) for name, module in block.named_modules() if shape.has(name)]
    for name, module in left:
        if isinstance(module, nn.Linear):
            dtype = Dtype.FP32 if plan is None else plan.weights[f"{prefix}.{name}"].dtype
            dynamic, int4_block = (False, 0) if plan is None else (plan.activations == "dynamic", plan.int4_block)
            for size in pieces[name]:
                own = linear_bytes(*size, dtype, dynamic, int4_block)
                weights, kept = weights + own[0], kept + own[1]
            if name in ADDED_UP:
                weights -= (len(pieces[name]) - 1) * pieces[name][0][1] * BIAS_BYTES
        elif isinstance(module, Norm) and name not in in_linears:
            dtype = Dtype.FP32 if plan is None else plan.compute[f"{prefix}.{name}"].dtype
            weights += sum(parameter.numel() for parameter in module.parameters()) * dtype.bits // 8
    return weights, kept


def linear_bytes(inside: int, out: int, dtype: Dtype, dynamic: bool, int4_block: int = 0) -> tuple[int, int]:
    """What a linear or a convolution of `inside` weights for each of `out` channels adds to a file.

    Args:
        inside, out: its sizes.
        dtype: of its weights.
        dynamic: whether activations are quantized at run time.
        int4_block: weights that should share a step in INT4; the steps of blocks are weights too.

    Returns:
        Bytes of weights, and bytes that stay in the arena from the start: the expanded weights of FP16 sites, and the
        row sums that INT8 sites with activations quantized at run time keep for their zero points.
    """
    weights = -(-out * inside * dtype.bits // 8) + out * BIAS_BYTES
    if block := grid_of(dtype, inside, int4_block).block:
        weights += out * (inside // block) * BLOCK_STEP_BYTES
    if dtype is Dtype.FP16:
        return weights, _aligned(out * inside * FLOAT_BYTES)
    if dtype is Dtype.INT8 and dynamic:
        return weights, _aligned(out * ROW_SUM_BYTES)
    return weights, 0


def linear_pieces(channels: int, shape: BlockShape, chunks: Chunks) -> dict[str, list[tuple[int, int]]]:
    """`(in, out)` of every piece of every linear that a block may have, by the linear's path within the block."""
    whole = linear_sizes(channels, shape)
    pieces = {}
    for name, (inside, out) in whole.items():
        unit, count = shape.width, chunks.mlp
        if name.startswith("attn."):
            unit, count = shape.num_heads, chunks.attention
        parts = [len(part) for part in np.array_split(np.arange(unit), min(count, unit))] if unit else []
        if name in ADDED_UP:
            pieces[name] = [(inside // unit * part, out) for part in parts]
        else:
            pieces[name] = [(inside, out // unit * part) for part in parts]
    return pieces


def linear_sizes(channels: int, shape: BlockShape) -> dict[str, tuple[int, int]]:
    """`(in, out)` of every linear that a block may have, by its path within the block."""
    keys, values = shape.num_heads * shape.key_dim, shape.num_heads * shape.value_dim
    return {
        "attn.q": (channels, keys),
        "attn.k": (channels, keys),
        "attn.v": (channels, values),
        "attn.proj": (values, channels),
        "mlp.fc1": (channels, shape.width),
        "mlp.gate": (channels, shape.width),
        "mlp.fc2": (shape.width, channels),
    }


def _extrapolate(
    probe: MemoryCost,
    model: EdgeViT,
    shapes: Sequence[int | BlockShape],
    left_out: list[int],
    plan: PrecisionPlan | None,
    chunks: Chunks,
) -> MemoryCost:
    added = [block_bytes(model.blocks[i], shapes[i], f"blocks.{i}", plan, chunks, model.rewrites) for i in left_out]
    weights, kept = sum(weights for weights, _ in added), sum(kept for _, kept in added)
    return dataclasses.replace(
        probe,
        weights_bytes=probe.weights_bytes + weights,
        arena_bytes=probe.arena_bytes + kept,
        file_bytes=probe.file_bytes + weights,
    )


def _aligned(size: int) -> int:
    return -(-size // ARENA_ALIGNMENT_BYTES) * ARENA_ALIGNMENT_BYTES


def plan_of_blocks(plan: PrecisionPlan, chosen: list[int]) -> PrecisionPlan:
    """The plan of a model that has only the chosen blocks, renumbered."""

    def renumbered(sites: dict) -> dict:
        new = {name: precision for name, precision in sites.items() if not name.startswith("blocks.")}
        for position, index in enumerate(chosen):
            for name, precision in sites.items():
                if name == f"blocks.{index}" or name.startswith(f"blocks.{index}."):
                    new[name.replace(f"blocks.{index}", f"blocks.{position}", 1)] = precision
        return new

    return dataclasses.replace(plan, weights=renumbered(plan.weights), compute=renumbered(plan.compute))
