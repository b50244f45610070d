"""How latency, memory and conversion time of this project's files grow with image size, depth and width.

    python tools/measure_growth.py --output_dir=docs

Each of the three is varied by itself, from a Vision Transformer like ViT-S/16 at 224 pixels, with random weights. The
files of one argument take turns, round by round. Writes growth.md, growth.json and growth.svg.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from edgeflex_tflite import cli

NAME = "vit_small_patch16_224"
USUAL = {"img_size": 224, "depth": 12, "embed_dim": 384}
VARIED = {
    "img_size": (64, 128, 224, 320, 384, 512),
    "depth": (4, 8, 12, 18, 24),
    "embed_dim": (192, 384, 576, 768, 1024),
}
"""timm's own arguments; every head has 64 channels."""
HEAD_CHANNELS = 64
PRECISIONS = ("fp32", "mixed")


@dataclasses.dataclass(frozen=True)
class Point:
    """One file.

    Attributes:
        varied: which argument; `value` is what it is.
        tokens: that its blocks compute.
        convert_secs: from the torch model to the file, without calibration.
        arena_bytes: as TFLite plans it without a delegate.
        peak_bytes: of the process over what its libraries took, up to the first answer; None where it is hidden.
        low_ms, high_ms: 5th and 95th percentile.
    """

    varied: str
    value: int
    precision: str
    tokens: int
    convert_secs: float
    file_bytes: int
    arena_bytes: int
    peak_bytes: int | None
    median_ms: float
    low_ms: float
    high_ms: float


@dataclasses.dataclass(frozen=True)
class File:
    """What was written, before it has run."""

    path: Path
    value: int
    precision: str
    tokens: int
    convert_secs: float


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_integer("threads", 2, "Threads.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "Turns of each file.", lower_bound=1, flag_values=values)
    flags.DEFINE_float("min_secs", 2.0, "Seconds of timed inferences of each file.", flag_values=values)
    flags.DEFINE_string("output_dir", "docs", "Where the page, the figures and the plot go.", flag_values=values)
    for name, sizes in VARIED.items():
        flags.DEFINE_list(name, [str(size) for size in sizes], f"Values of {name}.", flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    folder = Path(values.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    points: list[Point] = []
    for varied in VARIED:
        points += measure(varied, [int(size) for size in values[varied].value], values)
    write(points, shlex.join(["python", "tools/measure_growth.py", *sys.argv[1:]]), folder)


def measure(varied: str, sizes: Sequence[int], values: flags.FlagValues) -> list[Point]:
    """All files of one argument, in turn."""
    from tqdm import tqdm

    from edgeflex_tflite.targets import host
    from edgeflex_tflite.targets.config import Protocol, RuntimeConfig

    with tempfile.TemporaryDirectory() as folder:
        made = [
            file
            for size in tqdm(sizes, desc=f"{varied}: files")
            for file in convert(varied, size, Path(folder), values.threads)
        ]
        cases = [host.Case(str(file.path), RuntimeConfig(num_threads=values.threads)) for file in made]
        protocol = Protocol(warmup_runs=2, min_runs=values.rounds, min_secs=values.min_secs, rounds=values.rounds)
        with tqdm(total=host.steps(cases, protocol), desc=f"{varied}: turns") as bar:
            results = host.measure(cases, protocol, done=bar.update)
        return [point(varied, *pair) for pair in zip(made, results.measurements, strict=True)]


def convert(varied: str, size: int, folder: Path, threads: int) -> list[File]:
    """One model in every precision, with weights that nothing was fitted to."""
    import timm
    import torch
    from untrained_files import write_untrained

    from edgeflex_tflite.artifacts import InputSpec
    from edgeflex_tflite.lower.export import export_float
    from edgeflex_tflite.models.sites import compute_sites, weight_sites
    from edgeflex_tflite.models.translate import to_edge_form
    from edgeflex_tflite.quantize.plan import plan_precision
    from edgeflex_tflite.recipe import Recipe

    torch.manual_seed(0)
    options = USUAL | {varied: size}
    model = timm.create_model(NAME, num_heads=options["embed_dim"] // HEAD_CHANNELS, **options).eval()
    files = []
    for precision in PRECISIONS:
        begin = time.perf_counter()
        edge = to_edge_form(model)
        spec = InputSpec("nhwc", "0-255", (0.5,) * 3, (0.5,) * 3, *edge.img_size)
        path = folder / f"{size}-{precision}.tflite"
        plan = plan_precision(Recipe(precision=precision), weight_sites(edge), compute_sites(edge))
        if precision == "fp32":
            export_float(edge, spec, path)
        else:
            write_untrained(edge, spec, plan, path, threads)
        files.append(File(path, size, precision, edge.num_tokens, round(time.perf_counter() - begin, 2)))
    return files


def point(varied: str, file: File, measured: Any) -> Point:
    from edgeflex_tflite.artifacts import NotMeasured
    from edgeflex_tflite.lower.predict import memory_cost

    peak, latency = measured.memory.process_peak_bytes, measured.latency
    return Point(
        varied,
        file.value,
        file.precision,
        file.tokens,
        file.convert_secs,
        file.path.stat().st_size,
        memory_cost(file.path).arena_bytes,
        None if isinstance(peak, NotMeasured) else peak,
        latency.median_ms,
        latency.p5_ms,
        latency.p95_ms,
    )


def write(points: Sequence[Point], command: str, folder: Path) -> None:
    """The page, the figures and the plot."""
    from edgeflex_tflite import files

    files.write_bytes(folder / "growth.md", text(points, command).encode())
    content = {"command": command, "points": [dataclasses.asdict(each) for each in points]}
    files.write_object(folder / "growth.json", content, indent=1)
    draw(points, folder / "growth.svg")
    print(folder / "growth.md")


def text(points: Sequence[Point], command: str) -> str:
    from tabulate import tabulate

    from edgeflex_tflite.recipe import MEGABYTE

    headers = ("tokens", "precision", "ms", "arena MB", "peak MB", "file MB", "conversion s")
    parts = [
        "# How cost grows",
        f"One argument of timm's `{NAME}` varied at a time, random weights, one image at a time, XNNPACK. Latency is "
        "the median over rounds in which the files of a table take turns; milliseconds are of one machine. The arena "
        "is TFLite's plan without a delegate, the peak that of the process over what its libraries take. Conversion is "
        "from the torch model to the file, without calibration. MB are 1,000,000 bytes.",
    ]
    for varied in dict.fromkeys(each.varied for each in points):
        rows = [
            (
                each.value,
                each.tokens,
                each.precision,
                f"{each.median_ms:.2f}",
                f"{each.arena_bytes / MEGABYTE:.2f}",
                "-" if each.peak_bytes is None else f"{each.peak_bytes / MEGABYTE:.1f}",
                f"{each.file_bytes / MEGABYTE:.1f}",
                f"{each.convert_secs:.1f}",
            )
            for each in points
            if each.varied == varied
        ]
        parts += [f"## {varied}", tabulate(rows, (varied, *headers), tablefmt="github", disable_numparse=True)]
    return "\n\n".join([*parts, "![How cost grows](growth.svg)", "## Again", f"    {command}"]) + "\n"


def draw(points: Sequence[Point], path: Path) -> None:
    """A row a figure, a column an argument."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figures = {"median_ms": "latency, ms", "arena_bytes": "arena, bytes", "convert_secs": "conversion, s"}
    varied = list(dict.fromkeys(each.varied for each in points))
    with mpl.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        figure = Figure(figsize=(4 * len(varied), 3 * len(figures)), layout="constrained")
        panels = figure.subplots(len(figures), len(varied), squeeze=False)
        for row, (name, label) in zip(panels, figures.items(), strict=True):
            for axes, argument in zip(row, varied, strict=True):
                for precision in PRECISIONS:
                    chosen = [each for each in points if (each.varied, each.precision) == (argument, precision)]
                    axes.plot(
                        [each.value for each in chosen], [getattr(each, name) for each in chosen], "o-", label=precision
                    )
                axes.set(xlabel=argument, ylabel=label, xscale="log", yscale="log")
                axes.grid(alpha=0.3, which="both")
        panels[0][0].legend()
        unfinished = path.with_name(path.name + ".tmp")
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None})
        unfinished.replace(path)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", "nothing was written"))
