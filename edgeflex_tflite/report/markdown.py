"""The report in the bundle: every figure comes from the written file or a named torch model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from edgeflex_tflite.analysis.analysis import Analysis
from edgeflex_tflite.artifacts import (
    Accuracy,
    ActivationProfile,
    AwqGroup,
    BlockShape,
    Merging,
    Metrics,
    NpuReport,
    Parity,
    PrecisionPlan,
    Proportion,
    PrunePlan,
    RoundedSite,
    StageRecord,
    share_taken_off,
)
from edgeflex_tflite.bundle.manifest import Origin
from edgeflex_tflite.lower.merge import tokens_entering
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.analysis import placement_line
from edgeflex_tflite.report.benchmark import benchmark_text
from edgeflex_tflite.report.npu import npu_text
from edgeflex_tflite.report.plan import chunks_text, precision_rows
from edgeflex_tflite.targets.results import Results

if TYPE_CHECKING:
    from edgeflex_tflite.run import Run

OUTLIER_SITES = 5


def report(
    run: Run,
    origin: Origin,
    metrics: Metrics,
    profile: ActivationProfile,
    plan: PrunePlan,
    groups: Sequence[AwqGroup],
    sites: Sequence[RoundedSite],
    analysis: Analysis,
    benchmark: Results | None,
    stages: Sequence[StageRecord],
    npu: NpuReport | None = None,
) -> str:
    """The whole report as Markdown."""
    sections = [
        f"# {origin.model or type(run.source).__name__} as a .tflite",
        _headline(metrics),
        "## What it still knows\n\n" + _accuracy_table(metrics),
        f"On {metrics.evaluation_images:,} images of {run.data.evaluation.source.spec} that calibration did not see "
        f"({metrics.evaluation_left_out} were left out because calibration has them). Intervals are 95 %.",
        "## What it costs\n\n" + _memory_table(metrics),
        _memory_note(metrics),
        "## On this machine\n\n" + _benchmark_text(benchmark),
        "## Where it runs\n\n" + _placement_text(analysis),
        "" if npu is None else f"## On {npu.target}\n\n{npu_text(npu)}",
        "## What was done\n\n" + _widths_table(plan),
        _precision_table(run.precisions.lowered(plan.dtypes)),
        _merging_text(metrics.merging, tokens_entering(run.dense, metrics.merging.count)),
        _awq_text(groups),
        _rounding_text(sites),
        _tried_text(metrics),
        _prediction_text(plan, metrics),
        _sensitivity_table(plan),
        _parity_text(metrics.parity),
        "Every site's weights were read back from the file and are of the planned type.",
        "## Activations\n\n" + _outlier_table(profile),
        f"Profiled on {profile.images} calibration images; sites that were never called: "
        f"{', '.join(profile.never_called) or 'none'}.",
    ]
    sections.append("## What it took\n\n" + _stages_table(stages))
    if origin.command:
        sections.append(f"## Again\n\n```\n{origin.command}\n```")
    return "\n\n".join(section for section in sections if section) + "\n"


def _headline(metrics: Metrics) -> str:
    share = metrics.memory.total_bytes / metrics.dense_memory.total_bytes
    return (
        f"The file needs {_mb(metrics.memory.total_bytes)} MB of weights and arena, {share:.1%} of what the FP32 model "
        "needs. "
        f"Its top-1 is {metrics.file.top1.percent:.2f} %, {metrics.drop_points:+.2f} points below the FP32 torch model "
        f"({metrics.drop_low_points:+.2f} to {metrics.drop_high_points:+.2f}). MB are 1,000,000 bytes."
    )


def _accuracy_table(metrics: Metrics) -> str:
    models: list[tuple[str, Accuracy | None]] = [
        ("FP32 torch, as it came", metrics.dense),
        ("FP32 torch, pruned", metrics.pruned),
        ("the written file", metrics.file),
    ]
    rows = [(name, _percent(a.top1), _percent(a.top5) if a.top5 else "-") for name, a in models if a is not None]
    return tabulate(rows, headers=("model", "top-1 %", "top-5 %"), tablefmt="github") + (
        f"\n\nThe file and the FP32 torch model name the same class on {metrics.agreement_percent:.2f} % of the images."
    )


def _memory_table(metrics: Metrics) -> str:
    rows = [
        ("the written file", metrics.memory),
        ("FP32, not pruned (predicted from a two-block file)", metrics.dense_memory),
    ]
    table = [
        (name, _mb(c.file_bytes), _mb(c.weights_bytes), _mb(c.arena_bytes), _mb(c.total_bytes), c.peak_op)
        for name, c in rows
    ]
    headers = ("file", "file MB", "weights MB", "planned arena MB", "weights + arena MB", "arena is set by")
    return tabulate(table, headers=headers, tablefmt="github")


def _memory_note(metrics: Metrics) -> str:
    note = (
        "The arena is the one that TFLite plans with its own kernels, without a delegate; FP16 weights are expanded to "
        "FP32 in it once, at the start."
    )
    if metrics.memory_budget_bytes is not None:
        note += f" The budget of {_mb(metrics.memory_budget_bytes)} MB holds."
    if metrics.arena_budget_bytes is not None:
        note += f" The arena budget of {_mb(metrics.arena_budget_bytes)} MB holds: {chunks_text(metrics.chunks)}."
    return note


def _benchmark_text(benchmark: Results | None) -> str:
    if benchmark is None:
        return "Latency and process memory: not measured (`--nobenchmark`)."
    text = benchmark_text(benchmark, tablefmt="github")
    return (
        f"{text}\n\nEach file was loaded in a fresh process; then the files ran in turn. The three memory figures "
        "answer three questions and are not to be added: the arena of this configuration, what the runtime owns "
        "besides (packed weights, the delegate's workspace), and the process over an idle interpreter."
    )


def _placement_text(analysis: Analysis) -> str:
    found = [f"* **{surprise.kind}**: {surprise.text}." for surprise in analysis.surprises]
    return "\n".join([f"On a CPU, {placement_line(analysis.main)}.", "", *found]).rstrip()


def _widths_table(plan: PrunePlan) -> str:
    rows = [
        (index, cut.dense_width, cut.width, *_attention(cut.shape), _error(cut.error_cut_alone), _error(cut.error))
        for index, cut in enumerate(plan.cuts)
    ]
    headers = (
        "block",
        "MLP neurons",
        "kept",
        "heads",
        "key channels",
        "value channels",
        "MLP error, cut alone",
        "with compensation",
    )
    return tabulate(rows, headers=headers, tablefmt="github")


def _attention(shape: BlockShape | None) -> tuple[str, str, str]:
    """Sizes of an attention that was cut; "-" where it was not."""
    return ("-",) * 3 if shape is None else (str(shape.num_heads), str(shape.key_dim), str(shape.value_dim))


def _precision_table(plan: PrecisionPlan) -> str:
    return tabulate(precision_rows(plan), headers=("weights", "sites", "why"), tablefmt="github")


def _merging_text(merging: Merging, tokens: Sequence[int]) -> str:
    text = ""
    if merging.count:
        text = (
            f"Each block but the last merges up to {merging.count} pairs of tokens (ToMe): {tokens[0]} enter the first "
            f"block, {tokens[-1]} the last."
        )
    if not merging.tried:
        return text
    table = tabulate(merging.tried, headers=("pairs merged in a block", "median ms"), tablefmt="github", floatfmt=".2f")
    return f"{text} Files that were measured for the latency target:\n\n{table}".lstrip()


def _awq_text(groups: Sequence[AwqGroup]) -> str:
    if not groups:
        return "No activation-aware scales."
    scaled = [group for group in groups if group.alpha > 0]
    gain = share_taken_off(groups)
    return (
        f"AWQ scaled {len(scaled)} of {len(groups)} groups of linears, at exponents up to "
        f"{max(group.alpha for group in groups):.2f}, and took {gain:.0%} off the rounding error of their blocks' "
        "outputs."
    )


def _rounding_text(sites: Sequence[RoundedSite]) -> str:
    if not sites:
        return ""
    worst = max(sites, key=lambda site: site.error)
    return (
        f"Rounding costs {len(sites)} linears up to {worst.error:.1e} of their output's variance ({worst.site}); to "
        f"the nearest it would be up to {max(site.plain_error for site in sites):.1e}."
    )


def _tried_text(metrics: Metrics) -> str:
    if not metrics.tried:
        return ""
    rows = [
        (
            "none" if tried.budget_bytes is None else _mb(tried.budget_bytes),
            _mb(tried.memory_bytes),
            f"{tried.drop_points:+.2f}",
            "yes" if tried.holds else "no",
        )
        for tried in metrics.tried
    ]
    headers = ("budget MB", "file needs MB", "drop in points", "holds")
    table = tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)
    return (
        "The smallest file within the loss that is allowed was looked for with the evaluation images, which so chose "
        f"one of {len(rows)}:\n\n{table}"
    )


def _prediction_text(plan: PrunePlan, metrics: Metrics) -> str:
    measured = f"the file's logits diverge from the FP32 torch model's by {metrics.divergence:.4f} nats (KL)"
    if plan.predicted_divergence is None or not plan.sensitivities:
        return f"On the evaluation images {measured}."
    return (
        f"The plan expected a divergence of {plan.predicted_divergence:.4f} nats from what each change does alone; on "
        f"the evaluation images {measured}."
    )


def _sensitivity_table(plan: PrunePlan) -> str:
    """One row a block, one column a kind of change."""
    if not plan.sensitivities:
        return ""
    kinds = list(dict.fromkeys(found.change for found in plan.sensitivities))
    found = {(each.block, each.change): f"{each.divergence:.1e}" for each in plan.sensitivities}
    blocks = list(dict.fromkeys(each.block for each in plan.sensitivities))
    rows = [
        ("other" if block is None else block, *(found.get((block, kind), "") for kind in kinds)) for block in blocks
    ]
    return "What each change alone does to the logits (KL divergence in nats, calibration images):\n\n" + tabulate(
        rows, headers=("block", *kinds), tablefmt="github", disable_numparse=True
    )


def _parity_text(parity: Parity) -> str:
    return (
        f"The lowered graph before quantization agrees with torch to {parity.max_relative_difference:.1e} of the "
        f"largest logit ({parity.max_abs_difference:.1e} absolute, {parity.images} images, bound {parity.bound:.0e})."
    )


def _outlier_table(profile: ActivationProfile) -> str:
    called = {name: site for name, site in profile.sites.items() if site.calls}
    ratio = {name: max(site.max_abs) / max(site.percentiles["99"], 1e-30) for name, site in called.items()}
    worst = sorted(ratio, key=lambda name: -ratio[name])[:OUTLIER_SITES]
    rows = [
        (name, f"{max(called[name].max_abs):.3g}", f"{called[name].percentiles['99']:.3g}", f"{ratio[name]:.0f}")
        for name in worst
    ]
    return tabulate(rows, headers=("site", "max abs", "99 % of abs below", "ratio"), tablefmt="github")


def _stages_table(stages: Sequence[StageRecord]) -> str:
    rows = [
        (stage.name, f"{stage.seconds:.1f}", "-" if stage.peak_bytes is None else f"{stage.peak_bytes / 1e9:.1f}")
        for stage in stages
    ]
    headers = ("stage", "seconds", "largest memory of the process so far, GB")
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _percent(value: Proportion) -> str:
    return f"{value.percent:.2f} ({value.low_percent:.2f} to {value.high_percent:.2f})"


def _error(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def _mb(value: int) -> str:
    return f"{value / MEGABYTE:.2f}"
