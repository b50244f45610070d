"""What `compare_methods.py` found, as a page, as figures and as a plot."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from compare_cells import Cell
from compare_recipes import OURS, STOCK, STOCK_RECIPES, TORCH, Wanted
from numpy.typing import NDArray
from tabulate import tabulate

from edgeflex_tflite import files
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.verify.accuracy import paired_drop

TITLES = {
    "magnitude": "magnitude",
    "mean_abs": "mean abs. activation (EdgeFlex-Transformer)",
    "taylor": "Taylor",
    "hessian": "Hessian",
    "flap": "FLAP, mean into the bias",
    "corp": "CORP, energy and ridge",
    OURS: "ours",
    STOCK: "stock ai-edge-quantizer",
    TORCH: "FP32 torch",
}
BLANK = "-"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the figures were made with; none of it depends on the day."""

    command: str
    model: str
    data: str
    evaluation_images: int
    calibration_images: int
    draws: int
    versions: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of making a file, over all draws.

    Attributes:
        top1_percent, drop_points: for each draw, and `drop_low_points`, `drop_high_points` the 95 % interval of the
            first one's drop, over pairs with the FP32 torch model.
        file_bytes, weights_bytes, arena_bytes: means over draws.
        reason: why there is no file, where there is none.
    """

    table: str
    method: str
    amount: float | None
    precision: str
    top1_percent: tuple[float, ...] = ()
    drop_points: tuple[float, ...] = ()
    drop_low_points: float | None = None
    drop_high_points: float | None = None
    file_bytes: float | None = None
    weights_bytes: float | None = None
    arena_bytes: float | None = None
    reason: str | None = None

    @property
    def total_bytes(self) -> float:
        assert self.weights_bytes is not None and self.arena_bytes is not None
        return self.weights_bytes + self.arena_bytes


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Every cell that was wanted, as it was found.

    Attributes:
        skipped: precisions that the package does not have.
    """

    cells: dict[Wanted, Cell]
    skipped: tuple[str, ...]
    facts: Facts

    @property
    def dense(self) -> NDArray[np.bool_]:
        """Which evaluation images the FP32 torch model names right."""
        return next(_hits(cell) for wanted, cell in self.cells.items() if wanted.method == TORCH)

    def rows(self) -> list[Row]:
        groups: dict[tuple[str, str, float | None, str], list[Cell]] = {}
        for wanted, cell in self.cells.items():
            groups.setdefault((wanted.table, wanted.method, wanted.amount, wanted.precision), []).append(cell)
        return [self._row(name, cells) for name, cells in groups.items()]

    def _row(self, name: tuple[str, str, float | None, str], cells: Sequence[Cell]) -> Row:
        reasons = [cell.reason for cell in cells if cell.reason]
        if reasons:
            return Row(*name, reason=reasons[0])
        drops = [paired_drop(self.dense, _hits(cell)) for cell in cells]
        costs = [cell.cost for cell in cells if cell.cost is not None]
        return Row(
            *name,
            top1_percent=tuple(100 * float(_hits(cell).mean()) for cell in cells),
            drop_points=tuple(drop for drop, _, _ in drops),
            drop_low_points=drops[0][1],
            drop_high_points=drops[0][2],
            file_bytes=statistics.fmean(cost.file_bytes for cost in costs),
            weights_bytes=statistics.fmean(cost.weights_bytes for cost in costs),
            arena_bytes=statistics.fmean(cost.arena_bytes for cost in costs),
        )


def _hits(cell: Cell) -> NDArray[np.bool_]:
    assert cell.hits is not None
    return np.frombuffer(cell.hits.encode(), np.uint8) == ord("1")


def write(found: Comparison, folder: Path) -> list[Path]:
    """accuracy.md, accuracy.json and accuracy.svg."""
    rows = found.rows()
    paths = [folder / f"accuracy.{suffix}" for suffix in ("md", "json", "svg")]
    files.write_bytes(paths[0], text(found, rows).encode())
    content = {"facts": dataclasses.asdict(found.facts), "rows": [dataclasses.asdict(row) for row in rows]}
    files.write_object(paths[1], content, indent=1)
    draw([row for row in rows if row.reason is None and row.method != TORCH], paths[2])
    return paths


def text(found: Comparison, rows: Sequence[Row]) -> str:
    """The page."""
    facts = found.facts
    torch = next(row for row in rows if row.method == TORCH)
    parts = [
        "# Accuracy of the written files, beside published methods",
        f"{facts.model}: {torch.top1_percent[0]:.2f} % top-1 in FP32 torch on {facts.evaluation_images:,} images of "
        f"{facts.data}. Each figure is the accuracy that the written `.tflite` loses against it on the same images, in "
        f"percentage points, {_over_draws(facts)}. Whatever pruned a model, this project quantizes it. What does not "
        "depend on the draw was made once. MB are 1,000,000 bytes; arenas as TFLite plans them without a delegate.",
        *_section("MLPs cut to the same share", _cut_table(rows)),
        *_section("Nothing cut", _dense_table(rows, found.skipped)),
        *_section("Ours at a share of the FP32 model's weights and arena", _budget_table(rows, torch)),
        "![Accuracy over weights and arena](accuracy.svg)",
        "## Again",
        f"    {facts.command}",
        ", ".join(f"{name} {version}" for name, version in facts.versions.items()) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _over_draws(facts: Facts) -> str:
    if facts.draws == 1:
        return f"with one draw of {facts.calibration_images} calibration images"
    return (
        f"the mean over {facts.draws} draws of {facts.calibration_images} calibration images, and the least and the "
        "greatest of them"
    )


def _section(title: str, table: str | None) -> list[str]:
    return [] if table is None else [f"## {title}", table]


def _cut_table(rows: Sequence[Row]) -> str | None:
    cut = [row for row in rows if row.table == "cut"]
    precisions = list(dict.fromkeys(row.precision for row in cut))
    lines: dict[tuple[str, float | None], dict[str, Row]] = {}
    for row in cut:
        lines.setdefault((row.method, row.amount), {})[row.precision] = row
    ordered = sorted(lines.items(), key=lambda line: line[0][1] or 0)
    headers = ["cut", "method"]
    for precision in precisions:
        headers += [f"{precision}: drop", "file MB", "arena MB"]
    table = [
        [f"{amount:.0%}", TITLES[method], *(text for precision in precisions for text in _drop_and_size(by[precision]))]
        for (method, amount), by in ordered
    ]
    return _table(table, headers) if table else None


def _dense_table(rows: Sequence[Row], skipped: Iterable[str]) -> str | None:
    table = [
        [row.precision, TITLES[row.method], *_drop_and_size(row)]
        for row in sorted(rows, key=lambda row: row.method == STOCK)
        if row.table == "dense" and row.method != TORCH
    ]
    table += [[name, TITLES[OURS], "not made: the package has no such precision", BLANK, BLANK] for name in skipped]
    order = list(dict.fromkeys(line[0] for line in table))
    table.sort(key=lambda line: order.index(line[0]))
    names = ", ".join(f"`{stock}` for {ours}" for ours, stock in STOCK_RECIPES.items())
    note = f"Stock is litert-torch's export of the timm model and ai-edge-quantizer's own recipe: {names}."
    return _table(table, ["precision", "by", "drop", "file MB", "arena MB"]) + f"\n\n{note}" if table else None


def _budget_table(rows: Sequence[Row], torch: Row) -> str | None:
    table = []
    for row in rows:
        if row.table == "budget":
            share = BLANK if row.reason else f"{row.total_bytes / torch.total_bytes:.2%}"
            table.append([f"{row.amount:.0%}", row.precision, *_drop_and_size(row), share])
    headers = ["budget", "precision", "drop", "file MB", "arena MB", "weights + arena, of FP32"]
    return _table(table, headers) if table else None


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


def _drop_and_size(row: Row) -> tuple[str, str, str]:
    if row.reason is not None:
        return f"not made: {row.reason}", BLANK, BLANK
    assert row.file_bytes is not None and row.arena_bytes is not None
    return _spread(row.drop_points), f"{row.file_bytes / MEGABYTE:.2f}", f"{row.arena_bytes / MEGABYTE:.2f}"


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):+.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):+.2f} to {max(values):+.2f})"


def differences(found: Comparison) -> str:
    """How many points ours is above every other row of the same cut or precision, over pairs, draw by draw."""
    ours = {_place(wanted): cell for wanted, cell in found.cells.items() if wanted.method == OURS}
    table: dict[tuple, list[str]] = {}
    for wanted, cell in found.cells.items():
        mine = ours.get(_place(wanted)) or ours.get((*_place(wanted)[:3], 0))
        if wanted.method in (OURS, TORCH) or mine is None or mine.hits is None or cell.hits is None:
            continue
        gain, low, high = paired_drop(_hits(mine), _hits(cell))
        line = table.setdefault((*_place(wanted)[:3], wanted.method), [])
        line.append(f"{gain:+.2f} ({low:+.2f} to {high:+.2f})")
    lines = [
        [BLANK if amount is None else f"{amount:.0%}", precision, TITLES[method], "; ".join(line)]
        for (_, amount, precision, method), line in table.items()
    ]
    return _table(lines, ["cut", "precision", "ours above", "points, 95 % over pairs, draw by draw"])


def _place(wanted: Wanted) -> tuple[str, float | None, str, int]:
    return wanted.table, wanted.amount, wanted.precision, wanted.draw


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (bytes, accuracy), those that no other beats in both, by bytes."""
    front: list[tuple[float, float]] = []
    for size, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((size, accuracy))
    return front


def draw(rows: Sequence[Row], path: Path) -> None:
    """Top-1 over weights and arena, a colour a method and a sign a precision, with the Pareto front."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    methods, precisions = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("method", "precision"))
    colours = dict(zip(methods, mpl.color_sequences["tab10"], strict=False))
    signs = dict(zip(precisions, "os^Dv*P", strict=False))
    points = [(row.total_bytes / MEGABYTE, statistics.fmean(row.top1_percent)) for row in rows]
    with mpl.rc_context({"svg.hashsalt": "accuracy", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 6), layout="constrained")
        axes: Any = figure.add_subplot(
            xlabel="weights + arena, MB", ylabel="top-1 of the written file, %", xscale="log"
        )
        for (size, top1), row in zip(points, rows, strict=True):
            spread = [[top1 - min(row.top1_percent)], [max(row.top1_percent) - top1]]
            axes.errorbar(size, top1, spread, fmt=signs[row.precision], color=colours[row.method], alpha=0.8)
        axes.step(*zip(*pareto(points), strict=True), where="post", color="grey", linewidth=1, zorder=0)
        legend = [Line2D([], [], color=colours[name], marker="o", linestyle="", label=TITLES[name]) for name in methods]
        legend += [Line2D([], [], color="black", marker=signs[n], linestyle="", label=n) for n in precisions]
        legend.append(Line2D([], [], color="grey", label="Pareto front"))
        axes.legend(handles=legend, fontsize="small", loc="lower right")
        axes.grid(alpha=0.3)
        unfinished = path.with_name(path.name + ".tmp")
        figure.savefig(unfinished, format="svg", metadata={"Date": None, "Creator": None})
        unfinished.replace(path)
