"""Reading Arm's Vela: its recorded reports, a stand-in of it, and the real one where it is installed."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflex_tflite.analysis.tool import ToolRun
from edgeflex_tflite.analysis.vela import (
    MISSING,
    USUAL,
    Cycles,
    EthosUReport,
    compile_for_ethos_u,
    read_reports,
    vela_command,
)
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.chips import ETHOS_U
from edgeflex_tflite.errors import UserError
from tests import npu_tools

GOLDEN = Path(__file__).parents[1] / "golden" / "vela"


def golden(case: str, accelerator: str = "ethos-u55-256") -> EthosUReport | NotMeasured:
    run = ToolRun(0, (GOLDEN / case / "output.txt").read_text())
    return read_reports(GOLDEN / case, run, accelerator, "5.2.0")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"the model")
    return path


def test_an_int8_file_on_u55() -> None:
    assert golden("int8_u55") == EthosUReport(
        version="5.2.0",
        accelerator="ethos-u55-256",
        system_config="Ethos_U55_High_End_Embedded",
        memory_mode="Shared_Sram",
        clock_hz=500e6,
        npu_ops=237,
        cpu_ops=0,
        cpu_op_names=(),
        cpu_reasons=(),
        sram_bytes=21072,
        dram_bytes=0,
        on_chip_flash_bytes=0,
        off_chip_flash_bytes=138560,
        cycles=Cycles(605428, 462314, 191445, 0, 0, 166573),
        inference_ms=pytest.approx(1.210856),
    )


@pytest.mark.parametrize(
    ("case", "accelerator", "verdict"),
    [
        (
            "int8_u65",
            "ethos-u65-512",
            "237 of 237 operators (100%) on ethos-u65-512, 22 KiB SRAM, Vela estimates 0.31 ms "
            "(Ethos_U65_Client_Server, Dedicated_Sram_384KB)",
        ),
        (
            "int8_u85",
            "ethos-u85-1024",
            "234 of 234 operators (100%) on ethos-u85-1024, 23 KiB SRAM, Vela estimates 0.20 ms "
            "(Ethos_U85_SYS_DRAM_Mid, Dedicated_Sram_384KB)",
        ),
        (
            "int16_u55",
            "ethos-u55-256",
            "167 of 193 operators (87%) on ethos-u55-256, 25 KiB SRAM, Vela estimates 1.04 ms for the NPU's part "
            "(Ethos_U55_High_End_Embedded, Shared_Sram)",
        ),
        (
            "float_u55",
            "ethos-u55-256",
            "0 of 125 operators (0%) on ethos-u55-256: nothing of the file runs on the NPU: convert with "
            "--precision=int8_full (preset npu)",
        ),
    ],
)
def test_verdicts(case: str, accelerator: str, verdict: str) -> None:
    report = golden(case, accelerator)
    assert isinstance(report, EthosUReport)
    assert report.verdict == verdict


def test_u65_keeps_its_weights_in_dram() -> None:
    report = golden("int8_u65", "ethos-u65-512")
    assert isinstance(report, EthosUReport)
    assert (report.dram_bytes, report.off_chip_flash_bytes) == (143296, 0)


def test_what_stays_on_the_cpu_is_named_with_velas_reasons() -> None:
    report = golden("int16_u55")
    assert isinstance(report, EthosUReport)
    assert report.cpu_op_names[:3] == (("Dequantize", 10), ("SquaredDifference", 5), ("Quantize", 5))
    assert sum(count for _, count in report.cpu_op_names) == report.cpu_ops == 26
    assert ("BATCH_MATMUL", "Matmul with unsupported IFM type", 4) in report.cpu_reasons
    assert sum(count for *_, count in report.cpu_reasons) == 26


def test_a_float_file_has_a_share_of_nothing_and_no_time() -> None:
    report = golden("float_u55")
    assert isinstance(report, EthosUReport)
    assert report.npu_share == 0
    assert isinstance(report.inference_ms, NotMeasured)
    fully_connected = ("FULLY_CONNECTED", "Operation has tensor with unsupported DataType Float32", 9)
    assert fully_connected in report.cpu_reasons


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [("Target", "Where", "Target"), ("NPU,", "GPU,", "GPU"), ("memory_mode", "mode", "memory_mode")],
)
def test_another_form_of_the_report_is_not_guessed_at(tmp_path: Path, old: str, new: str, lost: str) -> None:
    for path in (GOLDEN / "int8_u55").glob("*.csv"):
        (tmp_path / path.name).write_text(path.read_text().replace(old, new))
    assert read_reports(tmp_path, ToolRun(0, ""), "ethos-u55-256", "5.2.0") == NotMeasured(
        f"Vela 5.2.0 writes a report of a form that is not known here (KeyError('{lost}'))"
    )


def test_it_runs_vela_with_what_was_asked_for(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.vela(tmp_path, "int8_u85")
    report = compile_for_ethos_u(
        model, "ethos-u85-1024", vela=tool, system_config="Ethos_U85_SYS_DRAM_Mid", memory_mode="Sram_Only"
    )
    assert isinstance(report, EthosUReport)
    assert (report.version, report.accelerator) == ("5.2.0", "ethos-u85-1024")
    assert (tmp_path / "arguments").read_text().split()[:-3] == [
        str(model), "--accelerator-config", "ethos-u85-1024",
        "--system-config", "Ethos_U85_SYS_DRAM_Mid", "--memory-mode", "Sram_Only",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "code", "body", "reason"),
    [
        (
            "failed_split", 1, "",
            "Vela gives no file: it split an operator into others and then finds that one of them (Mul) cannot run on "
            "the NPU",
        ),
        ("failed_damaged", 1, "", "Vela gives no file: it cannot read the file"),
        ("int8_u55", 0, "kill -SEGV $$", "Vela crashed (SIGSEGV) on this file; another accelerator or recipe may get"),
        ("int8_u55", 0, "sleep 5", "Vela gave nothing within 1 s"),
        ("int8_u55", 0, "echo disk full; exit 4", "Vela gives no file (exit code 4); its last line: disk full"),
        ("int8_u55", 0, "echo done; exit 0", "Vela gives no file (exit code 0); its last line: done"),
    ],
)  # fmt: skip
def test_each_failure_has_its_reason(model: Path, tmp_path: Path, case: str, code: int, body: str, reason: str) -> None:
    report = compile_for_ethos_u(model, vela=npu_tools.vela(tmp_path, case, code, body), timeout_s=1)
    assert isinstance(report, NotMeasured)
    assert report.reason.startswith(reason)


@pytest.mark.parametrize("version", ["echo 'unknown flag: --version'", ":", "echo v1.10"])
def test_another_program_of_that_name_is_not_taken_for_it(model: Path, tmp_path: Path, version: str) -> None:
    report = compile_for_ethos_u(model, vela=npu_tools.vela(tmp_path, "int8_u55", version=version))
    assert isinstance(report, NotMeasured)
    assert "is not Arm's Vela" in report.reason
    assert not (tmp_path / "arguments").exists()


def test_vela_of_the_same_environment_goes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = npu_tools.vela(tmp_path, "int8_u55")
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "ethosu", raising=False)
    assert vela_command() == [str(tool)]
    (tmp_path / "site" / "ethosu" / "vela").mkdir(parents=True)
    (tmp_path / "site" / "ethosu" / "vela" / "__init__.py").touch()
    importlib.invalidate_caches()
    assert vela_command() == [sys.executable, "-m", "ethosu.vela"]
    assert vela_command(tool) == [str(tool)]
    sys.modules.pop("ethosu", None)


def test_without_vela_the_reason_says_how_to_install_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(model.parent))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert compile_for_ethos_u(model) == NotMeasured(MISSING)


def test_what_is_not_there_is_the_users_error(model: Path) -> None:
    with pytest.raises(UserError, match="ethos-u99 is no Ethos-U that Vela knows: choose one of ethos-u55-32"):
        compile_for_ethos_u(model, "ethos-u99")
    with pytest.raises(UserError, match="is not an executable: give the path of vela"):
        compile_for_ethos_u(model, vela=model)
    with pytest.raises(UserError, match="There is no file"):
        compile_for_ethos_u(model.with_name("missing.tflite"))
    assert set(USUAL) <= set(ETHOS_U)


@pytest.mark.parametrize("accelerator", USUAL)
def test_the_real_vela_takes_an_int8_file_whole_and_a_float_file_not_at_all(
    accelerator: str, quantized_vit: Callable[[str], Path]
) -> None:
    vela = os.environ.get("EDGEFLEX_VELA")
    if vela_command(vela) is None:
        pytest.skip("Vela is not installed: pip install ethos-u-vela, or EDGEFLEX_VELA with the path of its vela")
    whole = compile_for_ethos_u(quantized_vit("static_wi8_ai8"), accelerator, vela=vela)
    assert isinstance(whole, EthosUReport)
    assert whole.npu_share == 1
    assert 10_000 < whole.sram_bytes < 400_000
    assert isinstance(whole.inference_ms, float)
    assert whole.cycles.total == pytest.approx(whole.inference_ms / 1000 * whole.clock_hz, rel=1e-3)
    nothing = compile_for_ethos_u(quantized_vit("float"), accelerator, vela=vela)
    assert isinstance(nothing, EthosUReport)
    assert nothing.npu_share == 0
