"""A written file for Coral's Edge TPU: by `edgetpu_compiler` where it is installed, by what is documented elsewhere."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgeflex_tflite.analysis.edgetpu import EdgeTpuForecast, forecast, rules
from edgeflex_tflite.analysis.edgetpu_compiler import MAPPED, EdgeTpuCompilation, compile_for_edgetpu
from edgeflex_tflite.analysis.tool import find_tool
from edgeflex_tflite.artifacts import Figure, NotMeasured, NpuReport, OnCpu
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower.predict import memory_cost
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.recipe import MEGABYTE

NOT_RUN = (
    "edgetpu_compiler is not on PATH and was not run: this is a forecast from Coral's documents. Coral gives the "
    "compiler for Debian and Ubuntu on x86-64 (https://coral.ai/docs/edgetpu/compiler/)."
)


def check(_: str) -> None:
    """Nothing is needed: without the compiler there is the forecast."""


def compile_file(model: Path, target: str, folder: Path) -> NpuReport:
    """Compile a file into a folder where the compiler is installed, and give what it or the forecast says.

    Raises:
        VerificationError: the compiler, or its forecast, gives no file.
    """
    expected = forecast(load_graphs(model)[0])
    if find_tool("edgetpu_compiler", None) is None:
        return _forecast_report(target, expected, model)
    output = folder / f"{model.stem}_edgetpu.tflite"
    found = compile_for_edgetpu(model, output, all_parts=expected.parts_with_all > 1, retry=True)
    if isinstance(found, NotMeasured) and expected.parts_with_all > 1:
        found = compile_for_edgetpu(model, output, retry=True)
    if isinstance(found, NotMeasured):
        raise VerificationError(f"target {target}: {found.reason}")
    return _compiler_report(target, found, output.name, model)


def _forecast_report(target: str, found: EdgeTpuForecast, model: Path) -> NpuReport:
    if found.refusals:
        raise VerificationError(f"target {target}: {found.verdict}")
    left = Counter((op.name, "; ".join(op.reasons)) for op in found.ops if not op.mapped)
    able = sum(op.supported for op in found.ops)
    least, most = found.streamed_bytes
    return NpuReport(
        target=target,
        source="the forecast from Coral's documents",
        compiled=None,
        npu_ops=found.mapped,
        cpu_ops=len(found.ops) - found.mapped,
        on_cpu=tuple(OnCpu(op, reason, count) for (op, reason), count in left.most_common()),
        figures=(
            Figure("operators that keep every rule by themselves", able, "operators"),
            Figure("parts on the Edge TPU with the compiler's -a", found.parts_with_all, "parts"),
            Figure("weights of the operators that map", found.weight_bytes, "bytes"),
            Figure("of them sent anew for every inference, at least", least, "bytes"),
            Figure("of them sent anew for every inference, at most", most, "bytes"),
        ),
        notes=(NOT_RUN, _cache_note(model)),
    )


def _compiler_report(target: str, found: EdgeTpuCompilation, name: str, model: Path) -> NpuReport:
    left = tuple(OnCpu(op.name, op.status, op.count) for op in found.ops if op.status != MAPPED)
    options = f", with {' '.join(found.options)}" if found.options else ""
    return NpuReport(
        target=target,
        source=f"edgetpu_compiler {found.version}{options}",
        compiled=name,
        npu_ops=found.mapped,
        cpu_ops=sum(each.count for each in left),
        on_cpu=tuple(sorted(left, key=lambda each: -each.count)),
        figures=(
            Figure("parts on the Edge TPU", found.parts, "parts"),
            Figure("weights in the chip's memory", found.cached_bytes, "bytes"),
            Figure("memory left for weights", found.cache_left_bytes, "bytes"),
            Figure("weights sent anew for every inference", found.streamed_bytes, "bytes"),
        ),
        notes=(_cache_note(model),),
    )


def _cache_note(model: Path) -> str:
    """Whether the chip's memory holds the file's weights, and the budget with which it would."""
    cost, cache = memory_cost(model), rules()["cache"]["least_bytes"]
    weights = f"The file has {cost.weights_bytes / MEGABYTE:.2f} MB of weights"
    holds = f"the {cache / MEGABYTE:.2f} MB that the chip keeps from one inference to the next"
    if cost.weights_bytes <= cache:
        return f"{weights}, which fit {holds}."
    budget = (cache + cost.arena_bytes) / MEGABYTE
    return f"{weights}, more than {holds}: --memory_budget_mb={budget:.2f} asks for a pruned one whose weights fit."
