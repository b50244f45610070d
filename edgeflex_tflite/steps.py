"""One function a stage: reads what the stages before it wrote, writes its own files, returns a line about itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeflex_tflite import serialize
from edgeflex_tflite.artifacts import (
    ActivationProfile,
    AwqGroup,
    BlockCut,
    Dtype,
    InputSpec,
    MemoryCost,
    Metrics,
    PrecisionPlan,
    PrunePlan,
)
from edgeflex_tflite.data import Data
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.metadata import add_metadata, labels_archive
from edgeflex_tflite.lower.predict import block_bytes, memory_cost, neuron_bytes, predict_memory
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import Tokens, embed
from edgeflex_tflite.profiling.profile import profile
from edgeflex_tflite.prune.allocate import BlockCurve, allocate, bytes_for_ratio, smallest_width
from edgeflex_tflite.prune.sweep import measure_curves, prune
from edgeflex_tflite.quantize.awq import search
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import MEGABYTE, Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.verify.accuracy import accuracy, collect_logits, paired_drop
from edgeflex_tflite.verify.gates import check_outputs
from edgeflex_tflite.verify.parity import check_parity
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner

TORCH_BATCH = 64
PARITY_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Run:
    """What every stage of a run shares.

    Attributes:
        source: timm's model, as it came; `dense` is its edge form.
        data: calibration and evaluation images.
        spec: what the file takes as its image.
        precisions: of every site.
        dense_cost, float_cost: predicted for the file without any pruning, in the planned precisions and in FP32.
        labels: a name for each class.
        threads: of torch and the interpreter.
    """

    source: nn.Module
    dense: EdgeViT
    data: Data
    recipe: Recipe
    spec: InputSpec
    precisions: PrecisionPlan
    dense_cost: MemoryCost
    float_cost: MemoryCost
    labels: tuple[str, ...]
    threads: int
    console: Console

    @property
    def dense_widths(self) -> tuple[int, ...]:
        return tuple(block.mlp.width for block in self.dense.blocks)

    def calibration_batches(self) -> Iterator[Tensor]:
        """Normalized calibration images, `float32 [B, 3, H, W]`."""
        normalize = self.data.evaluation.preprocessing.normalize
        return (normalize(pixels) for pixels in self.data.calibration.pixels.split(TORCH_BATCH))

    def calibration_tokens(self) -> Tokens:
        return embed(self.dense, self.console.progress(list(self.calibration_batches()), "embed"))


def prepare(
    model: nn.Module, data: Data, recipe: Recipe, labels: tuple[str, ...] | None, threads: int, console: Console
) -> Run:
    """Everything that is decided before the first long stage.

    Raises:
        UserError: the model has no edge form, the recipe does not fit it, or the budget is out of reach.
    """
    dense = to_edge_form(model)
    preprocessing = data.evaluation.preprocessing
    size = (preprocessing.height, preprocessing.width)
    if size != dense.img_size:
        raise UserError(
            f"the images are {size[0]}x{size[1]} and the model takes {dense.img_size}: give --img_size={size[0]}"
        )
    spec = InputSpec(recipe.input_layout, recipe.input_range, preprocessing.mean, preprocessing.std, *size)
    precisions = plan_precision(recipe, weight_sites(dense), compute_sites(dense))
    widths = [block.mlp.width for block in dense.blocks]
    float_cost, dense_cost = predict_memory(dense, widths, precisions, spec, threads)
    classes = dense.head.out_features
    names = labels or data.evaluation.source.class_names or tuple(str(index) for index in range(classes))
    run = Run(model, dense, data, recipe, spec, precisions, dense_cost, float_cost, names, threads, console)
    _check_budget(run)
    return run


def least_bytes(run: Run) -> int:
    """The smallest budget that pruning can reach, with all MLPs at their narrowest."""
    narrowest = [smallest_width(width, run.recipe.width_multiple) for width in run.dense_widths]
    return run.dense_cost.total_bytes - sum(_saved(run, narrowest))


def _check_budget(run: Run) -> None:
    budget, least = run.recipe.memory_budget_bytes, least_bytes(run)
    if budget is not None and budget < least:
        raise UserError(
            f"a budget of {budget / MEGABYTE:.2f} MB is impossible for this model in precision {run.recipe.precision}: "
            f"the least is {-(-least // 10_000) / 100:.2f} MB, without pruning it needs {run.dense_cost.total_bytes / MEGABYTE:.2f} MB"
        )


def profile_step(run: Run, folder: Path) -> str:
    batches = run.console.progress(list(run.calibration_batches()), "profile")
    result = profile(run.dense, batches)
    serialize.write_json(folder / "profile.json", result)
    never = f"; never called: {', '.join(result.never_called)}" if result.never_called else ""
    return f"{len(result.sites)} sites on {result.images} images{never}"


def plan_step(run: Run, folder: Path) -> str:
    plan = plan_pruning(run)
    serialize.write_json(folder / "plan.json", plan)
    cut = 1 - sum(plan.widths) / sum(run.dense_widths)
    return f"{cut:.1%} of MLP neurons to cut, {plan.predicted_bytes / MEGABYTE:.2f} MB predicted"


def plan_pruning(run: Run) -> PrunePlan:
    """Widths that reach the budget or the ratio at the least predicted loss; dense ones where nothing is asked for."""
    recipe, dense = run.recipe, run.dense_cost
    to_save = 0
    if recipe.memory_budget_bytes is not None:
        to_save = max(0, dense.total_bytes - recipe.memory_budget_bytes)
    if to_save == 0 and not recipe.prune_ratio:
        cuts = tuple(BlockCut(width, width, 0.0, 0.0) for width in run.dense_widths)
        return PrunePlan(cuts, dense.weights_bytes, dense.arena_bytes)
    bytes_each = _neuron_bytes(run)
    curves = measure_curves(run.dense, run.calibration_tokens(), recipe, bytes_each, run.console.progress)
    if recipe.prune_ratio:
        to_save = bytes_for_ratio(curves, recipe.prune_ratio)
    widths = allocate(curves, to_save, recipe.width_multiple)
    cuts = tuple(_planned_cut(curve, width) for curve, width in zip(curves, widths, strict=True))
    weights, arena = _saved(run, widths)
    return PrunePlan(cuts, dense.weights_bytes - weights, dense.arena_bytes - arena)


def _saved(run: Run, widths: Sequence[int]) -> tuple[int, int]:
    """Bytes of weights, and of arena kept from the start, that MLPs of these widths do without."""
    weights = arena = 0
    for index, (block, width) in enumerate(zip(run.dense.blocks, widths, strict=True)):
        before = block_bytes(block, block.mlp.width, f"blocks.{index}", run.precisions)
        after = block_bytes(block, width, f"blocks.{index}", run.precisions)
        weights, arena = weights + before[0] - after[0], arena + before[1] - after[1]
    return weights, arena


def _planned_cut(curve: BlockCurve, width: int) -> BlockCut:
    return BlockCut(width, curve.dense_width, curve.error[curve.dense_width - width].item(), curve.sensitivity)


def _neuron_bytes(run: Run) -> list[int]:
    return [neuron_bytes(block, f"blocks.{i}", run.precisions) for i, block in enumerate(run.dense.blocks)]


def prune_step(run: Run, planned: Path, folder: Path) -> str:
    plan = serialize.read_json(planned / "plan.json", PrunePlan)
    model = run.dense
    if plan.widths != run.dense_widths:
        model, plan = prune(run.dense, run.calibration_tokens(), plan, run.recipe, run.console.progress)
    serialize.write_model(folder / "model.safetensors", model)
    serialize.write_json(folder / "plan.json", plan)
    return "nothing to cut" if model is run.dense else f"widths {min(plan.widths)} to {max(plan.widths)}"


def quantize_step(run: Run, pruned: Path, folder: Path) -> str:
    model = serialize.read_model(pruned / "model.safetensors", run.dense)
    groups: list[AwqGroup] = []
    int8 = [site for site, precision in run.precisions.weights.items() if precision.dtype is Dtype.INT8]
    if run.recipe.awq and int8:
        dynamic = run.precisions.activations == "dynamic"
        tokens = embed(model, run.calibration_batches())
        model, groups = search(model, tokens, int8, dynamic, run.recipe.awq_tokens, run.console.progress)
    serialize.write_model(folder / "model.safetensors", model)
    serialize.write_json(folder / "awq.json", groups, list[AwqGroup])
    if not groups:
        return "no site is INT8" if not int8 else "AWQ is off"
    gain = 1 - sum(group.error for group in groups) / max(sum(group.plain_error for group in groups), 1e-30)
    return f"{len(int8)} INT8 sites, AWQ takes {gain:.0%} off their rounding error"


def lower_step(run: Run, scaled: Path, folder: Path, version: str) -> str:
    model = serialize.read_model(scaled / "model.safetensors", run.dense)
    float_path, path = folder / "float.tflite", folder / "model.tflite"
    export_float(model, run.spec, float_path)
    quantized = folder / "quantized.tflite"
    if run.recipe.precision == "fp32":
        quantized = float_path
    else:
        quantize_file(float_path, quantized, run.precisions, _calibration_inputs(run), run.threads)
    content = flatbuffer.read(quantized)
    add_metadata(content, type(run.source).__name__, run.spec, run.recipe.sha256, version)
    flatbuffer.write(content, path)
    with path.open("ab") as file:
        file.write(labels_archive(run.labels))
    if quantized is not float_path:
        quantized.unlink()
    check_precisions(path, run.precisions)
    cost = memory_cost(path)
    serialize.write_json(folder / "memory.json", cost)
    _check_budget_holds(run, cost)
    return f"{cost.weights_bytes / MEGABYTE:.2f} MB of weights, {cost.arena_bytes / MEGABYTE:.2f} MB of arena"


def _calibration_inputs(run: Run) -> list[NDArray[np.float32]]:
    from edgeflex_tflite.verify.runner import file_input

    return [file_input(pixels.numpy(), run.spec) for pixels in run.data.calibration.pixels]


def _check_budget_holds(run: Run, cost: MemoryCost) -> None:
    budget = run.recipe.memory_budget_bytes
    if budget is not None and cost.total_bytes > budget:
        raise VerificationError(
            f"the file needs {cost.total_bytes:,} bytes ({cost.weights_bytes:,} of weights, {cost.arena_bytes:,} of arena, set by "
            f"{cost.peak_op}), over the budget of {budget:,}: try --memory_budget_mb="
            f"{(budget - (cost.total_bytes - budget)) / MEGABYTE:.2f}"
        )


def evaluate_torch_step(run: Run, model: nn.Module, folder: Path) -> str:
    normalize = run.data.evaluation.preprocessing.normalize

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


def _evaluate(run: Run, logits: Any, folder: Path) -> str:
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


def verify_step(
    run: Run, scaled: Path, lowered: Path, dense: Path, pruned: Path | None, file: Path, folder: Path
) -> str:
    parity = check_parity(*_parity_logits(run, scaled, lowered))
    dense_logits, labels = _logits(dense)
    file_logits, _ = _logits(file)
    check_outputs(file_logits, dense_logits, np.load(file / "saturated.npy"))
    drop, low, high = paired_drop(dense_logits.argmax(1) == labels, file_logits.argmax(1) == labels)
    metrics = Metrics(
        dense=accuracy(dense_logits, labels),
        pruned=None if pruned is None else accuracy(*_logits(pruned)),
        file=accuracy(file_logits, labels),
        drop_points=drop,
        drop_low_points=low,
        drop_high_points=high,
        agreement_percent=100 * float((dense_logits.argmax(1) == file_logits.argmax(1)).mean()),
        parity=parity,
        memory=serialize.read_json(lowered / "memory.json", MemoryCost),
        dense_memory=run.float_cost,
        memory_budget_bytes=run.recipe.memory_budget_bytes,
        evaluation_images=len(labels),
        evaluation_left_out=run.data.evaluation.left_out,
    )
    most = run.recipe.max_accuracy_drop
    if most is not None and drop > most:
        raise VerificationError(
            f"the file loses {drop:.2f} points of top-1 ({low:.2f} to {high:.2f}), more than max_accuracy_drop {most:g}: "
            "prune less, allow a larger budget, or keep more sites in FP16 or FP32"
        )
    serialize.write_json(folder / "metrics.json", metrics)
    return f"drop {drop:+.2f} points ({low:+.2f} to {high:+.2f}), parity {parity.max_relative_difference:.1e}"


def _parity_logits(run: Run, scaled: Path, lowered: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of the FP32 file, and of the torch model that it was lowered from, on calibration images."""
    model = serialize.read_model(scaled / "model.safetensors", run.dense)
    pixels = run.data.calibration.pixels[:PARITY_IMAGES]
    with torch.inference_mode():
        expected = model(run.data.evaluation.preprocessing.normalize(pixels)).numpy()
    runner = FileRunner(lowered / "float.tflite", run.spec, run.threads)
    return np.stack([runner(image.numpy()) for image in pixels]), expected


def _logits(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    content = np.load(folder / "logits.npz")
    return content["logits"], content["labels"]


def read_profile(folder: Path) -> ActivationProfile:
    return serialize.read_json(folder / "profile.json", ActivationProfile)


def was_pruned(run: Run, pruned: Path) -> bool:
    return serialize.read_json(pruned / "plan.json", PrunePlan).widths != run.dense_widths
