"""What the file costs on this machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgeflex_tflite import files
from edgeflex_tflite.run import Run
from edgeflex_tflite.steps.written import signatures
from edgeflex_tflite.targets import host
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.measurement import Latency
from edgeflex_tflite.targets.results import Results

BENCHMARK = Protocol(warmup_runs=2, min_runs=10, min_secs=1.0, rounds=5)
"""Short, for the largest models run for seconds; the benchmark command measures longer."""
FLOAT_TITLE, MODEL_TITLE = "FP32, before quantization", "model.tflite"
COMPILED_TITLE = "model.tflite, CompiledModel"


def on_this_machine(run: Run) -> RuntimeConfig:
    return RuntimeConfig(num_threads=run.threads)


def benchmark_step(run: Run, lowered: Path, weight_cache: bool, folder: Path) -> str:
    """Measure the written file on this machine, in turn with the FP32 file that it was quantized from.

    Each further signature of the file is measured too.

    With `weight_cache` also without XNNPACK's weight cache, when it writes it and when it finds it, all through
    CompiledModel, which alone can be told of it.
    """
    config, model = on_this_machine(run), str(lowered / "model.tflite")
    cases = [host.Case(model, config, title=MODEL_TITLE)]
    if run.recipe.precision != "fp32":
        cases.insert(0, host.Case(str(lowered / "float.tflite"), config, title=FLOAT_TITLE))
    for signature in signatures(lowered)[1:]:
        of_it = dataclasses.replace(config, signature=signature.name)
        cases.append(host.Case(model, of_it, signature.name, MODEL_TITLE))
    if weight_cache:
        compiled = dataclasses.replace(config, api="compiled_model")
        started = host.weight_cache_cases([model], compiled, folder)
        cases += [dataclasses.replace(case, title=COMPILED_TITLE) for case in started]
    with run.console.bar(host.steps(cases, BENCHMARK), "benchmark", unit="turn") as bar:
        found = host.measure(cases, BENCHMARK, seed=run.recipe.seed, done=bar.update)
    results = Results.now("", BENCHMARK, found.measurements, found.ratios)
    files.write_json(folder / "benchmark.json", results)
    for cache in folder.glob("*.xnnpack"):
        cache.unlink()
    latency = next(each.latency for each in found.measurements if each.name == MODEL_TITLE)
    assert isinstance(latency, Latency)
    against = [ratio.median for ratio in found.ratios if (ratio.file, ratio.over) == (MODEL_TITLE, FLOAT_TITLE)]
    return f"{latency.median_ms:.2f} ms" + (f", {against[0]:.2f} of FP32's" if against else "")
