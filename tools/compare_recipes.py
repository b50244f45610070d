"""What `compare_methods.py` compares: recipes of published methods and of this project, and their cells."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from edgeflex_tflite.recipe import CHOICES, MEGABYTE, Recipe

OURS = "ours"
STOCK = "ai-edge-quantizer"
PLAIN = {"refit": False, "rounding": "nearest", "awq": False}
"""What the published methods of pruning do without."""
METHODS: dict[str, dict[str, Any]] = {
    "magnitude": {"prune_score": "magnitude", "compensate": "none", "allocation": "uniform", **PLAIN},
    "mean_abs": {"prune_score": "mean_abs", "compensate": "none", "allocation": "uniform", **PLAIN},
    "taylor": {"prune_score": "taylor", "compensate": "none", "allocation": "uniform", **PLAIN},
    "hessian": {"prune_score": "hessian", "compensate": "none", "allocation": "uniform", **PLAIN},
    "flap": {"prune_score": "flap", "compensate": "bias", "allocation": "uniform", **PLAIN},
    "corp": {"prune_score": "energy", "compensate": "ridge", "allocation": "uniform", **PLAIN},
    OURS: {"mirror": True, "read_weight": 6},
}
"""What each method changes of the default recipe."""
WITHIN_BUDGET = {"mirror": True}
"""And ours where it is given a budget: few neurons are cut then."""
STOCK_RECIPES = {
    "int8_dynamic": "dynamic_wi8_afp32",
    "int8_static": "static_wi8_ai8",
    "int4_dynamic": "dynamic_wi4_afp32",
}
"""ai-edge-quantizer's own recipe for each of our precisions that it has."""
FLOATS = ("fp32", "fp16")
TORCH = "fp32 torch"
PRUNED_IN = "mixed"
"""The precision whose bytes decide the widths of a model that is then written in several."""


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One cell that is to be measured.

    Attributes:
        table: `cut` (a share of the MLPs), `dense` (nothing cut) or `budget` (a share of the FP32 model's memory).
        method: one of `METHODS`, or `STOCK`.
        amount: the share that is cut, or that may be left; None where nothing is cut.
        precision: of the file.
        draw: seed of the calibration images; 0 where the file does not depend on them.
        recipe: how the file is made; of stock files, only the seed counts.
    """

    table: str
    method: str
    amount: float | None
    precision: str
    draw: int
    recipe: Recipe

    @property
    def key(self) -> str:
        """Of what the file is made with, apart from model and images."""
        made = [self.method == STOCK, self.method == TORCH, self.precision, self.recipe.to_json(), self.draw]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()

    @property
    def pruned(self) -> Wanted:
        """The same in the precision that widths are decided in; what is made by others is not pruned."""
        if self.method in (STOCK, TORCH):
            return self
        return dataclasses.replace(self, precision=PRUNED_IN, recipe=self.recipe.replace(precision=PRUNED_IN))


@dataclasses.dataclass(frozen=True)
class Task:
    """Cells that share a pruned model, for one worker."""

    cells: tuple[Wanted, ...]

    @property
    def shared(self) -> Wanted:
        """What is the same in all of them."""
        return self.cells[0].pruned


def depends_on_draw(recipe: Recipe) -> bool:
    """Whether the file depends on which calibration images are drawn."""
    blind = (recipe.prune_score, recipe.compensate, recipe.allocation, recipe.refit) == (
        "magnitude", "none", "uniform", False,
    )  # fmt: skip
    return recipe.precision not in FLOATS or (recipe.prunes and not blind)


def cut_cells(
    methods: Sequence[str], ratios: Sequence[float], precisions: Sequence[str], base: Recipe, draws: int
) -> Iterator[Wanted]:
    """Every method at every share of the MLPs; integer files of the others for the first draw alone."""
    for method in methods:
        for ratio in ratios:
            recipe = base.replace(prune_ratio=ratio, **METHODS[method])
            for precision in precisions:
                several = method == OURS or precision in FLOATS
                yield from _drawn("cut", method, ratio, recipe, [precision], draws if several else 1)


def dense_cells(precisions: Sequence[str], base: Recipe, draws: int) -> Iterator[Wanted]:
    """Nothing cut: our precisions, and the stock ones of the same kind."""
    yield from _drawn("dense", OURS, None, base, precisions, draws)
    for precision in precisions:
        if precision in STOCK_RECIPES:
            for draw in range(draws if precision == "int8_static" else 1):
                yield Wanted("dense", STOCK, None, precision, draw, base.replace(seed=draw))


def budget_cells(
    budgets: Sequence[float], float_bytes: int, whole_bytes: int, base: Recipe, draws: int
) -> Iterator[Wanted]:
    """Ours at shares of the FP32 model's weights and arena.

    Args:
        budgets: the shares.
        float_bytes: of the FP32 model.
        whole_bytes: of the model in `PRUNED_IN` with nothing cut, which is what a budget above that gives.
        base: the recipe but for the budget.
        draws: of calibration images.
    """
    for share in budgets:
        recipe = base
        if share * float_bytes < whole_bytes:
            recipe = base.replace(memory_budget_mb=round(share * float_bytes / MEGABYTE, 6), **WITHIN_BUDGET)
        yield from _drawn("budget", OURS, share, recipe, (PRUNED_IN,), draws)


def torch_cell(base: Recipe) -> Wanted:
    """The FP32 torch model as it came, that everything is held against."""
    return Wanted("dense", TORCH, None, "fp32", 0, base)


def _drawn(
    table: str, method: str, amount: float | None, recipe: Recipe, precisions: Sequence[str], draws: int
) -> Iterator[Wanted]:
    for draw in range(draws):
        for precision in precisions:
            if precision not in CHOICES["precision"]:
                continue
            made = recipe.replace(precision=precision, seed=draw)
            if draw == 0 or depends_on_draw(made):
                yield Wanted(table, method, amount, precision, draw, made)


def tasks(cells: Sequence[Wanted]) -> list[Task]:
    """Cells that share a pruned model together: draw by draw, ours first, which take longest."""
    groups: dict[Wanted, list[Wanted]] = {}
    for cell in cells:
        groups.setdefault(cell.pruned, []).append(cell)
    return sorted(
        (Task(tuple(group)) for group in groups.values()),
        key=lambda task: (task.shared.draw, task.shared.method != OURS, -len(task.cells)),
    )
