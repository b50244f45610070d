"""The page, the figures and the plot of `measure_huge.py`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from tabulate import tabulate

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Metrics, NotMeasured, StageRecord
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.targets.measurement import Latency, Measurement
from edgeflex_tflite.targets.results import Results

GIGABYTE = 1e9
Shares = dict[str, dict[str, float]]
"""Of each pass, operators of torch and their shares of its time."""
LARGEST = 8
TRAINED_TOKENS = 26
Samples = list[tuple[float, int, int]]
"""Seconds since the start, anonymous and file-backed resident bytes."""


def write(work: Path, command: str, again: str, output: Path) -> None:
    """Write all three.

    Args:
        work: folder with the bundles `huge`, `trained` and `trained_merged`, `memory.json`, `operators.json`, and
            `benchmark.json` of the stock file first.
        command: that compressed the large model; `again` is the tool's own.
        output: where they go.
    """
    stages = files.read_json(work / "huge" / "stages.json", list[StageRecord])
    samples: Samples = json.loads((work / "memory.json").read_text())
    trained = files.read_json(work / "trained" / "metrics.json", Metrics)
    trained_merged = files.read_json(work / "trained_merged" / "metrics.json", Metrics)
    huge = files.read_json(work / "huge" / "metrics.json", Metrics)
    results = files.read_json(work / "benchmark.json", Results)
    shares: Shares = json.loads((work / "operators.json").read_text())
    place = results.measurements[0].environment
    parts = [
        "# ViT-Huge on a small machine",
        f"A whole compression, with {place.threads} threads on {place.cpu}:",
        f"    {command}",
        "The weights are random: time, memory, size and speed do not ask what they are, and no accuracy is claimed for "
        "this file. What the same recipe costs a trained model stands below.",
        "## Time and memory",
        stage_table(stages, samples),
        "Peak memory is the process's largest resident set up to the end of the stage, libraries and mapped files "
        "included. The checkpoint is mapped, and counts where its pages are in memory.",
        "![Memory over time](vit_huge.svg)",
        BOUNDS,
        "Of the operators' time in two blocks, all threads, by torch's profiler:",
        share_table(shares),
        "## The file, beside litert-torch's own",
        file_table(results),
        FILES_NOTE,
        "## The same recipe on a trained model",
        trained_text(trained, trained_merged, huge),
        "## Again",
        f"    {again}",
    ]
    files.write_bytes(output / "vit_huge.md", ("\n\n".join(parts) + "\n").encode())
    content = {"command": again, "stages": files.to_json(stages, list[StageRecord]), "memory": samples}
    content["stages"] = json.loads(content["stages"])  # type: ignore[arg-type]
    content["operators"] = shares
    content["benchmark"] = json.loads(files.to_json(results))
    files.write_object(output / "vit_huge.json", content, indent=1)
    draw(stages, samples, output / "vit_huge.svg")
    print(output / "vit_huge.md")


BOUNDS = """Pruning and rounding walk through the model block by block and hold, beside the model, one block's moments
and two residual streams of the calibration images. Their time goes to the forward passes of the dense and the
compressed block, to the second moments of the 5,120 hidden activations (one 5,120 x 5,120 matrix a block), to the
order of cutting, and to solving for the weights. Anonymous
memory is largest at the end of rounding, where the dense model, the scaled one and the rounded one are there; the
resident set in the check of parity, where the pages of mapped files count too: the checkpoint, the saved models, and
the FP32 file that the written one is made from."""


FILES_NOTE = """Batch 1, XNNPACK, every start a fresh process, files in turn; the ratio is the median over the rounds,
with the smallest and the largest. INT4 is the file that was made above; the others have the same widths and random
weights, which is all that size and speed depend on. Where pairs are merged, each block but the last merges so many
pairs of its tokens (ToMe, arXiv 2210.09461). Start is from the loaded runtime to allocated tensors, the file in the
page cache. Peak memory is over the idle process. XNNPACK's weight cache is measured through CompiledModel, which alone
can be told of it; its first start packs the weights into the cache's file."""


def stage_table(stages: Sequence[StageRecord], samples: Samples) -> str:
    rows = [(each.name, f"{each.seconds:.0f}", _gigabytes(each.peak_bytes), each.summary) for each in stages]
    whole = samples[-1][0]
    rows.append(("start and load", f"{whole - sum(each.seconds for each in stages):.0f}", "", ""))
    largest = max(anonymous + mapped for _, anonymous, mapped in samples)
    rows.append(("whole", f"{whole:.0f}", _gigabytes(max([largest, *(each.peak_bytes or 0 for each in stages)])), ""))
    return tabulate(rows, ("stage", "s", "peak GB", "what it says"), tablefmt="github", disable_numparse=True)


def _gigabytes(count: int | None) -> str:
    return "-" if count is None else f"{count / GIGABYTE:.1f}"


def share_table(shares: Shares) -> str:
    """The operators that take most, of pruning and of rounding."""
    columns = [sorted(share.items(), key=lambda item: -item[1])[:LARGEST] for share in shares.values()]
    cells = [[f"{name.removeprefix('aten::')} {part:.0%}" for name, part in column] for column in columns]
    return tabulate(list(zip(*cells, strict=True)), tuple(shares), tablefmt="github", disable_numparse=True)


def file_table(results: Results) -> str:
    stock = results.measurements[0]
    ratios = {each.file: each for each in results.ratios if each.over == stock.name}
    rows = []
    for each in results.measurements:
        ratio = ratios.get(each.name)
        rows.append(
            (
                each.name,
                f"{each.file_bytes / MEGABYTE:.0f}",
                _peak(each, stock),
                _milliseconds(each.startup_ms),
                _milliseconds(each.latency.median_ms if isinstance(each.latency, Latency) else each.latency),
                "" if ratio is None else f"{ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f})",
            )
        )
    headers = ("file", "MB", "peak MB, of stock", "start ms", "latency ms", "of stock")
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _peak(measured: Measurement, stock: Measurement) -> str:
    peak, whole = measured.memory.process_peak_bytes, stock.memory.process_peak_bytes
    if isinstance(peak, NotMeasured) or isinstance(whole, NotMeasured):
        return "-"
    return f"{peak / MEGABYTE:.0f} ({peak / whole:.1%})"


def _milliseconds(value: float | NotMeasured) -> str:
    return "-" if isinstance(value, NotMeasured) else f"{value:.0f}"


def trained_text(trained: Metrics, merged: Metrics, huge: Metrics) -> str:
    share = trained.memory.total_bytes / trained.dense_memory.total_bytes
    of_huge = huge.memory.total_bytes / huge.dense_memory.total_bytes
    return (
        f"ViT-S/14 at 70 pixels, trained on CIFAR-10, {trained.file.top1.images:,} test images: FP32 "
        f"{trained.dense.top1.percent:.2f} %, the written file {trained.file.top1.percent:.2f} %; it loses "
        f"{trained.drop_points:.2f} points ({trained.drop_low_points:.2f} to {trained.drop_high_points:.2f}). Weights "
        f"and arena are {share:.1%} of the FP32 file's ({of_huge:.1%} for ViT-Huge). With "
        f"{_pairs(merged.merging.count)} of its {TRAINED_TOKENS} tokens merged in each block but the last, it loses "
        f"{merged.drop_points:.2f} points ({merged.drop_low_points:.2f} to {merged.drop_high_points:.2f})."
    )


def _pairs(count: int) -> str:
    return "one pair" if count == 1 else f"{count} pairs"


def draw(stages: Sequence[StageRecord], samples: Samples, path: Path) -> None:
    """Memory over time, with the stages marked from the end backwards: what is before the first is the start."""
    seconds, anonymous, mapped = zip(*samples, strict=True)
    with mpl.rc_context({"svg.hashsalt": "vit_huge", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 4), layout="constrained")
        axes = figure.subplots()
        gigabytes = [[count / GIGABYTE for count in series] for series in (anonymous, mapped)]
        axes.stackplot(seconds, *gigabytes, labels=("anonymous", "mapped files"), alpha=0.7)
        end = seconds[-1]
        for stage in reversed(stages):
            begin = end - stage.seconds
            if stage.seconds > 0.02 * seconds[-1]:
                axes.axvline(begin, color="black", linewidth=0.5)
                axes.text(begin, axes.get_ylim()[1] * 0.98, f" {stage.name}", rotation=90, va="top", fontsize=8)
            end = begin
        axes.set(xlabel="seconds", ylabel="resident GB", xlim=(0, seconds[-1]))
        axes.legend(loc="lower right")
        unfinished = path.with_name(path.name + ".tmp")
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None})
        unfinished.replace(path)
