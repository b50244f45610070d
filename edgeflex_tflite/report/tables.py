"""The tables of the reports: headers and rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edgeflex_tflite.artifacts import (
    Accuracy,
    ActivationProfile,
    BlockShape,
    Confusion,
    MemoryCost,
    Merging,
    Metrics,
    PrecisionPlan,
    Proportion,
    PrunePlan,
    StageRecord,
)
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.plan import precision_rows

BLANK = "-"
OUTLIER_SITES = 5
MOST_CLASSES = 10
"""That got worse and are told one by one."""


class Table(NamedTuple):
    """Headers, and rows of as many cells."""

    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def ladder(metrics: Metrics) -> list[tuple[str, Accuracy]]:
    """The models on the way from the one that came to the file, those that there are."""
    steps = [
        ("FP32 torch, as it came", metrics.dense),
        ("FP32 torch, pruned", metrics.pruned),
        ("torch, weights rounded", metrics.quantized),
        ("the written file", metrics.file),
    ]
    return [(name, accuracy) for name, accuracy in steps if accuracy is not None]


def accuracy_table(metrics: Metrics) -> Table:
    rows = [(name, percent(a.top1), percent(a.top5) if a.top5 else BLANK) for name, a in ladder(metrics)]
    return Table(("model", "top-1 %", "top-5 %"), rows)


def memory_table(metrics: Metrics) -> Table:
    costs: list[tuple[str, MemoryCost]] = [
        ("the written file", metrics.memory),
        ("FP32, not pruned (predicted from a two-block file)", metrics.dense_memory),
    ]
    rows = [
        (name, mb(c.file_bytes), mb(c.weights_bytes), mb(c.arena_bytes), mb(c.total_bytes), c.peak_op)
        for name, c in costs
    ]
    return Table(("file", "file MB", "weights MB", "planned arena MB", "weights + arena MB", "arena is set by"), rows)


def widths_table(plan: PrunePlan) -> Table:
    headers = (
        "block", "MLP neurons", "kept", "heads", "key channels", "value channels",
        "MLP error, cut alone", "with compensation",
    )  # fmt: skip
    rows = [
        (
            str(index),
            str(cut.dense_width),
            str(cut.width),
            *_attention(cut.shape),
            _error(cut.error_cut_alone),
            _error(cut.error),
        )
        for index, cut in enumerate(plan.cuts)
    ]
    return Table(headers, rows)


def precision_table(plan: PrecisionPlan) -> Table:
    rows = [(dtype, str(count), reason) for dtype, count, reason in precision_rows(plan)]
    return Table(("weights", "sites", "why"), rows)


def merging_table(merging: Merging) -> Table:
    """Files that were measured to choose a count, for a latency target or for the loss that is allowed."""
    merged = "pairs merged in a block"
    if merging.drops:
        rows = [(str(count), f"{points:+.2f}") for count, points in merging.drops]
        return Table((merged, "points of top-1 lost"), rows)
    return Table((merged, "median ms"), [(str(count), f"{milliseconds:.2f}") for count, milliseconds in merging.tried])


def tried_table(metrics: Metrics) -> Table:
    rows = [
        (
            "none" if tried.budget_bytes is None else mb(tried.budget_bytes),
            mb(tried.memory_bytes),
            f"{tried.drop_points:+.2f}",
            "yes" if tried.holds else "no",
        )
        for tried in metrics.tried
    ]
    return Table(("budget MB", "file needs MB", "drop in points", "holds"), rows)


def sensitivity_table(plan: PrunePlan) -> Table:
    """One row a block, one column a kind of change."""
    kinds = tuple(dict.fromkeys(found.change for found in plan.sensitivities))
    found = {(each.block, each.change): f"{each.divergence:.1e}" for each in plan.sensitivities}
    blocks = list(dict.fromkeys(each.block for each in plan.sensitivities))
    rows = [(block_name(block), *(found.get((block, kind), "") for kind in kinds)) for block in blocks]
    return Table(("block", *kinds), rows)


def block_name(block: int | None) -> str:
    """A block's number, or what stands for all that is in none."""
    return "other" if block is None else str(block)


def outlier_table(profile: ActivationProfile) -> Table:
    called = {name: site for name, site in profile.sites.items() if site.calls}
    ratio = {name: max(site.max_abs) / max(site.percentiles["99"], 1e-30) for name, site in called.items()}
    worst = sorted(ratio, key=lambda name: -ratio[name])[:OUTLIER_SITES]
    rows = [
        (name, f"{max(called[name].max_abs):.3g}", f"{called[name].percentiles['99']:.3g}", f"{ratio[name]:.0f}")
        for name in worst
    ]
    return Table(("site", "max abs", "99 % of abs below", "ratio"), rows)


def classes_table(confusion: Confusion, labels: Sequence[str]) -> Table:
    """The classes that got worse most."""
    rows = [
        (labels[each.label], str(each.images), str(each.dense), str(each.file), str(each.lost))
        for each in confusion.worse[:MOST_CLASSES]
    ]
    return Table(("class", "images", "right before", "right now", "lost"), rows)


def stages_table(stages: Sequence[StageRecord]) -> Table:
    rows = [
        (stage.name, f"{stage.seconds:.1f}", BLANK if stage.peak_bytes is None else f"{stage.peak_bytes / 1e9:.1f}")
        for stage in stages
    ]
    return Table(("stage", "seconds", "largest memory of the process so far, GB"), rows)


def percent(value: Proportion) -> str:
    return f"{value.percent:.2f} ({value.low_percent:.2f} to {value.high_percent:.2f})"


def mb(count: int) -> str:
    return f"{count / MEGABYTE:.2f}"


def _attention(shape: BlockShape | None) -> tuple[str, str, str]:
    """Sizes of an attention that was cut; blank where it was not."""
    return (BLANK,) * 3 if shape is None else (str(shape.num_heads), str(shape.key_dim), str(shape.value_dim))


def _error(value: float | None) -> str:
    return BLANK if value is None else f"{value:.2e}"
