"""One function a stage: reads what the stages before it wrote, writes its own files, returns a line about itself."""

from edgeflex_tflite.steps.benchmark import benchmark_step
from edgeflex_tflite.steps.compress import (
    measure_step,
    plan_step,
    profile_step,
    prune_step,
    quantize_step,
    was_pruned,
    was_rounded,
)
from edgeflex_tflite.steps.lower import lower_step, npu_step, quantized_model
from edgeflex_tflite.steps.merge import merge_step
from edgeflex_tflite.steps.verify import evaluate_file_step, evaluate_torch_step, judge, verify_step

__all__ = [
    "benchmark_step",
    "evaluate_file_step",
    "evaluate_torch_step",
    "judge",
    "lower_step",
    "measure_step",
    "merge_step",
    "npu_step",
    "plan_step",
    "profile_step",
    "prune_step",
    "quantize_step",
    "quantized_model",
    "verify_step",
    "was_pruned",
    "was_rounded",
]
