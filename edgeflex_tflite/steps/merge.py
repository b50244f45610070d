"""How many tokens the file merges, where a latency target or a loss that is allowed decides that by measurement."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
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
    least, most = recipe.merge_tokens, most_merged(model)

    def of_file(measure: Callable[[Run, Path, str], float], count: int) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as candidate:
            path = write_alone(run, model, plan, count, Path(candidate, "float.tflite"))
            return measure(run, path, f"{count} pairs merged")

    if recipe.latency_target_ms is not None:
        merging = fewest_fast_enough(lambda count: of_file(_median_ms, count), recipe.latency_target_ms, least, most)
    else:
        assert recipe.max_accuracy_drop is not None

        def lost(run: Run, path: Path, caption: str) -> float:
            return points_lost(run, path, dense, caption)

        merging = most_accurate_enough(lambda count: of_file(lost, count), recipe.max_accuracy_drop, least, most)
    files.write_json(folder / MERGING_FILE, merging)
    return _summary(merging)


def _median_ms(run: Run, path: Path, caption: str) -> float:
    case = host.Case(str(path), on_this_machine(run))
    with run.console.bar(host.steps([case], BENCHMARK), caption, unit="turn") as bar:
        latency = host.measure([case], BENCHMARK, seed=run.recipe.seed, done=bar.update).measurements[0].latency
    assert isinstance(latency, Latency)
    return float(np.median(latency.samples_ms))


def _summary(merging: Merging) -> str:
    of_it = {**{count: f"{found:.2f} ms" for count, found in merging.tried}}
    of_it |= {count: f"drop {found:+.2f} points" for count, found in merging.drops}
    return f"{merging.count} pairs of tokens in each block, of {len(of_it)} files: {of_it[merging.count]}"
