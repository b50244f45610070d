"""From budget or ratio to what is done to each part of the model, and the budget held against the written file."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Sequence

from edgeflex_tflite.artifacts import BlockCut, Dtype, MemoryCost, PrecisionPlan, PrunePlan
from edgeflex_tflite.budget.allocate import Option, allocate, allocate_evenly
from edgeflex_tflite.budget.curves import level_curve
from edgeflex_tflite.budget.measure import BlockCosts, Costs, measure_blocks, measure_int8, nothing_measured
from edgeflex_tflite.budget.parts import parts_of
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower.predict import block_bytes, linear_bytes
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.prune.gradients import loss_scores
from edgeflex_tflite.recipe import KILOBYTE, MEGABYTE, Recipe
from edgeflex_tflite.run import Design, Run

ROUNDING = 1e-6
"""Of a product of a share and a number of neurons."""
ARENA_MARGIN = 0.02
"""Of the dense model's arena."""


def levers_of(recipe: Recipe, plan: PrecisionPlan) -> tuple[str, ...]:
    """What may be done, of all that the recipe allows: a ratio is of MLP neurons, INT4 needs activations in float."""
    if recipe.prune_ratio or recipe.allocation == "uniform":
        return ("mlp",)
    possible = {"int4": plan.activations == "dynamic", "fp16": recipe.precision == "mixed"}
    return tuple(lever for lever in recipe.lever_list if possible.get(lever, True))


def check_budget_possible(run: Design) -> None:
    """Raises UserError, with the least that is possible, where the budget is out of reach."""
    budget = run.recipe.memory_budget_bytes
    if budget is not None and budget < (least := least_bytes(run)):
        raise UserError(
            f"a budget of {budget / MEGABYTE:.2f} MB is impossible for this model in precision {run.recipe.precision}: "
            f"the least is {-(-least // 10_000) / 100:.2f} MB, and without pruning it needs "
            f"{run.dense_cost.total_bytes / MEGABYTE:.2f} MB"
        )


def least_bytes(run: Design) -> int:
    """The smallest budget that the recipe's levers can reach."""
    levers = levers_of(run.recipe, run.precisions)
    multiple = run.recipe.width_multiple
    blocks = tuple(nothing_measured(block, index, levers, multiple) for index, block in enumerate(run.dense.blocks))
    costs = Costs(blocks, dict.fromkeys(_halves(run), 0.0)).of(levers)
    parts = _parts(run, costs)
    can_save = sum(options[0].bytes - min(option.bytes for option in options) for options in parts)
    return run.dense_cost.total_bytes - can_save + _margin(run, levers)


def _parts(run: Design, costs: Costs) -> list[list[Option]]:
    return parts_of(run.dense, run.precisions, costs, run.recipe.width_multiple, len(run.recipe.batches))


def plan_pruning(run: Run, costs: Costs | None = None) -> PrunePlan:
    """What reaches the budget or the ratio at the least predicted loss; dense where nothing is asked for.

    Args:
        run: gives the recipe.
        costs: as `measure` finds them for at least the levers that are needed; None: they are measured now.
    """
    recipe, dense = run.recipe, run.dense_cost
    to_save = 0
    if recipe.memory_budget_bytes is not None:
        over = dense.total_bytes - recipe.memory_budget_bytes
        to_save = over + _margin(run, levers_of(recipe, run.precisions)) if over > 0 else 0
    if to_save == 0 and not recipe.prune_ratio:
        cuts = tuple(BlockCut(width, width, 0.0, 0.0) for width in run.dense_widths)
        return PrunePlan(cuts, dense.weights_bytes, dense.arena_bytes)
    levers = levers_of(recipe, run.precisions)
    if recipe.allocation == "uniform":
        costs = Costs(tuple(BlockCosts(level_curve(width), {}, {}) for width in run.dense_widths), {})
    elif costs is None:
        costs = measure(run, levers)
    costs = costs.of(levers)
    return _plan(run, _chosen(run, costs, to_save), costs, recipe.allocation == "measured")


def _margin(run: Design, levers: Sequence[str]) -> int:
    """Bytes kept free for what a changed attention, or other integers, do to the arena's plan."""
    return 0 if levers == ("mlp",) else round(ARENA_MARGIN * run.dense_cost.arena_bytes)


def _chosen(run: Run, costs: Costs, to_save: int) -> list[Option]:
    recipe = run.recipe
    parts = _parts(run, costs)
    choose = allocate_evenly if recipe.allocation == "uniform" else allocate
    if recipe.prune_ratio:
        return choose(_neurons(parts), math.floor((1 - recipe.prune_ratio) * sum(run.dense_widths) + ROUNDING))
    return choose(parts, sum(options[0].bytes for options in parts) - to_save)


def _neurons(parts: list[list[Option]]) -> list[list[Option]]:
    """Options that count MLP neurons in place of bytes: each as one, whatever its bytes are."""
    return [
        [dataclasses.replace(option, bytes=option.sizes.get("width", 0)) for option in options] for options in parts
    ]


def measure(run: Run, levers: Sequence[str]) -> Costs:
    """What the given levers cost on the calibration images."""
    tokens = run.calibration_tokens()
    from_loss = loss_scores(run.dense, tokens, run.calibration_labels(), run.recipe.prune_score)
    found = measure_blocks(run.dense, tokens, run.recipe, levers, from_loss, run.console.progress)
    sites = _halves(run) if "fp16" in levers else []
    int8 = measure_int8(run.dense, run.calibration_batches(), sites, run.recipe.probe_samples)
    named = tuple(dataclasses.replace(each, change=f"{each.change} INT8") for each in int8)
    divergences = {site.change: site.divergence for site in int8}
    return dataclasses.replace(found, int8=divergences, sensitivities=found.sensitivities + named)


def _halves(run: Design) -> list[str]:
    """FP16 sites outside the blocks, which may become INT8."""
    weights = run.precisions.weights.items()
    return [site for site, found in weights if found.dtype is Dtype.FP16 and not site.startswith("blocks.")]


def _plan(run: Run, chosen: list[Option], costs: Costs, measured: bool) -> PrunePlan:
    cuts = []
    for index, (block, cost) in enumerate(zip(run.dense.blocks, costs.blocks, strict=True)):
        pair = chosen[2 * index : 2 * index + 2]
        shape = dataclasses.replace(block.shape, **pair[0].sizes, **pair[1].sizes)
        loss = sum(option.divergence for option in pair) if measured else None
        error = cost.mlp.error[block.mlp.width - shape.width].item() if measured and cost.mlp is not None else None
        attention_cut = dataclasses.replace(shape, width=block.mlp.width) != block.shape
        cuts.append(BlockCut(shape.width, block.mlp.width, error, loss, shape=shape if attention_cut else None))
    dtypes: dict[str, Dtype] = functools.reduce(operator.or_, (dict(option.dtypes) for option in chosen), {})
    total = sum(option.divergence for option in chosen) if measured else None
    dense = run.dense_cost
    plan = PrunePlan(tuple(cuts), dense.weights_bytes, dense.arena_bytes, dtypes, total, costs.sensitivities)
    weights, arena = _saved(run, plan)
    return dataclasses.replace(
        plan,
        predicted_weights_bytes=dense.weights_bytes - weights,
        predicted_arena_bytes=dense.arena_bytes - arena,
    )


def _saved(run: Design, chosen: PrunePlan) -> tuple[int, int]:
    """Bytes of weights, and of arena held from the start, that a plan does without."""
    dtypes = chosen.dtypes
    lowered = run.precisions.lowered(dtypes)
    weights = arena = 0
    for index, (block, shape) in enumerate(zip(run.dense.blocks, chosen.shapes, strict=True)):
        before, after = (
            block_bytes(block, each, f"blocks.{index}", plan, rewrites=run.dense.rewrites)
            for each, plan in ((block.shape, run.precisions), (shape, lowered))
        )
        weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    for site in dtypes:
        if not site.startswith("blocks."):
            weight = weight_sites(run.dense)[site].weight
            sizes = weight[0].numel(), len(weight)  # type: ignore[index,arg-type]
            before, after = (linear_bytes(*sizes, plan.weights[site].dtype, True) for plan in (run.precisions, lowered))
            weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    return weights, arena * len(run.recipe.batches)


def check_budget_holds(run: Run, cost: MemoryCost) -> None:
    """Raises VerificationError, which names what binds, where the written file misses a budget."""
    arena = run.recipe.arena_budget_bytes
    if arena is not None and cost.arena_bytes > arena:
        raise VerificationError(
            f"the file's arena is {cost.arena_bytes:,} bytes, set by {cost.peak_op}, over the budget of {arena:,}: try "
            f"--arena_budget_kb={(2 * arena - cost.arena_bytes) // KILOBYTE}"
        )
    budget = run.recipe.memory_budget_bytes
    if budget is not None and cost.total_bytes > budget:
        raise VerificationError(
            f"the file needs {cost.total_bytes:,} bytes ({cost.weights_bytes:,} of weights, {cost.arena_bytes:,} of "
            f"arena, set by {cost.peak_op}), over the budget of {budget:,}: try --memory_budget_mb="
            f"{(2 * budget - cost.total_bytes) // 10_000 / 100:.2f}"
        )
