"""A written file for an Ethos-U, by Arm's Vela."""

from __future__ import annotations

from pathlib import Path

from edgeflex_tflite.analysis.vela import EthosUReport, compile_for_ethos_u, vela_command
from edgeflex_tflite.artifacts import Figure, NotMeasured, NpuReport, OnCpu
from edgeflex_tflite.errors import UserError, VerificationError

NO_REASON = "Vela gives no reason"


def check(target: str) -> None:
    """Raises UserError where Vela is not installed."""
    if vela_command() is None:
        raise UserError(
            f"target {target}: Vela is not installed: pip install 'edgeflex-tflite[npu]', or put its `vela` on PATH"
        )


def compile_file(model: Path, target: str, folder: Path) -> NpuReport:
    """Compile a file into a folder, and give what Vela says of it.

    Raises:
        VerificationError: Vela gives no file.
    """
    output = folder / f"{model.stem}_vela.tflite"
    report = compile_for_ethos_u(model, target, output)
    if isinstance(report, NotMeasured):
        raise VerificationError(f"target {target}: {report.reason}")
    return NpuReport(
        target=target,
        source=f"Vela {report.version}",
        compiled=output.name,
        npu_ops=report.npu_ops,
        cpu_ops=report.cpu_ops,
        on_cpu=_on_cpu(report),
        figures=_figures(report),
        notes=(f"Vela assumes {report.system_config} and {report.memory_mode}; cycles and times are its estimates.",),
    )


def _on_cpu(report: EthosUReport) -> tuple[OnCpu, ...]:
    """By Vela's reasons, which name the file's operators; without them by the operators that it counts."""
    if report.cpu_reasons:
        return tuple(OnCpu(op, reason, count) for op, reason, count in report.cpu_reasons)
    return tuple(OnCpu(op, NO_REASON, count) for op, count in report.cpu_op_names)


def _figures(report: EthosUReport) -> tuple[Figure, ...]:
    memories = {
        "SRAM": report.sram_bytes,
        "DRAM": report.dram_bytes,
        "on-chip flash": report.on_chip_flash_bytes,
        "off-chip flash": report.off_chip_flash_bytes,
    }
    found = [Figure(what, used, "bytes") for what, used in memories.items() if used]
    found.append(Figure("cycles, estimated", report.cycles.total, "cycles"))
    found.append(Figure("clock", report.clock_hz, "Hz"))
    if isinstance(report.inference_ms, float):
        found.append(Figure("inference, estimated", report.inference_ms, "ms"))
    return tuple(found)
