"""Reading Coral's compiler: its logs, and a stand-in of it that writes them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeflex_tflite.analysis.edgetpu_compiler import (
    MISSING,
    EdgeTpuCompilation,
    OpStatus,
    compile_for_edgetpu,
    parse,
)
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from tests import npu_tools

GOLDEN = Path(__file__).parents[1] / "golden" / "edgetpu_compiler"


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"the model")
    return path


def test_a_whole_model() -> None:
    told = parse(golden("whole.txt"), golden("whole.log"))
    assert isinstance(told, EdgeTpuCompilation)
    assert (told.version, told.compile_ms, told.parts, told.op_count) == ("16.0.384591198", 412.0, 1, 31)
    assert (told.output_bytes, told.cached_bytes) == (3575644, 3460301)
    assert (told.cache_left_bytes, told.streamed_bytes) == (4414505, 0)
    assert told.ops[0] == OpStatus("CONV_2D", 14, "Mapped to Edge TPU")
    assert told.mapped == 31
    assert told.verdict == "31 of 31 ops mapped in 1 part(s); 3.5 MB of weights cached, 0.0 MB streamed"


def test_a_part_of_a_model() -> None:
    told = parse(golden("part.txt"), golden("part.log"))
    assert isinstance(told, EdgeTpuCompilation)
    assert (told.cache_left_bytes, told.streamed_bytes) == (1024, 179200)
    assert (told.mapped, told.op_count) == (222, 229)
    assert {op.name: op.status for op in told.ops if not op.mapped} == {
        "TRANSPOSE": "Operation is otherwise supported, but not mapped due to some unspecified limitation",
        "CONCATENATION": "More than one subgraph is not supported",
        "DEQUANTIZE": "Operation is working on an unsupported data type",
        "RESHAPE": "Tensor has unsupported rank (up to 3 innermost dimensions mapped)",
    }


def test_version_15_prints_the_table_itself() -> None:
    told = parse(golden("nothing_v15.txt"))
    assert isinstance(told, EdgeTpuCompilation)
    assert (told.parts, told.mapped, told.cached_bytes) == (0, 0, 0)
    assert [(op.name, op.count) for op in told.ops] == [
        ("FULLY_CONNECTED", 2),
        ("LEAKY_RELU", 1),
        ("QUANTIZE", 1),
        ("CONV_2D", 3),
    ]


@pytest.mark.parametrize("lost", ["Number of Edge TPU subgraphs", "Output size", "Compiler version"])
def test_a_log_of_another_form_is_not_guessed_at(lost: str) -> None:
    told = parse(golden("whole.txt").replace(lost, "something else"))
    assert isinstance(told, NotMeasured)
    assert "of a form that is not known here" in told.reason


def test_a_size_of_an_unknown_unit_is_not_guessed_at() -> None:
    assert isinstance(parse(golden("whole.txt").replace("3.41MiB", "3.41XiB")), NotMeasured)


def test_the_compiler_on_the_path_is_run_and_its_file_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(npu_tools.edgetpu_compiler(tmp_path, "part").parent), prepend=":")
    told = compile_for_edgetpu(model, tmp_path / "kept.tflite")
    assert isinstance(told, EdgeTpuCompilation)
    assert told.mapped == 222
    assert (tmp_path / "kept.tflite").read_bytes() == b"compiled: the model"
    assert "-a" not in (tmp_path / "arguments").read_text().split()


def test_all_parts_are_asked_for_with_the_compilers_flag(model: Path, tmp_path: Path) -> None:
    told = compile_for_edgetpu(model, compiler=npu_tools.edgetpu_compiler(tmp_path, "whole"), all_parts=True)
    assert isinstance(told, EdgeTpuCompilation)
    assert (tmp_path / "arguments").read_text().split()[0] == "-a"
    assert not list(tmp_path.glob("*_edgetpu*"))


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("failed_gelu", "it is older than the operator GELU, which the file uses"),
        ("failed_version", "it is older than version 12 of FULLY_CONNECTED"),
        (
            "failed_not_quantized",
            "the model is not fully quantized: convert with --precision=int8_full (preset edgetpu)",
        ),
        ("failed_open_size", "a tensor's size is open until run time: convert for one batch size"),
        ("failed_custom", "it does not know the custom operator Atan"),
        ("failed_activations", "the activations are too large for it"),
        ("failed_timer", "its own timer ran out, as it does on large activations"),
        ("failed_exception", "it broke down: std::out_of_range: vector"),
        ("failed_silently", "it failed and says no more"),
        ("failed_internal_v15", "it broke down with an internal error and says no more"),
        ("failed_invalid_v14", "it takes the file for invalid and says no more"),
    ],
)
def test_each_failure_has_its_reason(model: Path, tmp_path: Path, name: str, meaning: str, code: int) -> None:
    told = compile_for_edgetpu(model, compiler=npu_tools.edgetpu_compiler(tmp_path, name, code))
    assert told == NotMeasured(f"edgetpu_compiler gives no file: {meaning}")


def test_every_golden_failure_is_tried() -> None:
    tried = {row[0] for row in test_each_failure_has_its_reason.pytestmark[0].args[1]}
    assert tried == {path.stem for path in GOLDEN.glob("failed_*.txt")}


def test_an_unknown_ending_tells_the_code_and_the_last_line(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body="echo no space left on device; exit 3")
    assert compile_for_edgetpu(model, compiler=tool) == NotMeasured(
        "edgetpu_compiler gives no file (exit code 3); its last line: no space left on device"
    )


def test_a_crash_tells_its_signal(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body="kill -SEGV $$")
    told = compile_for_edgetpu(model, compiler=tool)
    assert told == NotMeasured("edgetpu_compiler gives no file (SIGSEGV); its last line: nothing")


AS_BEFORE = "[ -f {0}/seen ] || {{ touch {0}/seen; cat {1}/{2}.txt; exit 1; }}"
UNLESS = 'case "$*" in *{3}*) ;; *) cat {1}/{2}.txt; exit 1 ;; esac'


@pytest.mark.parametrize(
    ("failure", "until", "options"),
    [
        ("failed_internal_v15", AS_BEFORE, ()),
        ("failed_exception", UNLESS, ("--search_delegate", "--delegate_search_step", "10")),
        ("failed_timer", UNLESS, ("--timeout_sec", "540")),
        ("failed_activations", UNLESS, ("--search_delegate", "--delegate_search_step", "10")),
        ("failed_silently", UNLESS, ("--search_delegate", "--delegate_search_step", "10")),
    ],
)
def test_a_failure_that_is_known_to_go_away_is_tried_again(
    model: Path, tmp_path: Path, failure: str, until: str, options: tuple[str, ...]
) -> None:
    body = until.format(tmp_path, GOLDEN, failure, options[0] if options else "")
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body=body)
    assert isinstance(compile_for_edgetpu(model, compiler=tool), NotMeasured)
    (tmp_path / "seen").unlink(missing_ok=True)
    told = compile_for_edgetpu(model, compiler=tool, all_parts=True, retry=True)
    assert isinstance(told, EdgeTpuCompilation)
    assert told.options == ("-a", *options)


def test_a_crash_is_tried_again_and_then_told(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body="kill -SEGV $$")
    assert isinstance(compile_for_edgetpu(model, compiler=tool, retry=True), NotMeasured)
    assert [line.split()[0] for line in (tmp_path / "arguments").read_text().splitlines()] == [
        "-o", "-o", "--search_delegate",
    ]  # fmt: skip


def test_what_no_option_helps_is_not_tried_again(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "failed_gelu", 1)
    assert isinstance(compile_for_edgetpu(model, compiler=tool, retry=True), NotMeasured)
    assert len((tmp_path / "arguments").read_text().splitlines()) == 1


def test_success_without_a_file_is_none(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body=f"cat {GOLDEN}/whole.txt; exit 0")
    assert isinstance(compile_for_edgetpu(model, compiler=tool), NotMeasured)


def test_a_compiler_that_hangs_is_stopped_with_its_children(model: Path, tmp_path: Path) -> None:
    tool = npu_tools.edgetpu_compiler(tmp_path, "whole", body=f"(sleep 3; touch {tmp_path}/survived) & wait")
    begin = time.monotonic()
    told = compile_for_edgetpu(model, compiler=tool, timeout_s=0.5)
    assert told == NotMeasured("edgetpu_compiler gave nothing within 0.5 s")
    assert time.monotonic() - begin < 2.5
    time.sleep(3)
    assert not (tmp_path / "survived").exists()


def test_without_the_compiler_the_reason_says_where_to_get_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(model.parent))
    assert compile_for_edgetpu(model) == NotMeasured(MISSING)


def test_what_is_not_there_is_the_users_error(model: Path) -> None:
    with pytest.raises(UserError, match="is not an executable: give the path of edgetpu_compiler"):
        compile_for_edgetpu(model, compiler=model.parent / "missing")
    with pytest.raises(UserError, match="There is no file"):
        compile_for_edgetpu(model.with_name("missing.tflite"))
