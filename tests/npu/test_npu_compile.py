"""What the compiler of each target makes of a file; the vendors' tools are stand-ins, on which nothing else depends."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeflex_tflite import chips
from edgeflex_tflite.artifacts import Figure, NpuReport, OnCpu
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.npu.compile import check_target, compile_for
from edgeflex_tflite.report.markdown import npu_text
from tests import npu_tools
from tests.tiny import Tiny


@pytest.fixture(autouse=True)
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test puts into `bin` is installed."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr("edgeflex_tflite.analysis.vela.importlib.util.find_spec", lambda _: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two operators that an Edge TPU takes, one that it does not, and one behind it."""
    made = Tiny()
    x, *between, y = (made.tensor(4, 4, dtype="INT8", scales=[0.1]) for _ in range(5))
    for name, source, result in zip(["RELU", "TANH", "ABS", "RELU"], [x, *between], [*between, y], strict=True):
        made.op(name, [source], [result])
    path = tmp_path / "model.tflite"
    path.write_bytes(made.build([x], [y]))
    return path


def test_an_ethos_u_that_takes_the_file_whole(tmp_path: Path, model: Path, folder: Path) -> None:
    npu_tools.vela(tmp_path, "int8_u55")
    report = compile_for("ethos-u55-256", model, folder)
    assert (report.share, report.on_cpu, report.source) == (1, (), "Vela 5.2.0")
    assert report.figures[0] == Figure("SRAM", 21072, "bytes")
    assert Figure("cycles, estimated", 605428, "cycles") in report.figures
    assert (folder / report.compiled).read_bytes() == b"compiled: " + model.read_bytes()


def test_what_an_ethos_u_leaves_to_the_cpu_is_told_with_reasons(tmp_path: Path, model: Path, folder: Path) -> None:
    npu_tools.vela(tmp_path, "int16_u55")
    report = compile_for("ethos-u55-256", model, folder)
    assert (report.npu_ops, report.cpu_ops) == (167, 26)
    assert OnCpu("BATCH_MATMUL", "Matmul with unsupported IFM type", 4) in report.on_cpu
    text = npu_text(report)
    assert text.startswith(
        "167 of 193 operators (87%) on ethos-u55-256, says Vela 5.2.0. The compiled file is `model_vela"
    )
    assert "Matmul with unsupported IFM type" in text


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        (
            "float_u55",
            0,
            "nothing of the file runs on ethos-u55-256, says Vela 5.2.0; 36 RESHAPE: Operation has",
        ),
        ("failed_split", 1, "target ethos-u55-256: Vela gives no file: it split an operator into others"),
    ],
)
def test_a_file_that_an_ethos_u_does_not_take_is_an_error(
    tmp_path: Path, model: Path, folder: Path, case: str, code: int, message: str
) -> None:
    npu_tools.vela(tmp_path, case, code)
    with pytest.raises(VerificationError, match=message):
        compile_for("ethos-u55-256", model, folder)


def test_vela_is_looked_for_first(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"Vela is not installed: pip install 'edgeflex-tflite\[npu\]', or put its `vela`"
    ):
        check_target("ethos-u65-512")
    npu_tools.vela(tmp_path, "int8_u55")
    check_target("ethos-u65-512")
    check_target(chips.CPU)


def test_without_edgetpu_compiler_the_forecast_is_the_report(model: Path, folder: Path) -> None:
    check_target(chips.EDGETPU)
    report = compile_for(chips.EDGETPU, model, folder)
    assert (report.npu_ops, report.cpu_ops, report.compiled) == (2, 2, None)
    assert [(each.op, each.count) for each in report.on_cpu] == [("ABS", 1), ("RELU", 1)]
    assert "was not run" in report.notes[0]
    assert "fit the 6.45 MB" in report.notes[1]
    assert not list(folder.iterdir())


def test_a_file_that_edgetpu_compiler_would_refuse_is_an_error(tmp_path: Path, folder: Path) -> None:
    made = Tiny()
    x, y = (made.tensor(4, 4, dtype="INT8", scales=[0.1]) for _ in range(2))
    made.op("GELU", [x], [y])
    (tmp_path / "gelu.tflite").write_bytes(made.build([x], [y]))
    with pytest.raises(VerificationError, match="it does not know GELU"):
        compile_for(chips.EDGETPU, tmp_path / "gelu.tflite", folder)


def test_edgetpu_compilers_word_counts_where_it_is_installed(tmp_path: Path, model: Path, folder: Path) -> None:
    npu_tools.edgetpu_compiler(tmp_path, "part")
    report = compile_for(chips.EDGETPU, model, folder)
    assert (report.npu_ops, report.cpu_ops) == (222, 7)
    assert report.source == "edgetpu_compiler 16.0.384591198, with -a"
    assert Figure("weights sent anew for every inference", 179200, "bytes") in report.figures
    assert (folder / report.compiled).read_bytes() == b"compiled: " + model.read_bytes()


def test_where_many_parts_fail_one_is_asked_for(tmp_path: Path, model: Path, folder: Path) -> None:
    npu_tools.edgetpu_compiler(tmp_path, "part", body='[ "$1" != -a ] || kill -SEGV $$')
    assert compile_for(chips.EDGETPU, model, folder).source == "edgetpu_compiler 16.0.384591198"


def test_edgetpu_compilers_failure_is_an_error(tmp_path: Path, model: Path, folder: Path) -> None:
    npu_tools.edgetpu_compiler(tmp_path, "failed_activations", 1)
    with pytest.raises(
        VerificationError, match="target edgetpu: edgetpu_compiler gives no file: the activations are too"
    ):
        compile_for(chips.EDGETPU, model, folder)
    with_search = [line for line in (tmp_path / "arguments").read_text().splitlines() if "--search_delegate" in line]
    assert len(with_search) == 2, "with every part, and with one"


def test_the_text_leaves_out_what_there_is_not() -> None:
    text = npu_text(NpuReport("edgetpu", "a forecast", None, 3, 0, figures=(Figure("arena", 2048, "bytes"),)))
    assert "| arena  | 2 KiB   |" in text
    assert "on the CPU" not in text
    assert "compiled file" not in text
