"""From budget or ratio to the width of every MLP, and the same budget held against the written file."""

from __future__ import annotations

from collections.abc import Sequence

from edgeflex_tflite.artifacts import BlockCut, MemoryCost, PrunePlan
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower.predict import block_bytes, neuron_bytes
from edgeflex_tflite.prune.allocate import BlockCurve, allocate, bytes_for_ratio, level_curve, smallest_width
from edgeflex_tflite.prune.sweep import measure_curves
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.run import Design, Run


def least_bytes(run: Design) -> int:
    """The smallest budget that pruning can reach, with all MLPs at their narrowest."""
    narrowest = [smallest_width(width, run.recipe.width_multiple) for width in run.dense_widths]
    return run.dense_cost.total_bytes - sum(_saved(run, narrowest))


def check_budget_possible(run: Design) -> None:
    """Raises UserError, with the least that is possible, where the budget is out of reach."""
    budget, least = run.recipe.memory_budget_bytes, least_bytes(run)
    if budget is not None and budget < least:
        raise UserError(
            f"a budget of {budget / MEGABYTE:.2f} MB is impossible for this model in precision {run.recipe.precision}: "
            f"the least is {-(-least // 10_000) / 100:.2f} MB, and without pruning it needs "
            f"{run.dense_cost.total_bytes / MEGABYTE:.2f} MB"
        )


def plan_pruning(run: Run) -> PrunePlan:
    """Widths that reach the budget or the ratio at the least predicted loss; dense ones where nothing is asked for."""
    recipe, dense = run.recipe, run.dense_cost
    to_save = 0
    if recipe.memory_budget_bytes is not None:
        to_save = max(0, dense.total_bytes - recipe.memory_budget_bytes)
    if to_save == 0 and not recipe.prune_ratio:
        cuts = tuple(BlockCut(width, width, 0.0, 0.0) for width in run.dense_widths)
        return PrunePlan(cuts, dense.weights_bytes, dense.arena_bytes)
    curves = _curves(run)
    if recipe.prune_ratio:
        to_save = bytes_for_ratio(curves, recipe.prune_ratio)
    widths = allocate(curves, to_save, recipe.width_multiple)
    measured = recipe.allocation == "measured"
    cuts = tuple(_planned_cut(curve, width, measured) for curve, width in zip(curves, widths, strict=True))
    weights, arena = _saved(run, widths)
    return PrunePlan(cuts, dense.weights_bytes - weights, dense.arena_bytes - arena)


def _saved(run: Design, widths: Sequence[int]) -> tuple[int, int]:
    """Bytes of weights, and of arena kept from the start, that MLPs of these widths do without."""
    weights = arena = 0
    for index, (block, width) in enumerate(zip(run.dense.blocks, widths, strict=True)):
        before = block_bytes(block, block.mlp.width, f"blocks.{index}", run.precisions)
        after = block_bytes(block, width, f"blocks.{index}", run.precisions)
        weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    return weights, arena


def _curves(run: Run) -> list[BlockCurve]:
    bytes_each = _neuron_bytes(run)
    if run.recipe.allocation == "uniform":
        return [level_curve(width, each) for width, each in zip(run.dense_widths, bytes_each, strict=True)]
    tokens, labels = run.calibration_tokens(), run.calibration_labels()
    return measure_curves(run.dense, tokens, run.recipe, bytes_each, run.console.progress, labels)


def _planned_cut(curve: BlockCurve, width: int, measured: bool) -> BlockCut:
    if not measured:
        return BlockCut(width, curve.dense_width, None, None)
    return BlockCut(width, curve.dense_width, curve.error[curve.dense_width - width].item(), curve.cost(width))


def _neuron_bytes(run: Design) -> list[int]:
    return [neuron_bytes(block, f"blocks.{i}", run.precisions) for i, block in enumerate(run.dense.blocks)]


def check_budget_holds(run: Run, cost: MemoryCost) -> None:
    """Raises VerificationError, which names what binds, where the written file misses the budget."""
    budget = run.recipe.memory_budget_bytes
    if budget is not None and cost.total_bytes > budget:
        raise VerificationError(
            f"the file needs {cost.total_bytes:,} bytes ({cost.weights_bytes:,} of weights, {cost.arena_bytes:,} of "
            f"arena, set by {cost.peak_op}), over the budget of {budget:,}: try --memory_budget_mb="
            f"{(2 * budget - cost.total_bytes) / MEGABYTE:.2f}"
        )
