"""How many tokens the file merges, where a latency target or a loss that is allowed decides that by measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from edgeflex_tflite import files, serialize
from edgeflex_tflite.artifacts import Merging, PrecisionPlan
from edgeflex_tflite.lower.choose_merging import fewest_fast_enough, most_accurate_enough
from edgeflex_tflite.lower.merge import most_merged
from edgeflex_tflite.run import Run
from edgeflex_tflite.steps.benchmark import BENCHMARK, on_this_machine
from edgeflex_tflite.steps.lower import write_alone
from edgeflex_tflite.steps.verify import points_lost
from edgeflex_tflite.steps.written import MERGING_FILE
from edgeflex_tflite.targets import host
from edgeflex_tflite.targets.measurement import Latency


def merge_step(run: Run, scaled: Path, dense: Path, folder: Path) -> str:
    """Write and measure the files of several counts.

    Args:
        scaled: folder of the quantization.
        dense: folder of the dense model's logits; read where the loss decides.
    """
    recipe, model = run.recipe, serialize.read_model(scaled / "model.safetensors", run.dense)
    plan = files.read_json(scaled / "precisions.json", PrecisionPlan)
    measure: Callable[[Run, Path, str], float]
    choose: Callable[[Callable[[int], float], float, int, int], Merging]
    if recipe.latency_target_ms is not None:
        measure, choose, limit = _median_ms, fewest_fast_enough, recipe.latency_target_ms
    else:
        assert recipe.max_accuracy_drop is not None
        measure, choose, limit = partial(points_lost, dense), most_accurate_enough, recipe.max_accuracy_drop

    def of_file(count: int) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as candidate:
            path = write_alone(run, model, plan, count, Path(candidate, "float.tflite"))
            return measure(run, path, f"{count} pairs merged")

    merging = choose(of_file, limit, recipe.merge_tokens, most_merged(model))
    files.write_json(folder / MERGING_FILE, merging)
    return _summary(merging)


def _median_ms(run: Run, path: Path, caption: str) -> float:
    case = host.Case(str(path), on_this_machine(run))
    with run.console.bar(host.steps([case], BENCHMARK), caption, unit="turn") as bar:
        latency = host.measure([case], BENCHMARK, seed=run.recipe.seed, done=bar.update).measurements[0].latency
    assert isinstance(latency, Latency)
    return float(np.median(latency.samples_ms))


def _summary(merging: Merging) -> str:
    found = {count: f"{milliseconds:.2f} ms" for count, milliseconds in merging.tried}
    found |= {count: f"drop {points:+.2f} points" for count, points in merging.drops}
    return f"{merging.count} pairs of tokens in each block, of {len(found)} files: {found[merging.count]}"
