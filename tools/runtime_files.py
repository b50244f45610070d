"""The `.tflite` files that `compare_runtimes.py` measures: this project's, and what the stock tools make."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from stock_files import stock_float, stock_quantized
from untrained_files import write_untrained

from edgeflex_tflite import files, steps
from edgeflex_tflite.artifacts import BlockShape, Dtype, InputSpec, PrunePlan
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.fit import fit_arena
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.pipeline import deterministic
from edgeflex_tflite.prune.cut import with_widths
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import MEGABYTE, Recipe
from edgeflex_tflite.run import Run
from edgeflex_tflite.store import StageStore
from edgeflex_tflite.verify.runner import file_input

STOCK = {
    "litert-torch FP32": None,
    "ai-edge-quantizer dynamic INT8": "dynamic_wi8_afp32",
    "ai-edge-quantizer static INT8": "static_wi8_ai8",
    "ai-edge-quantizer dynamic INT4": "dynamic_wi4_afp32",
}
"""ai-edge-quantizer's recipe for each stock file."""
OURS = {
    "ours FP32": Recipe(precision="fp32"),
    "ours mixed": Recipe(),
    "ours static INT8": Recipe(precision="int8_static"),
    "ours INT4": Recipe(precision="int4_dynamic"),
}
PIECES = "ours FP32 in pieces"
"""Blocks in as many pieces as half of the stock file's arena asks for."""
PIECES_SHARE = 0.5
FAST = "ours at 1 point"
"""Cut in every kind of structure until about a point of accuracy is gone; INT4 saves bytes, not time."""
FAST_RECIPE = Recipe(mirror=True, levers="mlp,heads,qk,v,fp16")


def recipes(run: Run, fast_share: float) -> dict[str, Recipe]:
    """Of all files that are ours.

    Args:
        run: gives the FP32 file's bytes.
        fast_share: of these, what the file `FAST` is given.
    """
    budget = round(fast_share * run.float_cost.total_bytes / MEGABYTE, 6)
    return OURS | {FAST: FAST_RECIPE.replace(memory_budget_mb=budget)}


def with_recipe(run: Run, recipe: Recipe) -> Run:
    """The same model and images; a budget is held against the cost of the precision that the run was designed in."""
    precisions = plan_precision(recipe, weight_sites(run.dense), compute_sites(run.dense))
    return dataclasses.replace(run, recipe=recipe, precisions=precisions)


def trained(run: Run, recipe: Recipe, folder: Path) -> Path:
    """Our file of a trained model, by the package's own stages."""
    run = with_recipe(run, recipe)
    store = StageStore(folder, lambda *_: None)
    folder.parent.mkdir(parents=True, exist_ok=True)
    store.open({"recipe": recipe.sha256}, resume=True)
    with deterministic(recipe.seed, run.threads):
        planned = store.run("plan", partial(steps.plan_step, run, None))
        pruned = store.run("prune", partial(steps.prune_step, run, planned, store.kept("prune")))
        scaled = store.run("quantize", partial(steps.quantize_step, run, pruned, store.kept("quantize")))
        lowered = store.run("lower", partial(steps.lower_step, run, scaled, None, version="comparison"))
    return lowered / "model.tflite"


def plan_of(folder: Path) -> PrunePlan:
    """What `trained` cut."""
    return files.read_json(folder / "plan" / "plan.json", PrunePlan)


def untrained(run: Run, shapes: list[BlockShape], dtypes: dict[str, Dtype], path: Path) -> None:
    """Our file of random weights: the same operators and sizes, with weights that nothing was fitted to."""
    pixels = [file_input(image.numpy(), run.spec) for image in run.data.calibration.pixels]
    smaller = with_widths(run.dense, shapes)
    write_untrained(smaller, run.spec, run.precisions.lowered(dtypes), path, run.threads, pixels)


def in_pieces(run: Run, path: Path, budget_bytes: int) -> None:
    """Our FP32 file in as few pieces as an arena asks for."""
    plan = with_recipe(run, Recipe(precision="fp32")).precisions
    chunks, _ = fit_arena(run.dense, plan, run.spec, budget_bytes, run.threads, run.float_cost)
    unfinished = path.with_suffix(".unfinished")
    export_float(run.dense, run.spec, unfinished, chunks)
    unfinished.replace(path)


def carried(plan: PrunePlan, source: Run, run: Run) -> tuple[list[BlockShape], dict[str, Dtype]]:
    """What a plan keeps of each block of one model, as the same shares of another's block at the same depth."""
    shapes = []
    for index, block in enumerate(run.dense.blocks):
        place = index * len(plan.cuts) // len(run.dense.blocks)
        cut, before, after = plan.cuts[place], source.dense.blocks[place].shape, block.shape
        kept = dataclasses.replace(cut.shape or before, width=cut.width)
        triples = zip(*(dataclasses.astuple(shape) for shape in (kept, before, after)), strict=True)
        shapes.append(BlockShape(*(max(1, round(part / whole * size)) for part, whole, size in triples)))
    sites = run.precisions.weights
    return shapes, {site: dtype for site, dtype in plan.dtypes.items() if site in sites}


def stock(run: Run, recipe: str | None, folder: Path) -> Path:
    """What the stock tools make of the timm model; a recipe of ai-edge-quantizer, or None for FP32."""
    path, unfinished = folder / f"{recipe or 'float'}.tflite", folder / "unfinished.tflite"
    if path.exists():
        return path
    spec = stock_spec(run)
    if recipe is None:
        stock_float(run.source, spec, unfinished)
    else:
        pixels = (file_input(image.numpy(), spec) for image in run.data.calibration.pixels)
        stock_quantized(stock(run, None, folder), recipe, pixels, unfinished)
    unfinished.replace(path)
    return path


def stock_spec(run: Run) -> InputSpec:
    """What timm's model takes."""
    return dataclasses.replace(run.spec, layout="nchw", range="normalized")


def normalized(run: Run, pixels: torch.Tensor) -> NDArray[np.float32]:
    """Images for everything that is not a `.tflite`: `float32 [N, 3, H, W]`."""
    array: NDArray[np.float32] = run.preprocessing.normalize(pixels).numpy()
    return array
