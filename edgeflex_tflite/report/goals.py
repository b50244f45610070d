"""What was asked of a file, and what it reached."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from edgeflex_tflite.artifacts import Metrics, PrunePlan
from edgeflex_tflite.recipe import KILOBYTE, MEGABYTE
from edgeflex_tflite.report.findings import Findings


class Goal(NamedTuple):
    """One thing that was asked for."""

    what: str
    asked: str
    reached: str


def goals(found: Findings) -> list[Goal]:
    """Those that the recipe sets, the precision always."""
    return [*_memory(found.metrics), *_accuracy(found), *_speed(found), *_pruning(found), _precision(found)]


def _memory(metrics: Metrics) -> list[Goal]:
    memory, asked = metrics.memory, []
    if metrics.memory_budget_bytes is not None:
        budget = f"at most {metrics.memory_budget_bytes / MEGABYTE:.2f} MB"
        asked.append(Goal("weights + planned arena", budget, f"{memory.total_bytes / MEGABYTE:.2f} MB"))
    if metrics.arena_budget_bytes is not None:
        budget = f"at most {metrics.arena_budget_bytes / KILOBYTE:.0f} kB"
        asked.append(Goal("planned arena", budget, f"{memory.arena_bytes / KILOBYTE:.0f} kB"))
    return asked


def _accuracy(found: Findings) -> list[Goal]:
    metrics, most = found.metrics, found.recipe.max_accuracy_drop
    if most is None:
        return []
    reached = f"{metrics.drop_points:+.2f} ({metrics.drop_low_points:+.2f} to {metrics.drop_high_points:+.2f})"
    return [Goal("loss of top-1", f"at most {most:g} points", reached)]


def _speed(found: Findings) -> list[Goal]:
    recipe, merging, asked = found.recipe, found.metrics.merging, []
    if recipe.latency_target_ms is not None:
        reached = f"{dict(merging.tried)[merging.count]:.2f} ms when the tokens were chosen"
        asked.append(Goal("median latency here", f"at most {recipe.latency_target_ms:g} ms", reached))
    if recipe.merge_tokens or recipe.spend == "tokens":
        reached = f"{merging.count}: {found.tokens[0]} tokens enter the first block, {found.tokens[-1]} the last"
        wanted = "as many as the loss allows" if recipe.spend == "tokens" else str(recipe.merge_tokens)
        asked.append(Goal("pairs of tokens merged in a block", wanted, reached))
    return asked


def _pruning(found: Findings) -> list[Goal]:
    ratio = found.recipe.prune_ratio
    return [] if ratio is None else [Goal("MLP neurons cut", f"{ratio:.1%}", f"{share_cut(found.plan):.1%}")]


def share_cut(plan: PrunePlan) -> float:
    """Of all MLP neurons."""
    return 1 - sum(plan.widths) / sum(cut.dense_width for cut in plan.cuts)


def _precision(found: Findings) -> Goal:
    counted = Counter(each.dtype for each in found.precisions.weights.values())
    kinds = ", ".join(f"{count} {dtype.value}" for dtype, count in counted.items())
    return Goal("precision", found.recipe.precision, f"linears: {kinds}")
