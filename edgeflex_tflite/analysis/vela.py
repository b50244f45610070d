"""What Arm's Vela says of a file on an Ethos-U: `ethos-u-vela`, run where it is installed, its reports read back.

Vela compiles whatever it can and ends with code 0 even when nothing of a file runs on the NPU: read the share, not the
code. On some valid files it crashes, so it runs as a process of its own. Its times are estimates of a cycle model.
Source of the columns: `stats_writer.py` and `npu_performance.py` of Vela 5.2 (memory in KiB, times in seconds).
"""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.analysis.tool import ToolRun, find_tool, run_tool
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.chips import ETHOS_U
from edgeflex_tflite.errors import UserError

USUAL = ("ethos-u55-256", "ethos-u65-512", "ethos-u85-1024")
"""One of each family."""

MISSING = "Arm's Vela is not installed: pip install ethos-u-vela==5.2.0, or give the path of its `vela`"
TIMEOUT_S = 900.0

_UNSUPPORTED = re.compile(r"^Warning \(supported operators\) operator: (\w+), .*\nReason: (.*)$", re.MULTILINE)
_FAILURES = (
    (
        r"Non-passthrough operation \((.+?)\) could not run on NPU",
        "it split an operator into others and then finds that one of them ({0}) cannot run on the NPU",
    ),
    (r"Failed to load TfLite model", "it cannot read the file"),
)


@dataclass(frozen=True)
class Cycles:
    """Vela's estimate of NPU cycles of one inference; the parts overlap, so they do not add up to the total.

    Attributes:
        total: All.
        npu: Computing.
        sram, dram, on_chip_flash, off_chip_flash: Access to each memory.
    """

    total: int
    npu: int
    sram: int
    dram: int
    on_chip_flash: int
    off_chip_flash: int


@dataclass(frozen=True)
class EthosUReport:
    """What Vela says of a file on one accelerator.

    Attributes:
        version: Of Vela.
        accelerator: As it was asked for, e.g. "ethos-u55-256".
        system_config, memory_mode: What Vela assumes of the chip around the NPU; its defaults unless asked for others.
        clock_hz: Clock of the NPU in that configuration.
        npu_ops, cpu_ops: Operators after Vela has split and joined the file's.
        cpu_op_names: (The file's operator, how many of them stay on the CPU), the most frequent first.
        cpu_reasons: (Operator, Vela's reason, how many), the most frequent first.
        sram_bytes, dram_bytes, on_chip_flash_bytes, off_chip_flash_bytes: Memory that the NPU's part takes; nothing of
            the CPU's part is in them.
        cycles: Estimate.
        inference_ms: Vela's estimate of the NPU's part, not a measurement.
    """

    version: str
    accelerator: str
    system_config: str
    memory_mode: str
    clock_hz: float
    npu_ops: int
    cpu_ops: int
    cpu_op_names: tuple[tuple[str, int], ...]
    cpu_reasons: tuple[tuple[str, str, int], ...]
    sram_bytes: int
    dram_bytes: int
    on_chip_flash_bytes: int
    off_chip_flash_bytes: int
    cycles: Cycles
    inference_ms: float | NotMeasured

    @property
    def npu_share(self) -> float:
        """Of the operators, 0 to 1."""
        return self.npu_ops / max(self.npu_ops + self.cpu_ops, 1)

    @property
    def verdict(self) -> str:
        """One line."""
        share = (
            f"{self.npu_ops} of {self.npu_ops + self.cpu_ops} operators ({self.npu_share:.0%}) on {self.accelerator}"
        )
        if isinstance(self.inference_ms, NotMeasured):
            return f"{share}: {self.inference_ms.reason}"
        what = " for the NPU's part" if self.cpu_ops else ""
        return (
            f"{share}, {self.sram_bytes / 1024:.0f} KiB SRAM, Vela estimates {self.inference_ms:.2f} ms{what} "
            f"({self.system_config}, {self.memory_mode})"
        )


def vela_command(given: str | Path | None = None) -> list[str] | None:
    """How to start Vela: what was given, the package beside this program, or a `vela` on PATH; None: not at all.

    Raises:
        UserError: What was given is not an executable.
    """
    if given is None and importlib.util.find_spec("ethosu") and importlib.util.find_spec("ethosu.vela"):
        return [sys.executable, "-m", "ethosu.vela"]
    found = find_tool("vela", given)
    return None if found is None else [found]


def compile_for_ethos_u(
    model: Path,
    accelerator: str = USUAL[0],
    output: Path | None = None,
    *,
    vela: str | Path | None = None,
    system_config: str | None = None,
    memory_mode: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> EthosUReport | NotMeasured:
    """Compile a file with Vela and give what Vela says of it, or why it says nothing.

    Args:
        model: A .tflite file.
        accelerator: One of `chips.ETHOS_U`.
        output: Where the compiled file goes; None: it is thrown away.
        vela: Path of the `vela` executable of any environment; None: see `vela_command`.
        system_config, memory_mode: Names from Vela's own configuration file; None: Vela's defaults for the accelerator.
        timeout_s: When to stop it.

    Raises:
        UserError: `model` is not there, `vela` is not an executable, or the accelerator is unknown.
    """
    if not model.is_file():
        raise UserError(f"There is no file {model}: give the path of a .tflite file.")
    if accelerator not in ETHOS_U:
        raise UserError(f"{accelerator} is no Ethos-U that Vela knows: choose one of {', '.join(ETHOS_U)}")
    command = vela_command(vela)
    if command is None:
        return NotMeasured(MISSING)
    chosen = {"--system-config": system_config, "--memory-mode": memory_mode}
    options = [word for flag, value in chosen.items() if value is not None for word in (flag, value)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        version = run_tool([*command, "--version"], folder, timeout_s).last_line
        if not re.fullmatch(r"\d+\.\d+\S*", version):
            return NotMeasured(f"{command[0]} is not Arm's Vela: asked for its version, it says {version!r}")
        arguments = [str(model.resolve()), "--accelerator-config", accelerator, *options]
        run = run_tool([*command, *arguments, "--output-dir", name, "--verbose-performance"], folder, timeout_s)
        report = read_reports(folder, run, accelerator, version, timeout_s)
        if output is not None and isinstance(report, EthosUReport):
            shutil.copyfile(folder / f"{model.stem}_vela.tflite", output)
        return report


def read_reports(
    folder: Path, run: ToolRun, accelerator: str, version: str, timeout_s: float = TIMEOUT_S
) -> EthosUReport | NotMeasured:
    """What a run of Vela left in a folder: `*_summary_*.csv`, `*_per-layer.csv`, and what it printed."""
    summaries, layers = list(folder.glob("*_summary_*.csv")), list(folder.glob("*_per-layer.csv"))
    if run.code != 0 or not summaries or not layers:
        return NotMeasured(_failure(run, timeout_s))
    try:
        return _report(_rows(summaries[0])[-1], _rows(layers[0]), run.output, accelerator, version)
    except (LookupError, ValueError) as error:
        return NotMeasured(f"Vela {version} writes a report of a form that is not known here ({error!r})")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _report(
    summary: dict[str, str], layers: Sequence[dict[str, str]], output: str, accelerator: str, version: str
) -> EthosUReport:
    on_npu = [{"NPU": True, "CPU": False}[layer["Target"]] for layer in layers]
    on_cpu = Counter(layer["Original Operator"] for layer in layers if layer["Target"] != "NPU")
    parts = ("total", "npu", "sram_access", "dram_access", "on_chip_flash_access", "off_chip_flash_access")
    memories = ("sram", "dram", "on_chip_flash", "off_chip_flash")
    reasons = _reasons(output)
    return EthosUReport(
        version=version,
        accelerator=accelerator,
        system_config=summary["system_config"],
        memory_mode=summary["memory_mode"],
        clock_hz=float(summary["core_clock"]),
        npu_ops=sum(on_npu),
        cpu_ops=len(on_npu) - sum(on_npu),
        cpu_op_names=tuple(on_cpu.most_common()),
        cpu_reasons=reasons,
        **{f"{memory}_bytes": round(float(summary[f"{memory}_memory_used"]) * 1024) for memory in memories},
        cycles=Cycles(*(int(float(summary[f"cycles_{part}"])) for part in parts)),
        inference_ms=float(summary["inference_time"]) * 1000 if any(on_npu) else _nothing(reasons),
    )


def _nothing(reasons: tuple[tuple[str, str, int], ...]) -> NotMeasured:
    """Why there is no time to estimate."""
    remedy = ": convert with --precision=int8_full (preset npu)" if any("Float32" in row[1] for row in reasons) else ""
    return NotMeasured(f"nothing of the file runs on the NPU{remedy}")


def _reasons(output: str) -> tuple[tuple[str, str, int], ...]:
    """Why operators stay on the CPU; the tensor that a reason ends with is left out."""
    found = Counter((name, re.sub(r" \([^()]*\)$", "", reason)) for name, reason in _UNSUPPORTED.findall(output))
    return tuple((name, reason, count) for (name, reason), count in found.most_common())


def _failure(run: ToolRun, timeout_s: float) -> str:
    """One line that says why there is no report."""
    if run.code is None:
        return f"Vela gave nothing within {timeout_s:g} s"
    for pattern, meaning in _FAILURES:
        if match := re.search(pattern, run.output):
            return f"Vela gives no file: {meaning.format(*match.groups())}"
    if run.code < 0:
        return f"Vela crashed ({run.ending}) on this file; another accelerator or recipe may get through"
    return f"Vela gives no file ({run.ending}); its last line: {run.last_line}"
