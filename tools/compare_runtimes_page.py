"""What `compare_runtimes.py` found, as a page, as figures and as a plot."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from edgeflex_tflite import files
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.targets.measurement import Ratio
from edgeflex_tflite.verify.accuracy import paired_drop

BASE = "litert-torch FP32"
"""What every latency is divided by, round by round."""
DENSE = "torch eager"
"""What accuracy is held against."""
BLANK = "-"
COLOURS = {"ours": "tab:red", "litert": "tab:blue", "ai-edge": "tab:blue"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of running a model.

    Attributes:
        name: in tables.
        file_bytes: of what the runtime loads; None of torch, which loads a checkpoint.
        arena_bytes: that TFLite plans without a delegate; None of other runtimes.
        runtime: with its version.
        peak_bytes: largest resident memory of the process over what its libraries took, up to the first answer.
        rounds_ms: samples of each round.
        hits: `1` for each evaluation image that it names right, else `0`; None where accuracy is not measured.
        reason: why there is nothing of all that.
    """

    name: str
    file_bytes: int | None = None
    arena_bytes: int | None = None
    runtime: str = ""
    peak_bytes: int | None = None
    rounds_ms: tuple[tuple[float, ...], ...] = ()
    hits: str | None = None
    reason: str | None = None

    @property
    def medians_ms(self) -> list[float]:
        """Of each round."""
        return [statistics.median(samples) for samples in self.rounds_ms]

    @property
    def median_ms(self) -> float:
        return statistics.median(sample for samples in self.rounds_ms for sample in samples)

    def over(self, base: Row) -> Ratio:
        """Latency, round by round, over that of a row that took turns with this one."""
        pairs = zip(self.medians_ms, base.medians_ms, strict=True)
        return Ratio.of(self.name, base.name, [mine / other for mine, other in pairs])


@dataclasses.dataclass(frozen=True)
class Section:
    """One model.

    Attributes:
        trained: its accuracy means something.
    """

    model: str
    img_size: tuple[int, int]
    trained: bool
    rows: tuple[Row, ...]

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name and row.reason is None), None)

    @property
    def measured(self) -> list[Row]:
        """The rows with figures, the fastest first."""
        return sorted((row for row in self.rows if row.reason is None), key=lambda row: row.median_ms)


def write(sections: Sequence[Section], machine: str, command: str, folder: Path) -> list[Path]:
    """performance.md, performance.json and performance.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"performance.{suffix}" for suffix in ("md", "json", "svg")]
    files.write_bytes(paths[0], text(sections, machine, command).encode())
    content = {"machine": machine, "command": command, "sections": [_figures(section) for section in sections]}
    files.write_object(paths[1], content, indent=1)
    draw(sections, paths[2])
    return paths


def _figures(section: Section) -> dict[str, Any]:
    rows = []
    for row in section.rows:
        found = dataclasses.asdict(row) | {"round_medians_ms": row.medians_ms}
        del found["rounds_ms"]
        rows.append(found)
    return {"model": section.model, "img_size": section.img_size, "trained": section.trained, "rows": rows}


def text(sections: Sequence[Section], machine: str, command: str) -> str:
    """The page."""
    parts = [
        "# Latency, memory and accuracy beside other runtimes",
        "The same weights in every row, one image at a time, the same cores for all; every runtime in a process of "
        f"its own, all taking turns, round by round. Latencies are over that of `{BASE}`: the median over the rounds "
        "of the ratio of medians, with the least and the greatest round. Milliseconds are of one machine, "
        f"{machine}. The arena is TFLite's plan without a delegate; the peak is that of the process over what its "
        "libraries take, up to the first answer, in the configuration that was timed (TFLite: XNNPACK). MB are "
        "1,000,000 bytes.",
    ]
    for section in sections:
        parts += _section(section)
    runtimes = {row.name: row.runtime for section in sections for row in section.rows if row.runtime}
    parts += [
        "![Latency over that of stock FP32](performance.svg)",
        "## Again",
        f"    {command}",
        "Every runtime has its own defaults but for the threads; what it says of itself:",
        "\n".join(
            f"* {runtime}: {', '.join(name for name, one in runtimes.items() if one == runtime)}"
            for runtime in dict.fromkeys(runtimes.values())
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    base, dense = section.row(BASE), section.row(DENSE)
    height, width = section.img_size
    said = "top-1 on images that calibration did not see" if section.trained else "random weights: no accuracy"
    headers = ["what", "latency", "ms", "file MB", "arena MB", "peak MB"]
    headers += ["top-1 %", "drop, points"] if section.trained else []
    table = []
    for row in section.measured:
        line = [
            row.name,
            _ratio(row, base),
            f"{row.median_ms:.2f}",
            *map(_mb, (row.file_bytes, row.arena_bytes, row.peak_bytes)),
        ]
        table.append(line + (_accuracy(row, dense) if section.trained else []))
    parts = [
        f"## {section.model}, {height} x {width}: {said}",
        tabulate(table, headers=headers, tablefmt="github", disable_numparse=True),
    ]
    missing = [f"{row.name}: {row.reason}" for row in section.rows if row.reason is not None]
    return [*parts, "Not made: " + "; ".join(missing) + "."] if missing else parts


def _ratio(row: Row, base: Row | None) -> str:
    if base is None:
        return BLANK
    ratio = row.over(base)
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _mb(value: int | None) -> str:
    return BLANK if value is None else f"{value / MEGABYTE:.1f}"


def _accuracy(row: Row, dense: Row | None) -> list[str]:
    if row.hits is None:
        return [BLANK, BLANK]
    hits = _hits(row.hits)
    if dense is None or dense.hits is None:
        return [f"{100 * hits.mean():.2f}", BLANK]
    drop, low, high = paired_drop(_hits(dense.hits), hits)
    return [f"{100 * hits.mean():.2f}", f"{drop:+.2f} ({low:+.2f} to {high:+.2f})"]


def _hits(text: str) -> NDArray[np.bool_]:
    return np.frombuffer(text.encode(), np.uint8) == ord("1")


def draw(sections: Sequence[Section], path: Path) -> None:
    """A panel a model, a bar a row."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "performance", "svg.fonttype": "none"}):
        most = max(len(section.measured) for section in sections)
        figure = Figure(figsize=(5.5 * len(sections), 0.35 * most + 1.5), layout="constrained")
        panels = np.atleast_1d(np.array(figure.subplots(1, len(sections)), dtype=object))
        for axes, section in zip(panels, sections, strict=True):
            rows, base = section.measured[::-1], section.row(BASE)
            ratios = [row.over(base).median if base is not None else row.median_ms for row in rows]
            colours = [next((c for word, c in COLOURS.items() if row.name.startswith(word)), "grey") for row in rows]
            axes.barh([row.name for row in rows], ratios, color=colours)
            axes.set_title(section.model, fontsize="medium")
            axes.set_xlabel(f"latency over {BASE}" if base is not None else "ms")
            axes.tick_params(axis="y", labelsize="small")
            axes.grid(axis="x", alpha=0.3)
        unfinished = path.with_name(path.name + ".tmp")
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None})
        unfinished.replace(path)
