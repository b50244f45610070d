"""Files of a few blocks in each candidate's precisions, raced on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.predict import plan_of_blocks
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.targets import host
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.measurement import Ratio
from edgeflex_tflite.tuning.choose import Candidate, Choice, fastest

PRECISIONS = ("int8_static", "fp32", "int4_dynamic")
"""What is raced against a recipe's own precision."""
MOST_BLOCKS = 3

Bar = Callable[[int, str], Callable[[], None]]
"""Shows a bar of so many steps with a caption; gives what to call after each step."""


def with_candidate(recipe: Recipe, candidate: Candidate) -> Recipe:
    """The recipe in a candidate's precisions; what it keeps in FP32 itself stays there."""
    sites = "|".join(filter(None, (recipe.fp32_sites, candidate.fp32_sites)))
    return recipe.replace(precision=candidate.precision, fp32_sites=sites)


def tune(
    model: EdgeViT, recipe: Recipe, spec: InputSpec, folder: Path, threads: int, protocol: Protocol, bar: Bar
) -> tuple[Recipe, Choice]:
    """The recipe in the precisions that are fastest here, and how that was found.

    Args:
        model: dense; random weights do as well as trained ones.
        recipe: its precision stays unless another is faster.
        spec: of the files' input.
        folder: an empty one for the candidates' files.
        threads: of the interpreter.
        protocol: of each race.
        bar: of the steps of a race.

    Raises:
        UserError: as `plan_precision`, for expressions of the recipe.
    """
    few, chosen = few_blocks(model)
    export_float(few, spec, folder / "float.tflite")
    image = np.random.default_rng(recipe.seed).uniform(0, 255, spec.shape).astype(np.float32)
    config = RuntimeConfig(num_threads=threads)

    def case(candidate: Candidate) -> host.Case:
        path = folder / f"{candidate.name}.tflite"
        if not path.exists():
            asked = with_candidate(recipe, candidate)
            plan = plan_precision(asked, weight_sites(model), compute_sites(model))
            quantize_file(folder / "float.tflite", path, plan_of_blocks(plan, chosen), [image], threads)
        return host.Case(str(path), config, title=candidate.name)

    def race(candidates: Sequence[Candidate]) -> list[Ratio]:
        cases = [case(candidate) for candidate in candidates]
        done = bar(host.steps(cases, protocol), f"{candidates[0].name} and {len(cases) - 1} others")
        found = host.measure(cases, protocol, seed=recipe.seed, done=done)
        return [ratio for ratio in found.ratios if ratio.over == candidates[0].name]

    others = [precision for precision in PRECISIONS if precision != recipe.precision]
    choice = fastest(race, [recipe.precision, *others])
    return with_candidate(recipe, choice.chosen), choice


def few_blocks(model: EdgeViT) -> tuple[EdgeViT, list[int]]:
    """The model with no more than `MOST_BLOCKS` of its blocks, the first and the last among them, and their numbers."""
    depth = len(model.blocks)
    chosen = sorted({round(place) for place in np.linspace(0, depth - 1, MOST_BLOCKS)})
    return model.with_blocks(model.blocks[index] for index in chosen), chosen
