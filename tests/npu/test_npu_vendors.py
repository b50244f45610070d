"""Phones' NPUs, through LiteRT's real ahead-of-time compilation, which starts a stand-in of its plugin program."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert.aot.core import common

from edgeflex_tflite.artifacts import Figure, OnCpu
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.npu.compile import check_target, compile_for
from edgeflex_tflite.npu.vendors import SDKS

TARGET = "qualcomm:SM8650"
PARTITIONED = "echo 'Partitioned subgraph<0>, selected {0} ops, from a total of 7 ops. resulted in 1 partitions.'"
COPIES = '(cat "$model"; printf compiled) > "$output"'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3 and the rest")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the library's `apply_plugin_main`."""
    real = common.get_resource

    def install(body: str) -> None:
        tool = tmp_path / "apply_plugin_main"
        tool.write_text(f"""#!/bin/sh
echo "$@" > {tmp_path}/arguments
for word in "$@"; do case $word in --model=*) model=${{word#*=}} ;; --o=*) output=${{word#*=}} ;; esac; done
{body}
""")
        tool.chmod(0o755)
        monkeypatch.setattr(common, "get_resource", lambda path: tool if path.name == tool.name else real(path))

    return install


def test_a_file_that_the_npu_takes_whole(plugin: Callable[[str], None], model: Path, folder: Path) -> None:
    plugin(f"{COPIES}\n{PARTITIONED.format(7)}")
    report = compile_for(TARGET, model, folder)
    assert (report.share, report.on_cpu, report.compiled) == (1, (), "model_qualcomm_SM8650.tflite")
    assert report.figures == (Figure("parts on the NPU", 1, "parts"),)
    assert [path.name for path in folder.iterdir()] == [report.compiled]
    assert (folder / report.compiled).read_bytes() == model.read_bytes() + b"compiled"
    arguments = (model.parent / "arguments").read_text()
    assert "--soc_manufacturer=Qualcomm --soc_model=SM8650" in arguments


def test_what_the_npu_leaves_is_counted(plugin: Callable[[str], None], model: Path, folder: Path) -> None:
    plugin(f"{COPIES}\n{PARTITIONED.format(5)}")
    report = compile_for(TARGET, model, folder)
    assert (report.npu_ops, report.cpu_ops) == (5, 2)
    assert report.on_cpu == (OnCpu("operators", "the vendor's compiler gives no reason", 2),)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 1", "the vendor's compiler failed: apply_plugin failed to apply plugin"),
        (': > "$output"; exit 1', "the vendor's compiler failed: apply_plugin failed to apply plugin"),
        (f': > "$output"; {PARTITIONED.format(7)}', "the compiled file has 0 bytes"),
        (f'echo no model > "$output"; {PARTITIONED.format(7)}', "the compiled file has 9 bytes"),
        (PARTITIONED.format(7), "the vendor's compiler failed: .* is not a TFLite model"),
        (COPIES, "the compiler does not say what runs on the NPU"),
        (f"{COPIES}\n{PARTITIONED.format(0)}", "nothing of the file runs on qualcomm:SM8650"),
    ],
)
def test_silent_failures_are_errors(
    plugin: Callable[[str], None], model: Path, folder: Path, body: str, message: str
) -> None:
    plugin(body)
    with pytest.raises(VerificationError, match=message):
        compile_for(TARGET, model, folder)


@pytest.mark.parametrize(
    "target", ["qualcomm:SM8650", "mediatek:MT6991", "google_tensor:Tensor_G5", "intel_openvino:LNL", "samsung:E9965"]
)
def test_a_missing_sdk_is_told_before_work(target: str) -> None:
    package = SDKS[target.partition(":")[0]]
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(UserError, match=f"is not installed: pip install {package.replace('_', '-')}"):
        check_target(target)


def test_an_installed_sdk_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{SDKS['qualcomm']}.py").write_text("def path_to_sdk_libs():\n    return '/libs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_target(TARGET)


def test_an_unknown_chip_is_told_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"LiteRT knows no such chip of mediatek; choose one of MT6853, .*, MT6993"):
        check_target("mediatek:SM8650")


@pytest.mark.slow
def test_the_real_plugin_without_an_sdk_is_an_error(float_vit: Path, folder: Path) -> None:
    """The library itself raises nothing and leaves a file of 0 bytes."""
    if importlib.util.find_spec(SDKS["qualcomm"]):
        pytest.skip("Qualcomm's SDK is installed")
    with pytest.raises(VerificationError, match="the vendor's compiler failed: apply_plugin failed to apply plugin"):
        compile_for(TARGET, float_vit, folder)
    assert [path.stat().st_size for path in folder.rglob("*.tflite")] == [0]
