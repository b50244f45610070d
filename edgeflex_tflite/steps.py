"""One function a stage: reads what the stages before it wrote, writes its own files, returns a line about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite import files, serialize
from edgeflex_tflite.artifacts import (
    AwqGroup,
    BlockCut,
    MemoryCost,
    Merging,
    Metrics,
    PrecisionPlan,
    PrunePlan,
    RoundedSite,
    Tried,
    share_taken_off,
)
from edgeflex_tflite.budget.probe import kl_divergence
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.fit_latency import fit_latency
from edgeflex_tflite.lower.merge import merging, most_merged
from edgeflex_tflite.lower.metadata import add_metadata, labels_archive
from edgeflex_tflite.lower.predict import memory_cost
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.npu.compile import NPU_FILE, compile_for
from edgeflex_tflite.planning import check_budget_holds, levers_of, measure, plan_pruning
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.profiling.profile import profile
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.quantize.awq import search
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.recover.kept import KeptBlocks
from edgeflex_tflite.run import Run
from edgeflex_tflite.targets import host
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.measurement import Latency
from edgeflex_tflite.targets.results import Results
from edgeflex_tflite.verify.accuracy import accuracy, collect_logits, paired_drop
from edgeflex_tflite.verify.confusion import confusion
from edgeflex_tflite.verify.gates import check_outputs
from edgeflex_tflite.verify.parity import check_parity
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner, file_input

PARITY_IMAGES = 16
BENCHMARK = Protocol(warmup_runs=2, min_runs=10, min_secs=1.0, rounds=5)
"""Short, for the largest models run for seconds; the benchmark command measures longer."""
COSTS_FILE = "costs.pt"
FLOAT_TITLE, MODEL_TITLE = "FP32, before quantization", "model.tflite"
COMPILED_TITLE = "model.tflite, CompiledModel"

Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels `uint8 [B, 3, H, W]` -> logits `float32 [B, num_classes]`."""


def profile_step(run: Run, folder: Path) -> str:
    batches = run.console.progress(list(run.calibration_batches()), "profile")
    result = profile(run.dense, batches)
    files.write_json(folder / "profile.json", result)
    never = f"; never called: {', '.join(result.never_called)}" if result.never_called else ""
    return f"{len(result.sites)} sites on {result.images} images{never}"


def measure_step(run: Run, folder: Path) -> str:
    """What each single change costs, for plans of several budgets."""
    if run.recipe.allocation == "uniform":
        return "every neuron costs the same"
    costs = measure(run, levers_of(run.recipe, run.precisions))
    torch.save(costs, folder / COSTS_FILE)
    return f"{len(costs.sensitivities)} single changes"


def plan_step(run: Run, measured: Path | None, folder: Path) -> str:
    costs = None
    if measured is not None and (measured / COSTS_FILE).exists():
        costs = torch.load(measured / COSTS_FILE, weights_only=False)
    plan = plan_pruning(run, costs)
    files.write_json(folder / "plan.json", plan)
    cut = 1 - sum(plan.widths) / sum(run.dense_widths)
    fewer_bits = f", {len(plan.dtypes)} sites in fewer bits" if plan.dtypes else ""
    return f"{cut:.1%} of MLP neurons to cut{fewer_bits}, {plan.predicted_bytes / MEGABYTE:.2f} MB predicted"


def prune_step(run: Run, planned: Path, kept: Path, folder: Path) -> str:
    plan = files.read_json(planned / "plan.json", PrunePlan)
    model = run.dense
    if plan.is_cut:
        tokens, labels = run.calibration_tokens(augmented=True), run.calibration_labels(augmented=True)
        finished = KeptBlocks[BlockCut](kept, BlockCut)
        model, plan = prune(run.dense, tokens, plan, run.recipe, run.console.progress, labels, finished)
    serialize.write_model(folder / "model.safetensors", model)
    files.write_json(folder / "plan.json", plan)
    return "nothing to cut" if model is run.dense else f"widths {min(plan.widths)} to {max(plan.widths)}"


def quantize_step(run: Run, pruned: Path, kept: Path, folder: Path) -> str:
    model = serialize.read_model(pruned / "model.safetensors", run.dense)
    plan = run.precisions.lowered(files.read_json(pruned / "plan.json", PrunePlan).dtypes)
    dtypes = {site: precision.dtype for site, precision in plan.weights.items()}
    integer = [site for site, dtype in dtypes.items() if dtype.is_integer]
    groups: list[AwqGroup] = []
    sites: list[RoundedSite] = []
    if run.recipe.awq and integer:
        tokens = embed(model, run.calibration_batches())
        dynamic = plan.activations == "dynamic"
        bits = {site: dtypes[site].bits for site in integer}
        searched = KeptBlocks[list[AwqGroup]](kept / "awq", list[AwqGroup])
        model, groups = search(model, tokens, bits, dynamic, run.recipe.awq_tokens, run.console.progress, searched)
    if integer:
        tokens = embed(model, run.calibration_batches())
        round_input = dict.fromkeys(integer, per_token) if plan.activations == "dynamic" else {}
        rounded = KeptBlocks[list[RoundedSite]](kept / "rounded", list[RoundedSite])
        model, sites = round_weights(model, tokens, dtypes, run.recipe, round_input, run.console.progress, rounded)
    serialize.write_model(folder / "model.safetensors", model)
    files.write_json(folder / "precisions.json", plan)
    files.write_json(folder / "awq.json", groups, list[AwqGroup])
    files.write_json(folder / "rounding.json", sites, list[RoundedSite])
    if not integer:
        return "no site is an integer"
    return f"{len(integer)} integer sites, {share_taken_off(sites):.0%} off the error of plain rounding"


def lower_step(run: Run, scaled: Path, folder: Path, version: str) -> str:
    model = serialize.read_model(scaled / "model.safetensors", run.dense)
    plan = files.read_json(scaled / "precisions.json", PrecisionPlan)
    float_path, path = folder / "float.tflite", folder / "model.tflite"
    merged = _merging(run, model, plan, folder)
    files.write_json(folder / "merging.json", merged)
    quantized = _write(run, model, plan, merged.count, float_path)
    content = flatbuffer.read(quantized)
    add_metadata(content, type(run.source).__name__, run.spec, run.recipe.sha256, version)
    flatbuffer.write(content, path)
    with path.open("ab") as file:
        file.write(labels_archive(run.labels))
    if quantized is not float_path:
        quantized.unlink()
    check_precisions(path, plan)
    cost = memory_cost(path)
    files.write_json(folder / "memory.json", cost)
    check_budget_holds(run, cost)
    fewer = f", {merged.count} pairs of tokens merged in each block" if merged.count else ""
    return f"{cost.weights_bytes / MEGABYTE:.2f} MB of weights, {cost.arena_bytes / MEGABYTE:.2f} MB of arena{fewer}"


def _write(run: Run, model: EdgeViT, plan: PrecisionPlan, merged: int, float_path: Path) -> Path:
    """The FP32 file, and beside it the one in the precisions of the plan, which may be the same."""
    export_float(model, run.spec, float_path, run.chunks, merged)
    if run.recipe.precision == "fp32":
        return float_path
    quantized = float_path.with_name("quantized.tflite")
    quantize_file(float_path, quantized, plan, _calibration_inputs(run), run.threads, on_grid=True)
    return quantized


def _merging(run: Run, model: EdgeViT, plan: PrecisionPlan, folder: Path) -> Merging:
    """What the recipe says, or what its latency target asks for."""
    if run.recipe.latency_target_ms is None:
        return Merging(run.recipe.merge_tokens)

    def measured_ms(count: int) -> float:
        case = host.Case(str(_write(run, model, plan, count, folder / "float.tflite")), _on_this_machine(run))
        with run.console.bar(host.steps([case], BENCHMARK), f"{count} pairs merged", unit="turn") as bar:
            latency = host.measure([case], BENCHMARK, seed=run.recipe.seed, done=bar.update).measurements[0].latency
        assert isinstance(latency, Latency)
        return float(np.median(latency.samples_ms))

    return fit_latency(measured_ms, run.recipe.latency_target_ms, run.recipe.merge_tokens, most_merged(model))


def _on_this_machine(run: Run) -> RuntimeConfig:
    return RuntimeConfig(num_threads=run.threads)


def _calibration_inputs(run: Run) -> Iterator[NDArray[np.float32]]:
    """The calibration images as the file takes them; made only where the quantizer asks for them."""
    return (file_input(pixels.numpy(), run.spec) for pixels in run.data.calibration.pixels)


def evaluate_torch_step(run: Run, model: nn.Module, folder: Path) -> str:
    normalize = run.preprocessing.normalize

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(normalize(torch.from_numpy(pixels))).numpy()

    return _evaluate(run, logits, folder)


def evaluate_file_step(run: Run, lowered: Path, folder: Path) -> str:
    runner = FileRunner(lowered / "model.tflite", run.spec, run.threads)
    saturated: list[int] = []

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for image in pixels:
            rows.append(runner(image))
            saturated.append(runner.saturated)
        return np.stack(rows)

    summary = _evaluate(run, logits, folder)
    np.save(folder / "saturated.npy", np.array(saturated))
    return summary


def _evaluate(run: Run, logits: Logits, folder: Path) -> str:
    evaluation = run.data.evaluation
    with run.console.bar(len(evaluation), folder.name.removesuffix(".tmp")) as bar:

        def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
            for pixels, labels in evaluation:
                yield pixels.numpy(), labels.numpy()
                bar.update(len(labels))

        found, labels = collect_logits(logits, batches())
    np.savez(folder / "logits.npz", logits=found, labels=labels)
    top1 = accuracy(found, labels).top1
    return f"top-1 {top1.percent:.2f} % ({top1.low_percent:.2f} to {top1.high_percent:.2f}) on {top1.images} images"


def judge(run: Run, budget: int | None, lowered: Path, dense: Path, file: Path) -> Tried:
    """What a file needs and loses, and whether the recipe allows it."""
    drop, _, _ = _drop(*_logits(dense), _logits(file)[0])
    memory = files.read_json(lowered / "memory.json", MemoryCost)
    return Tried(budget, memory.total_bytes, drop, run.recipe.allows(drop))


def verify_step(
    run: Run,
    scaled: Path,
    lowered: Path,
    dense: Path,
    pruned: Path | None,
    quantized: Path | None,
    file: Path,
    tried: tuple[Tried, ...],
    folder: Path,
) -> str:
    parity = check_parity(*_parity_logits(run, scaled, lowered))
    dense_logits, labels = _logits(dense)
    file_logits, _ = _logits(file)
    check_outputs(file_logits, dense_logits, np.load(file / "saturated.npy"))
    drop, low, high = _drop(dense_logits, labels, file_logits)
    metrics = Metrics(
        dense=accuracy(dense_logits, labels),
        pruned=None if pruned is None else accuracy(*_logits(pruned)),
        quantized=None if quantized is None else accuracy(*_logits(quantized)),
        file=accuracy(file_logits, labels),
        drop_points=drop,
        drop_low_points=low,
        drop_high_points=high,
        agreement_percent=100 * float((dense_logits.argmax(1) == file_logits.argmax(1)).mean()),
        divergence=kl_divergence(torch.from_numpy(dense_logits), torch.from_numpy(file_logits)),
        parity=parity,
        memory=files.read_json(lowered / "memory.json", MemoryCost),
        dense_memory=run.float_cost,
        memory_budget_bytes=run.recipe.memory_budget_bytes,
        evaluation_images=len(labels),
        evaluation_left_out=run.data.evaluation.left_out,
        tried=tried,
        arena_budget_bytes=run.recipe.arena_budget_bytes,
        chunks=run.chunks,
        merging=_merged(lowered),
    )
    if not run.recipe.allows(drop):
        raise VerificationError(
            f"the file loses {drop:.2f} points of top-1 ({low:.2f} to {high:.2f}), more than the "
            f"{run.recipe.max_accuracy_drop:g} of max_accuracy_drop: prune less, allow a larger budget, or keep more "
            "sites in FP16 or FP32"
        )
    files.write_json(folder / "metrics.json", metrics)
    files.write_json(folder / "confusion.json", confusion(dense_logits, file_logits, labels))
    return f"drop {drop:+.2f} points ({low:+.2f} to {high:+.2f}), parity {parity.max_relative_difference:.1e}"


def benchmark_step(run: Run, lowered: Path, weight_cache: bool, folder: Path) -> str:
    """Measure the written file on this machine, in turn with the FP32 file that it was quantized from.

    With `weight_cache` also without XNNPACK's weight cache, when it writes it and when it finds it, all through
    CompiledModel, which alone can be told of it.
    """
    config, model = _on_this_machine(run), str(lowered / "model.tflite")
    cases = [host.Case(model, config, title=MODEL_TITLE)]
    if run.recipe.precision != "fp32":
        cases.insert(0, host.Case(str(lowered / "float.tflite"), config, title=FLOAT_TITLE))
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
    against = f", {found.ratios[0].median:.2f} of FP32's" if found.ratios else ""
    return f"{latency.median_ms:.2f} ms{against}"


def npu_step(run: Run, lowered: Path, folder: Path) -> str:
    """The written file compiled for the recipe's target, and what the compiler says of it."""
    report = compile_for(run.recipe.target, lowered / "model.tflite", folder)
    files.write_json(folder / NPU_FILE, report)
    return report.verdict


def _parity_logits(run: Run, scaled: Path, lowered: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of the FP32 file, and of the torch model that it was lowered from, on calibration images."""
    model = quantized_model(run, scaled, lowered)
    pixels = run.data.calibration.pixels[:PARITY_IMAGES]
    with torch.inference_mode():
        expected = model(run.preprocessing.normalize(pixels)).numpy()
    runner = FileRunner(lowered / "float.tflite", run.spec, run.threads)
    return np.stack([runner(image.numpy()) for image in pixels]), expected


def quantized_model(run: Run, scaled: Path, lowered: Path) -> nn.Module:
    """What the FP32 file was lowered from: its weights are rounded already, its tokens merge."""
    return merging(serialize.read_model(scaled / "model.safetensors", run.dense), _merged(lowered).count)


def _merged(lowered: Path) -> Merging:
    return files.read_json(lowered / "merging.json", Merging)


def _logits(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    content = np.load(folder / "logits.npz")
    return content["logits"], content["labels"]


def _drop(
    dense: NDArray[np.float32], labels: NDArray[np.int64], file: NDArray[np.float32]
) -> tuple[float, float, float]:
    """Percentage points of top-1 that a file loses against the dense model, with their interval."""
    return paired_drop(dense.argmax(1) == labels, file.argmax(1) == labels)


def was_pruned(pruned: Path) -> bool:
    return files.read_json(pruned / "plan.json", PrunePlan).is_cut


def was_rounded(scaled: Path) -> bool:
    return bool(files.read_json(scaled / "rounding.json", list[RoundedSite]))
