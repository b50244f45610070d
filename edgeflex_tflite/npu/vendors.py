"""A written file for a phone's NPU, by LiteRT's ahead-of-time compilation with the vendor's SDK.

`ai_edge_litert.aot` raises nothing when a vendor's compiler fails, and may leave an empty file: its result lists what
failed, and the file is looked at here.
"""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from typing import Any

from edgeflex_tflite.artifacts import Figure, NpuReport, OnCpu
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.quiet import quiet

SDKS = {
    "google_tensor": "ai_edge_litert_sdk_google_tensor",
    "intel_openvino": "ai_edge_litert_sdk_intel",
    "mediatek": "ai_edge_litert_sdk_mediatek",
    "qualcomm": "ai_edge_litert_sdk_qualcomm",
    "samsung": "ai_edge_litert_sdk_samsung",
}
"""The package that brings each vendor's compiler."""
NO_REASON = "the vendor's compiler gives no reason"
TFLITE_MAGIC = b"TFL3"
MAGIC_PLACE = slice(4, 8)


def check(target: str) -> None:
    """Raises UserError where the vendor has no such chip, or its SDK is not installed."""
    vendor, _, chip = target.partition(":")
    known = [each.value for each in _target_module(vendor).SocModel if each.value != "ALL"]
    if chip not in known:
        raise UserError(f"target {target}: LiteRT knows no such chip of {vendor}; choose one of {', '.join(known)}")
    if importlib.util.find_spec(SDKS[vendor]) is None:
        raise UserError(
            f"target {target}: {vendor}'s compiler is not installed: pip install {SDKS[vendor].replace('_', '-')}, or "
            "convert with --target=cpu and compile the file where it is"
        )


def compile_file(model: Path, target: str, folder: Path) -> NpuReport:
    """Compile a file into a folder, and give how much of it the NPU takes.

    Raises:
        VerificationError: the compiler fails, or what it leaves is no .tflite file.
    """
    work = folder / "aot"
    made, stats = _compiled(model, target, work)
    output = folder / f"{model.stem}_{target.replace(':', '_')}.tflite"
    made.replace(output)
    shutil.rmtree(work)
    offloaded = sum(each.num_ops_offloaded for each in stats)
    left = sum(each.num_total_ops for each in stats) - offloaded
    return NpuReport(
        target=target,
        source="LiteRT's ahead-of-time compiler",
        compiled=output.name,
        npu_ops=offloaded,
        cpu_ops=left,
        on_cpu=(OnCpu("operators", NO_REASON, left),) if left else (),
        figures=(Figure("parts on the NPU", sum(each.num_partitions_offloaded for each in stats), "parts"),),
    )


def _compiled(model: Path, target: str, work: Path) -> tuple[Path, list[Any]]:
    """The compiled file, and what the compiler says of each graph."""
    from ai_edge_litert.aot import aot_compile

    vendor, _, chip = target.partition(":")
    importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.{vendor}_backend")  # it registers itself
    module = _target_module(vendor)
    try:
        with quiet():
            result = aot_compile.aot_compile(str(model), work, module.Target(module.SocModel(chip)), keep_going=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise VerificationError(f"target {target}: LiteRT cannot compile for it: {error}") from error
    if not result.models_with_backend:
        reasons = "; ".join(why for _, why in result.failed_backends) or "it says nothing"
        raise VerificationError(f"target {target}: the vendor's compiler failed: {reasons}")
    compiled = result.models[0]
    if compiled.path.stat().st_size == 0 or compiled.path.read_bytes()[MAGIC_PLACE] != TFLITE_MAGIC:
        raise VerificationError(f"target {target}: the compiled file has {compiled.path.stat().st_size} bytes")
    stats = compiled.partition_stats.subgraph_stats if compiled.partition_stats else []
    if not stats:
        raise VerificationError(f"target {target}: the compiler does not say what runs on the NPU")
    return compiled.path, stats


def _target_module(vendor: str) -> Any:
    return importlib.import_module(f"ai_edge_litert.aot.vendors.{vendor}.target")
