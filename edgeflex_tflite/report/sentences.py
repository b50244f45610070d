"""The sentences that the reports share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeflex_tflite.analysis.partition import RuntimePartitions
from edgeflex_tflite.artifacts import (
    AwqGroup,
    Confusion,
    Dtype,
    Merging,
    Metrics,
    Parity,
    PrunePlan,
    RoundedSite,
    share_taken_off,
)
from edgeflex_tflite.report.plan import chunks_text
from edgeflex_tflite.report.tables import MOST_CLASSES, mb

NOT_BENCHMARKED = "Latency and process memory: not measured (`--nobenchmark`)."
THREE_FIGURES = (
    "Each file was loaded in a fresh process; then the files ran in turn. The three memory figures answer three "
    "questions and are not to be added: the arena of this configuration, what the runtime owns besides (packed "
    "weights, the delegate's workspace), and the process over an idle interpreter."
)
READ_BACK = "Every site's weights were read back from the file and are of the planned type."
SINGLE_CHANGES = "What each change alone does to the logits (KL divergence in nats, calibration images):"


def headline(metrics: Metrics) -> str:
    share = metrics.memory.total_bytes / metrics.dense_memory.total_bytes
    return (
        f"The file needs {mb(metrics.memory.total_bytes)} MB of weights and arena, {share:.1%} of what the FP32 model "
        "needs. "
        f"Its top-1 is {metrics.file.top1.percent:.2f} %, {metrics.drop_points:+.2f} points below the FP32 torch model "
        f"({metrics.drop_low_points:+.2f} to {metrics.drop_high_points:+.2f}). MB are 1,000,000 bytes."
    )


def agreement_text(metrics: Metrics) -> str:
    return f"The file and the FP32 torch model name the same class on {metrics.agreement_percent:.2f} % of the images."


def evaluated_text(metrics: Metrics, source: str) -> str:
    return (
        f"On {metrics.evaluation_images:,} images of {source} that calibration did not see "
        f"({metrics.evaluation_left_out} were left out because calibration has them). Intervals are 95 %."
    )


def memory_note(metrics: Metrics) -> str:
    note = (
        "The arena is the one that TFLite plans with its own kernels, without a delegate; FP16 weights are expanded to "
        "FP32 in it once, at the start."
    )
    if metrics.memory_budget_bytes is not None:
        note += f" The budget of {mb(metrics.memory_budget_bytes)} MB holds."
    if metrics.arena_budget_bytes is not None:
        note += f" The arena budget of {mb(metrics.arena_budget_bytes)} MB holds: {chunks_text(metrics.chunks)}."
    return note


def partitions_text(partitions: RuntimePartitions, ops: int) -> str:
    """Where the interpreter of this machine runs a file of so many ops."""
    unseen = f"; of {len(partitions.unseen)} it does not show" if partitions.unseen else ""
    return (
        f"LiteRT's interpreter here gives {len(partitions.delegated)} of {ops} ops to XNNPACK "
        f"(partitions: {len(partitions.partitions)}){unseen}."
    )


def merging_text(merging: Merging, tokens: Sequence[int]) -> str:
    if not merging.count:
        return ""
    return (
        f"Each block but the last merges up to {merging.count} pairs of tokens (ToMe): {tokens[0]} enter the first "
        f"block, {tokens[-1]} the last."
    )


def merging_tried_text(merging: Merging) -> str:
    if merging.drops:
        return (
            "How many tokens may go was looked for with the evaluation images, which so chose one of "
            f"{len(merging.drops)} files:"
        )
    return "Files that were measured for the latency target:"


def awq_text(groups: Sequence[AwqGroup]) -> str:
    if not groups:
        return "No activation-aware scales."
    scaled = [group for group in groups if group.alpha > 0]
    gain = share_taken_off(groups)
    return (
        f"AWQ scaled {len(scaled)} of {len(groups)} groups of linears, at exponents up to "
        f"{max(group.alpha for group in groups):.2f}, and took {gain:.0%} off the rounding error of their blocks' "
        "outputs."
    )


def rounding_text(sites: Sequence[RoundedSite]) -> str:
    if not sites:
        return ""
    worst = max(sites, key=lambda site: site.error)
    text = (
        f"Rounding costs {len(sites)} linears up to {worst.error:.1e} of their output's variance ({worst.site}); to "
        f"the nearest it would be up to {max(site.plain_error for site in sites):.1e}."
    )
    blocks = Counter(site.block for site in sites if site.dtype is Dtype.INT4)
    if any(blocks):
        counts = [f"{count} by {size or 'output channel'}" for size, count in sorted(blocks.items(), reverse=True)]
        text += f" The weights of an INT4 linear share their steps in blocks: {', '.join(counts)}."
    return text


def tried_text(metrics: Metrics) -> str:
    return (
        "The smallest file within the loss that is allowed was looked for with the evaluation images, which so chose "
        f"one of {len(metrics.tried)}:"
    )


def prediction_text(plan: PrunePlan, metrics: Metrics) -> str:
    measured = f"the file's logits diverge from the FP32 torch model's by {metrics.divergence:.4f} nats (KL)"
    if plan.predicted_divergence is None or not plan.sensitivities:
        return f"On the evaluation images {measured}."
    return (
        f"The plan expected a divergence of {plan.predicted_divergence:.4f} nats from what each change does alone; on "
        f"the evaluation images {measured}."
    )


def parity_text(parity: Parity) -> str:
    return (
        f"The lowered graph before quantization agrees with torch to {parity.max_relative_difference:.1e} of the "
        f"largest logit ({parity.max_abs_difference:.1e} absolute, {parity.images} images, bound {parity.bound:.0e})."
    )


def flips_text(confusion: Confusion) -> str:
    worse = len(confusion.worse)
    shown = f"; the {MOST_CLASSES} worst are shown" if worse > MOST_CLASSES else ""
    return (
        f"{len(confusion.flips)} images flipped from right to wrong and {confusion.won} from wrong to right; "
        f"{worse} of {len(confusion.classes)} classes got worse{shown}."
    )
