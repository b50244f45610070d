"""A `PrecisionPlan` as an ai-edge-quantizer recipe, and the recipe applied to a float file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_quantizer import calibrator, qtyping, quantizer, recipe_manager
from ai_edge_quantizer.utils import qsv_utils

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan, grid_of
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.grid import exact_recovery
from edgeflex_tflite.quantize.plan import PATCH_EMBED
from edgeflex_tflite.quiet import quiet

SIGNATURE = "serving_default"
INPUT_NAME = "args_0"
ALL = qtyping.TFLOperationName.ALL_SUPPORTED
LINEAR = qtyping.TFLOperationName.FULLY_CONNECTED
WEIGHTED_OPERATORS = (LINEAR, qtyping.TFLOperationName.CONV_2D)
NOT_QUANTIZED = quantizer.AlgorithmName.NO_QUANTIZE
MIN_MAX = quantizer.AlgorithmName.MIN_MAX_UNIFORM_QUANT
RECOVERY = quantizer.AlgorithmName.DEQUANTIZED_WEIGHT_RECOVERY
FLOAT_CASTING = quantizer.AlgorithmName.FLOAT_CASTING


def quantize_file(
    source: Path,
    destination: Path,
    plan: PrecisionPlan,
    calibration: Iterable[np.ndarray],
    threads: int,
    on_grid: bool = False,
) -> None:
    """Write `source` (a float file named by site) in the precisions of `plan`.

    Args:
        source: the FP32 `.tflite`.
        destination: where the quantized file goes.
        plan: precision of every site.
        calibration: inputs of the file, each `float32` of the input's shape; read only where activations are static.
        threads: of the interpreter that calibrates.
        on_grid: the weights of integer linears lie on their integer's grid already, and are stored as they are.
    """
    work = quantizer.Quantizer(str(source))
    inside = _inputs_of_linears(source, plan)
    for regex, operation, config, algorithm in recipe_entries(plan, on_grid, inside):
        work.update_quantization_recipe(regex, operation, config, algorithm)
    with quiet(), exact_recovery():
        statistics = _ranges(source, work, calibration, threads) if work.need_calibration else None
        result = work.quantize(statistics, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    destination.write_bytes(result.quantized_model)


def _ranges(source: Path, work: quantizer.Quantizer, calibration: Iterable[np.ndarray], threads: int) -> dict[str, Any]:
    """Smallest and largest value of every tensor over all calibration inputs.

    The library would average each image's extremes instead, and so clip those of most images: pixels of 255 and the
    largest logits among them. The interpreter finds them by itself, several times as fast as from copies of all its
    tensors; that way they come as `float64 [1]`, and the quantizer wants them in their tensor's type and rank.
    """
    recipe = recipe_manager.RecipeManager()
    recipe.load_quantization_recipe(work.get_quantization_recipe())
    observer = calibrator.Calibrator(
        str(source),
        num_threads=threads,
        mode=calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED,
        qsv_update_func=qsv_utils.min_max_update,
    )
    inputs = [{INPUT_NAME: image} for image in calibration]  # a list: the library goes through it twice
    observer.calibrate({SIGNATURE: inputs}, recipe)
    ranks = {tensor.name.decode(): len(tensor.shape) for tensor in flatbuffer.read(source).subgraphs[0].tensors}
    return {
        name: {end: np.reshape(value, (1,) * ranks[name]).astype(np.float32) for end, value in found.items()}
        for name, found in observer.get_model_qsvs().items()
    }


def _inputs_of_linears(source: Path, plan: PrecisionPlan) -> dict[str, int]:
    """Input channels of every linear of a file, by site, where the plan has blocks of them."""
    if not plan.int4_block:
        return {}
    content = flatbuffer.read(source)
    return {site: weight.shape[-1] for site, weight in flatbuffer.stored_weights(content, plan.weights).items()}


def recipe_entries(
    plan: PrecisionPlan, on_grid: bool = False, inside: Mapping[str, int] | None = None
) -> Iterator[tuple[str, str, Any, Any]]:
    """(regex over tensor names, operator, configuration, algorithm), later entries overruling earlier ones.

    Args:
        plan: precision of every site.
        on_grid: as in `quantize_file`.
        inside: input channels of every linear, by site; needed where the plan has blocks of them.
    """
    algorithm = RECOVERY if on_grid else MIN_MAX
    if plan.activations == "static":
        yield ".*", ALL, _integer_config(plan, Dtype.INT8), MIN_MAX
        yield ".*", qtyping.TFLOperationName.BATCH_MATMUL, _integer_config(plan, Dtype.INT8, per_tensor=True), MIN_MAX
        if not plan.integer_io:
            yield ".*", qtyping.TFLOperationName.INPUT, None, NOT_QUANTIZED
            yield ".*", qtyping.TFLOperationName.OUTPUT, None, NOT_QUANTIZED
    for site, precision in (plan.weights | plan.compute).items():
        if precision.dtype is Dtype.FP32:
            yield _site_regex(site), ALL, None, NOT_QUANTIZED
        elif precision.dtype is Dtype.FP16:
            yield _site_regex(site), ALL, None, NOT_QUANTIZED
            for operation in WEIGHTED_OPERATORS:
                yield _site_regex(site), operation, _half_config(), FLOAT_CASTING
        elif precision.dtype is Dtype.INT16:
            yield _site_regex(site), ALL, _integer_config(plan, Dtype.INT8, activation_bits=16), MIN_MAX
        elif site in plan.weights:
            block = grid_of(precision.dtype, inside[site], plan.int4_block).block if inside else 0
            config = _integer_config(plan, precision.dtype, block=block)
            for operation in (LINEAR,) if block else WEIGHTED_OPERATORS:
                yield _site_regex(site), operation, config, MIN_MAX if site == PATCH_EMBED else algorithm


def _site_regex(site: str) -> str:
    return f"^{re.escape(site)};"


def _integer_config(
    plan: PrecisionPlan, weights: Dtype, activation_bits: int = 8, per_tensor: bool = False, block: int = 0
) -> qtyping.OpQuantizationConfig:
    """Integer activations, by calibration or at run time, and symmetric weights with a scale per channel or block.

    A constant that is multiplied with activations as one of them (SigLIP's latent query) has one scale.
    """
    granularity = qtyping.QuantGranularity.TENSORWISE if per_tensor else qtyping.QuantGranularity.CHANNELWISE
    if block:
        granularity = qtyping.QuantGranularity(f"BLOCKWISE_{block}")
    static = qtyping.TensorQuantizationConfig(num_bits=activation_bits, symmetric=activation_bits > 8)
    return qtyping.OpQuantizationConfig(
        activation_tensor_config=static if plan.activations == "static" else None,
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=weights.bits, symmetric=True, granularity=granularity
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
        explicit_dequantize=False,
    )


def _half_config() -> qtyping.OpQuantizationConfig:
    return qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
