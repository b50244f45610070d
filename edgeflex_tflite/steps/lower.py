"""What is written: the file, what it was lowered from, and what the compiler of its target makes of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgeflex_tflite import files, serialize
from edgeflex_tflite.artifacts import Merging, PrecisionPlan, Signature
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.join import batch_signature, join
from edgeflex_tflite.lower.merge import merging
from edgeflex_tflite.lower.metadata import add_metadata, labels_archive
from edgeflex_tflite.lower.predict import memory_cost, signature_graphs
from edgeflex_tflite.lower.quantizer import SIGNATURE, quantize_file
from edgeflex_tflite.memory import plan_arena
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.npu.compile import NPU_FILE, compile_for
from edgeflex_tflite.planning import check_budget_holds
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.run import Run
from edgeflex_tflite.steps.written import MERGING_FILE, SIGNATURES_FILE, merged
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import file_input, in_batches


def lower_step(run: Run, scaled: Path, chosen: Path | None, folder: Path, version: str) -> str:
    """Write the file.

    Args:
        scaled: folder of the quantization.
        chosen: folder in which it was decided how many tokens are merged; None: the recipe says.
    """
    model = serialize.read_model(scaled / "model.safetensors", run.dense)
    plan = files.read_json(scaled / "precisions.json", PrecisionPlan)
    float_path, path = folder / "float.tflite", folder / "model.tflite"
    merges = Merging(run.recipe.merge_tokens) if chosen is None else merged(chosen)
    files.write_json(folder / MERGING_FILE, merges)
    quantized = write_alone(run, model, plan, merges.count, float_path)
    with tempfile.TemporaryDirectory(dir=folder) as others:
        alone = {SIGNATURE: quantized}
        for batch in run.recipe.batches[1:]:
            source = Path(others, f"{batch}.tflite")
            alone[batch_signature(batch)] = write_alone(run, model, plan, merges.count, source, batch)
        alone_bytes = [each.stat().st_size for each in alone.values()]
        content = join({name: flatbuffer.read(each) for name, each in alone.items()})
        add_metadata(content, type(run.source).__name__, run.spec, run.recipe.sha256, version)
        flatbuffer.write(content, path)
    with path.open("ab") as file:
        file.write(labels_archive(run.labels))
    if quantized is not float_path:
        quantized.unlink()
    check_precisions(path, plan)
    files.write_json(folder / SIGNATURES_FILE, _signatures(path, run.recipe.batches, alone_bytes), list[Signature])
    cost = memory_cost(path)
    files.write_json(folder / "memory.json", cost)
    check_budget_holds(run, cost)
    fewer = f", {merges.count} pairs of tokens merged in each block" if merges.count else ""
    return f"{cost.weights_bytes / MEGABYTE:.2f} MB of weights, {cost.arena_bytes / MEGABYTE:.2f} MB of arena{fewer}"


def write_alone(run: Run, model: EdgeViT, plan: PrecisionPlan, merged: int, float_path: Path, batch: int = 1) -> Path:
    """Write the FP32 file for so many images, and beside it the one in the planned precisions, if that is another.

    Returns:
        Path of the latter, without metadata.
    """
    export_float(model, dataclasses.replace(run.spec, batch=batch), float_path, run.chunks, merged)
    if run.recipe.precision == "fp32":
        return float_path
    quantized = float_path.with_suffix(".quantized")
    inputs = in_batches(_calibration_inputs(run), batch)
    quantize_file(float_path, quantized, plan, inputs, run.threads, on_grid=True)
    return quantized


def _signatures(path: Path, batches: Sequence[int], alone_bytes: Sequence[int]) -> list[Signature]:
    """What the written file has, given the bytes of each signature's own file."""
    return [
        Signature(name, batch, alone, plan_arena(path, graph=graph).total_bytes)
        for (name, graph), batch, alone in zip(signature_graphs(path).items(), batches, alone_bytes, strict=True)
    ]


def _calibration_inputs(run: Run) -> Iterator[NDArray[np.float32]]:
    """The calibration images as the file takes them; made only where the quantizer asks for them."""
    return (file_input(pixels.numpy(), run.spec) for pixels in run.data.calibration.pixels)


def quantized_model(run: Run, scaled: Path, lowered: Path) -> nn.Module:
    """What the FP32 file was lowered from: its weights are rounded already, its tokens merge."""
    return merging(serialize.read_model(scaled / "model.safetensors", run.dense), merged(lowered).count)


def npu_step(run: Run, lowered: Path, folder: Path) -> str:
    """The written file compiled for the recipe's target, and what the compiler says of it."""
    report = compile_for(run.recipe.target, lowered / "model.tflite", folder)
    files.write_json(folder / NPU_FILE, report)
    return report.verdict
