"""The plan of a run as text, for `--dry_run`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tabulate import tabulate

from edgeflex_tflite.artifacts import WHOLE, Chunks, PrecisionPlan, PrunePlan
from edgeflex_tflite.planning import least_bytes
from edgeflex_tflite.recipe import KILOBYTE, MEGABYTE
from edgeflex_tflite.resources import Needs
from edgeflex_tflite.search import TRIES

if TYPE_CHECKING:
    from edgeflex_tflite.run import Design


def precision_rows(plan: PrecisionPlan) -> list[tuple[str, int, str]]:
    """(precision, sites, reason), most sites first."""
    counted = Counter((precision.dtype.value, precision.reason) for precision in plan.weights.values())
    return [(dtype, count, reason) for (dtype, reason), count in counted.most_common()]


def width_rows(plan: PrunePlan) -> list[tuple[int, int, int, str]]:
    """(block, dense width, width, share cut)."""
    return [
        (index, cut.dense_width, cut.width, f"{1 - cut.width / cut.dense_width:.1%}")
        for index, cut in enumerate(plan.cuts)
    ]


def chunks_text(chunks: Chunks) -> str:
    if chunks == WHOLE:
        return "every block computes at once"
    return f"attention computes in {chunks.attention} and each MLP in {chunks.mlp} pieces"


def plan_text(run: Design, plan: PrunePlan, needs: Needs) -> str:
    """Widths, precisions, predicted bytes, time and memory."""
    bytes_rows = [
        ("FP32, not pruned", run.float_cost.weights_bytes, run.float_cost.arena_bytes, run.float_cost.total_bytes),
        ("planned", plan.predicted_weights_bytes, plan.predicted_arena_bytes, plan.predicted_bytes),
    ]
    table = [(name, *(f"{value / MEGABYTE:.2f}" for value in values)) for name, *values in bytes_rows]
    recipe, budget = run.recipe, run.recipe.memory_budget_bytes
    aim = f"budget: {'none' if budget is None else f'{budget / MEGABYTE:.2f} MB'}"
    if recipe.arena_budget_bytes is not None:
        aim += f"; {chunks_text(run.chunks)} for an arena of {recipe.arena_budget_bytes / KILOBYTE:.0f} kB"
    if recipe.merge_tokens:
        aim += f"; each block but the last merges {recipe.merge_tokens} pairs of tokens"
    if recipe.latency_target_ms is not None:
        aim += f"; tokens are merged until the written file takes {recipe.latency_target_ms:g} ms here"
    if recipe.spend == "tokens":
        aim += f"; tokens are merged as long as the written file loses at most {recipe.max_accuracy_drop:g} points"
    if recipe.spends_accuracy:
        aim = (
            f"this is the first of up to {1 + TRIES} files: the smallest is looked for that loses at most "
            f"{recipe.max_accuracy_drop:g} points, at least {least_bytes(run) / MEGABYTE:.2f} MB"
        )
    return "\n\n".join(
        [
            tabulate(width_rows(plan), headers=("block", "MLP neurons", "kept", "cut")),
            tabulate(precision_rows(run.precisions), headers=("weights", "sites", "reason")),
            tabulate(table, headers=("predicted, MB of 1,000,000 bytes", "weights", "arena", "sum")),
            aim,
            f"the run needs {needs}; nothing was written",
        ]
    )
