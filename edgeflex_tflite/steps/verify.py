"""What is known of the file: its answers beside those of the models that it comes from, and whether it may be kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import MemoryCost, Metrics, PrecisionPlan, Signature, Tried
from edgeflex_tflite.budget.probe import kl_divergence
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.run import Run
from edgeflex_tflite.side_by_side import each
from edgeflex_tflite.steps.lower import quantized_model
from edgeflex_tflite.steps.written import merged, signatures
from edgeflex_tflite.verify.accuracy import accuracy, collect_logits, paired_drop
from edgeflex_tflite.verify.confusion import confusion
from edgeflex_tflite.verify.gates import check_outputs
from edgeflex_tflite.verify.parity import check_parity
from edgeflex_tflite.verify.runner import FileRunner
from edgeflex_tflite.verify.signatures import check_signature, signature_logits

PARITY_IMAGES = 16
IMAGES_TOGETHER = 8
"""In one forward pass of a torch model; several passes go on at once."""
Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels `uint8 [B, 3, H, W]` -> logits `float32 [B, num_classes]`."""


def evaluate_torch_step(run: Run, read: Callable[[], nn.Module], folder: Path) -> str:
    """The model that `read` gives, which is let go of when the stage ends, on the evaluation images."""
    normalize, model = run.preprocessing.normalize, read()

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = torch.from_numpy(pixels).split(IMAGES_TOGETHER)
        with torch.inference_mode():
            return torch.cat(list(each(lambda images: model(normalize(images)), parts))).numpy()

    return _keep(folder, *_evaluate(run, logits, folder.name.removesuffix(".tmp")))


def evaluate_file_step(run: Run, lowered: Path, folder: Path) -> str:
    logits, labels, saturated = _of_file(run, lowered / "model.tflite", folder.name.removesuffix(".tmp"))
    np.save(folder / "saturated.npy", np.array(saturated))
    return _keep(folder, logits, labels)


def points_lost(dense: Path, run: Run, path: Path, caption: str) -> float:
    """Percentage points of top-1 on the evaluation images that a file loses against the logits in a folder."""
    logits, _, _ = _of_file(run, path, caption)
    return _drop(*_logits(dense), logits)[0]


def _of_file(run: Run, path: Path, caption: str) -> tuple[NDArray[np.float32], NDArray[np.int64], list[int]]:
    """Logits, labels, and how many values saturated in each image."""
    runner, saturated = FileRunner(path, run.spec, run.threads), []

    def logits(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = []
        for image in pixels:
            rows.append(runner(image))
            saturated.append(runner.saturated)
        return np.stack(rows)

    return *_evaluate(run, logits, caption), saturated


def _evaluate(run: Run, logits: Logits, caption: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits and labels of the evaluation images."""
    evaluation = run.data.evaluation
    with run.console.bar(len(evaluation), caption) as bar:

        def batches() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
            for pixels, labels in evaluation:
                yield pixels.numpy(), labels.numpy()
                bar.update(len(labels))

        return collect_logits(logits, batches())


def _keep(folder: Path, logits: NDArray[np.float32], labels: NDArray[np.int64]) -> str:
    np.savez(folder / "logits.npz", logits=logits, labels=labels)
    top1 = accuracy(logits, labels).top1
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
    checked = _checked_signatures(run, scaled, lowered)
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
        merging=merged(lowered),
        signatures=checked,
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


def _parity_logits(run: Run, scaled: Path, lowered: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits of the FP32 file, and of the torch model that it was lowered from, on calibration images."""
    model = quantized_model(run, scaled, lowered)
    pixels = run.data.calibration.pixels[:PARITY_IMAGES]
    with torch.inference_mode():
        expected = model(run.preprocessing.normalize(pixels)).numpy()
    del model
    runner = FileRunner(lowered / "float.tflite", run.spec, run.threads)
    return np.stack([runner(image.numpy()) for image in pixels]), expected


def _checked_signatures(run: Run, scaled: Path, lowered: Path) -> tuple[Signature, ...]:
    """Those of the file, each but the first with its difference from the first on calibration images."""
    path, pixels = lowered / "model.tflite", list(run.data.calibration.pixels[:PARITY_IMAGES].numpy())
    plan = files.read_json(scaled / "precisions.json", PrecisionPlan)
    integer = any(precision.dtype.is_integer for precision in plan.weights.values())
    first, *others = signatures(lowered)
    if not others:
        return (first,)
    expected = signature_logits(path, first.name, pixels, run.spec, run.threads)

    def checked(each: Signature) -> Signature:
        actual = signature_logits(path, each.name, pixels, run.spec, run.threads)
        return dataclasses.replace(each, parity=check_signature(each.name, actual, expected, integer))

    return (first, *map(checked, others))


def _logits(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    content = np.load(folder / "logits.npz")
    return content["logits"], content["labels"]


def _drop(
    dense: NDArray[np.float32], labels: NDArray[np.int64], file: NDArray[np.float32]
) -> tuple[float, float, float]:
    """Percentage points of top-1 that a file loses against the dense model, with their interval."""
    return paired_drop(dense.argmax(1) == labels, file.argmax(1) == labels)
