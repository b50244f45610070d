"""The compiler of each target: is it there, and what does it make of a file."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from edgeflex_tflite import chips
from edgeflex_tflite.artifacts import NpuReport
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.npu import edgetpu, ethos_u, vendors

NPU_FILE = "npu.json"


def check_target(target: str) -> None:
    """Find out before any work whether the target's compiler is there.

    Raises:
        UserError: it is not, and without it there is nothing to say; or the vendor has no such chip.
    """
    if target != chips.CPU:
        _compiler(target).check(target)


def compile_for(target: str, model: Path, folder: Path) -> NpuReport:
    """Compile a file for a target other than the CPU, into a folder.

    Raises:
        VerificationError: the compiler gives no file, or nothing of it runs on the NPU.
    """
    report: NpuReport = _compiler(target).compile_file(model, target, folder)
    if report.npu_ops == 0:
        why = "".join(f"; {each.count} {each.op}: {each.reason}" for each in report.on_cpu[:3])
        raise VerificationError(f"nothing of the file runs on {target}, says {report.source}{why}")
    return report


def _compiler(target: str) -> ModuleType:
    """Modules with `check(target)` and `compile_file(model, target, folder)`."""
    if target in chips.ETHOS_U:
        return ethos_u
    return edgetpu if target == chips.EDGETPU else vendors
