"""Making and measuring the cells of `compare_methods.py`, by the package's own stages.

A cell is one written file: what it knows on every evaluation image, and what it weighs. Cells that differ in precision
alone share the pruned model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare_recipes import OURS, STOCK, STOCK_RECIPES, TORCH, Task, Wanted
from stock_files import stock_float, stock_quantized
from torch import Tensor, nn

from edgeflex_tflite import files, pipeline, serialize, steps
from edgeflex_tflite.artifacts import InputSpec, MemoryCost, StageRecord
from edgeflex_tflite.bundle.manifest import versions
from edgeflex_tflite.data import CalibrationSet, Data, EvaluationSet, Preprocessing
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower.predict import memory_cost
from edgeflex_tflite.planning import check_budget_possible, measure, plan_pruning
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.run import Design, Run, design_file
from edgeflex_tflite.store import StageStore
from edgeflex_tflite.verify.runner import file_input

CELLS_FILE = "cells.jsonl"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell that was measured.

    Attributes:
        key: of the cell, the model and the images.
        hits: `1` for each evaluation image that the file names right, else `0`; None where there is no file.
        cost: of the file.
        cpu_seconds: that each stage took.
        reason: why there is no file.
    """

    key: str
    hits: str | None
    cost: MemoryCost | None
    cpu_seconds: dict[str, float]
    reason: str | None = None


class Bench:
    """A model and all images that cells are measured with, and the folder that finished cells go to.

    Attributes:
        source: timm's model.
        calibrations: one set for each draw.
        evaluation: the same images for all draws, none of which is in any calibration set.
        folder: holds `cells.jsonl`, and a folder of stages for each model that is being made.
        threads: of torch and the interpreter.
    """

    def __init__(
        self,
        source: nn.Module,
        calibrations: Sequence[CalibrationSet],
        evaluation: EvaluationSet,
        preprocessing: Preprocessing,
        folder: Path,
        threads: int,
    ) -> None:
        self.source, self.calibrations, self.evaluation = source, calibrations, evaluation
        self.preprocessing, self.folder, self.threads = preprocessing, folder, threads
        self._weights = serialize.sha256_of_weights(source.state_dict())
        self._designs: dict[str, Design] = {}

    def identity(self, draw: int) -> dict[str, Any]:
        """What a cell depends on besides its recipe."""
        return {
            "weights": self._weights,
            "calibration": self.calibrations[draw].fingerprint,
            "evaluation": self.evaluation.fingerprint,
            "preprocessing": self.preprocessing.to_json(),
            "versions": versions(),
        }

    def key(self, cell: Wanted) -> str:
        """Of a cell on this bench."""
        content = json.dumps([cell.key, self.identity(cell.draw)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def design(self, recipe: Recipe) -> Design:
        """Of the file that a recipe asks for; what depends on the precision alone is predicted once."""
        if recipe.precision not in self._designs:
            self._designs[recipe.precision] = design_file(self.source, self.preprocessing, recipe, self.threads)
        return dataclasses.replace(self._designs[recipe.precision], recipe=recipe)

    def plan(self, cell: Wanted, folder: Path) -> str:
        """The plan stage; what all levers cost is measured once for each draw."""
        run = self.run(cell)
        costs = None
        if cell.method == OURS and run.recipe.prunes:
            costs = torch.load(self.measured(cell), weights_only=False)
        plan = plan_pruning(run, costs)
        files.write_json(folder / "plan.json", plan)
        return f"{plan.predicted_bytes} bytes"

    def measured(self, cell: Wanted) -> Path:
        """A file of what all levers cost on a cell's calibration images: no recipe of one table changes that."""

        def make(path: Path) -> None:
            with pipeline.deterministic(cell.draw, self.threads):
                torch.save(measure(self.run(cell.pruned), Recipe().lever_list), path)

        return self._once("costs", [self.identity(cell.draw), cell.recipe.probe_samples], make)

    def _once(self, name: str, content: list[Any], make: Callable[[Path], None]) -> Path:
        """A file that several cells need: made by the first of them, under another name until it is whole.

        Args:
            name: of its kind.
            content: all that it depends on.
            make: writes it.
        """
        made = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{name}-{made[:16]}"
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.{os.getpid()}")
            make(unfinished)
            unfinished.replace(path)
        return path

    def run(self, cell: Wanted) -> Run:
        data = Data(self.calibrations[cell.draw], self.evaluation)
        return Run.of(self.design(cell.recipe), data, None, Console(quiet=True))

    def measure(self, task: Task) -> None:
        """Make and measure the cells of a task, and note each as soon as it is finished."""
        folder = self.folder / self.key(task.shared)[:16]
        with pipeline.deterministic(task.shared.draw, self.threads):
            stages = _Stages(folder)
            for cell in task.cells:
                self.note(self._cell(cell, stages))
        shutil.rmtree(folder, ignore_errors=True)

    def note(self, cell: Cell) -> None:
        """Append a finished cell, in one write."""
        line = json.dumps(dataclasses.asdict(cell)) + "\n"
        descriptor = os.open(self.folder / CELLS_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _cell(self, cell: Wanted, stages: _Stages) -> Cell:
        key = self.key(cell)
        make = {STOCK: self._stock, TORCH: self._torch}.get(cell.method, self._ours)
        try:
            evaluated, cost = make(cell, stages)
        except (UserError, VerificationError) as error:
            return Cell(key, None, None, stages.taken(), str(error))
        found = np.load(evaluated / "logits.npz")
        hits = found["logits"].argmax(1) == found["labels"]
        return Cell(key, "".join("01"[int(hit)] for hit in hits), cost, stages.taken())

    def _ours(self, cell: Wanted, stages: _Stages) -> tuple[Path, MemoryCost]:
        run, widths = self.run(cell), self.run(cell.pruned)
        check_budget_possible(run)
        planned = stages.run("plan", partial(self.plan, cell.pruned))
        pruned = stages.run("prune", partial(steps.prune_step, widths, planned, stages.kept("prune")))
        quantize = f"quantize {cell.precision}"
        scaled = stages.run(quantize, partial(steps.quantize_step, run, pruned, stages.kept(quantize)))
        lowered = stages.run(
            f"lower {cell.precision}", partial(steps.lower_step, run, scaled, None, version="comparison")
        )
        evaluated = stages.run(f"evaluate {cell.precision}", partial(steps.evaluate_file_step, run, lowered))
        return evaluated, files.read_json(lowered / "memory.json", MemoryCost)

    def _stock(self, cell: Wanted, stages: _Stages) -> tuple[Path, MemoryCost]:
        spec = InputSpec(
            "nchw",
            "normalized",
            self.preprocessing.mean,
            self.preprocessing.std,
            self.preprocessing.height,
            self.preprocessing.width,
        )
        source = self._once("stock", [self.identity(0)], partial(stock_float, self.source, spec))
        pixels = (file_input(image.numpy(), spec) for image in self.calibrations[cell.draw].pixels)
        lowered = stages.run("lower", partial(stock_step, source, STOCK_RECIPES[cell.precision], pixels))
        run = dataclasses.replace(self.run(cell), spec=spec)
        evaluated = stages.run("evaluate", partial(steps.evaluate_file_step, run, lowered))
        return evaluated, memory_cost(lowered / "model.tflite")

    def _torch(self, cell: Wanted, stages: _Stages) -> tuple[Path, MemoryCost]:
        run = self.run(cell)
        return stages.run("evaluate", partial(steps.evaluate_torch_step, run, lambda: self.source)), run.float_cost


def finished_cells(folder: Path) -> dict[str, Cell]:
    """Cells that were noted, by key; a line that a killed process left half-written does not count."""
    path = folder / CELLS_FILE
    if not path.is_file():
        return {}
    content = path.read_text()
    if not content.endswith("\n"):
        content = content[: content.rfind("\n") + 1]
        files.write_bytes(path, content.encode())
    cells = [json.loads(line) for line in content.splitlines()]
    return {
        cell["key"]: Cell(**cell | {"cost": None if cell["cost"] is None else MemoryCost(**cell["cost"])})
        for cell in cells
    }


class Decoded(EvaluationSet):
    """Evaluation images that stay in memory once they have been decoded: many files are measured on them."""

    @classmethod
    def of(cls, images: EvaluationSet) -> Decoded:
        return cls(**{field.name: getattr(images, field.name) for field in dataclasses.fields(images)})

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self._batches)

    @cached_property
    def _batches(self) -> list[tuple[Tensor, Tensor]]:
        return list(super().__iter__())


def stock_step(source: Path, recipe: str, pixels: Iterator[np.ndarray], folder: Path) -> str:
    stock_quantized(source, recipe, pixels, folder / "model.tflite")
    return recipe


class _Stages:
    """Finished stages of one task on disk, so that a stopped one goes on, and the processor time that each took."""

    def __init__(self, folder: Path) -> None:
        self._seconds: dict[str, float] = {}
        self._start = 0.0
        self._store = StageStore(folder, self._report)
        folder.parent.mkdir(parents=True, exist_ok=True)
        self._store.open({"task": folder.name}, resume=True)

    def run(self, name: str, work: Callable[[Path], str]) -> Path:
        self._start = time.process_time()
        return self._store.run(name, work)

    def kept(self, name: str) -> Path:
        return self._store.kept(name)

    def _report(self, record: StageRecord, resumed: bool) -> None:
        if not resumed:
            self._seconds[record.name] = round(time.process_time() - self._start, 1)

    def taken(self) -> dict[str, float]:
        """Seconds of each stage that was done since this was last asked."""
        taken, self._seconds = self._seconds, {}
        return taken
