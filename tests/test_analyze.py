"""The analyze command: what it refuses, what it writes, and that it is quick to say what it does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from pydantic import TypeAdapter

from edgeflex_tflite import analyze, cli
from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.artifacts import NotMeasured
from tests.command import Outcome, environment, error_line
from tests.tiny import Tiny

QUIET = ("--ethos_u=",)
"""No compiler of a vendor is asked but the Edge TPU's, where it is installed."""


def tiny(version: int = 1) -> bytes:
    t = Tiny()
    x, h, y = t.tensor(2, 64), t.tensor(2, 5), t.tensor(2, 5)
    t.op("FULLY_CONNECTED", [x, t.constant(np.ones((5, 64))), -1], [h], table="FullyConnectedOptions")
    t.op("ADD", [h, h], [y], table="AddOptions", version=version)
    return t.build([x], [y])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny())
    return path


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The command in this process."""

    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["analyze", *map(str, arguments)])
        capfd.readouterr()
        code = cli.run(analyze.main, analyze.define_flags, analyze.__doc__ or "")
        return Outcome(code, *capfd.readouterr())

    return command


def run_apart(*arguments: object, cwd: Path) -> Outcome:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "edgeflex_tflite.analyze", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_analysis_imports_neither_torch_nor_timm(tmp_path: Path, model: Path) -> None:
    for name in ("torch", "timm"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} was imported to read a file')\n")
    outcome = run_apart(model, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")


def test_help_takes_less_than_a_second(tmp_path: Path) -> None:
    """The quickest of three times, since the machine may be busy."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert run_apart("--help", cwd=tmp_path).code == 0
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1


def defined_flags() -> dict[str, flags.Flag]:
    values = flags.FlagValues()
    analyze.define_flags(values)
    return {name: values[name] for name in values}


@pytest.mark.parametrize("name", sorted(defined_flags()))
def test_every_flag_is_described_with_its_default(name: str, run: Run) -> None:
    match = re.search(rf"^ +--(?:\[no\])?{name}: (.*?)(?=^ +--|\Z)", run("--help").out, flags=re.DOTALL | re.MULTILINE)
    assert match, f"--help does not list --{name}"
    words, flag = " ".join(match[1].split()), defined_flags()[name]
    assert len(re.sub(r"\(.*?\)|<.*?>", "", words).split()) >= 3
    if flag.default is not None:
        assert f"(default: {flag.default_as_str})" in words
    else:
        assert "Default: " in words or name == "runtime_version", "what happens without it must be said"


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no file": ((), "no file is named"),
    "missing file": (("none.tflite",), "There is no file none.tflite"),
    "missing file behind a good one": (("model.tflite", "none.tflite"), "There is no file none.tflite"),
    "folder": (("folder",), "There is no file folder"),
    "empty file": (("empty.tflite",), "empty.tflite is not a .tflite flatbuffer"),
    "not a .tflite": (("image.png",), "image.png is not a .tflite flatbuffer"),
    "damaged file": (("damaged.tflite",), "damaged.tflite is a damaged .tflite flatbuffer"),
    "release": (("--runtime_version=new", "model.tflite"), "'new' is no TensorFlow Lite release"),
    "empty release": (("--runtime_version=", "model.tflite"), "'' is no TensorFlow Lite release"),
    "output folder": (("--output=none/out.json", "model.tflite"), "--output=none/out.json: there is no such folder"),
    "output in a file": (("--output=image.png/out.json", "model.tflite"), "there is no such folder"),
    "output is a folder": (("--output=folder", "model.tflite"), "--output=folder is no file"),
    "output is a device": (("--output=/dev/null", "model.tflite"), "--output=/dev/null is no file"),
    "output is the input": (("--output=folder/../model.tflite", "model.tflite"), "is a file that is to be read"),
    "threads": (("--num_threads=0", "model.tflite"), "num_threads is 0"),
    "format": (("--format=xml", "model.tflite"), "format"),
    "flag": (("--ouptut=x", "model.tflite"), "ouptut"),
    "accelerator": (("--ethos_u=ethos-u55-256,u99", "model.tflite"), "u99 is no Ethos-U that Vela knows"),
    "vela": (("--vela=image.png", "model.tflite"), "image.png is not an executable: give the path of vela"),
    "vela unused": (("--vela=none", "--ethos_u=", "model.tflite"), "none is not an executable"),
    "edgetpu_compiler": (("--edgetpu_compiler=./none", "model.tflite"), "./none is not an executable"),
}


@pytest.fixture
def folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs, with files of all kinds."""
    (model.parent / "folder").mkdir()
    (model.parent / "empty.tflite").touch()
    (model.parent / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (model.parent / "damaged.tflite").write_bytes(cut(tiny()))
    monkeypatch.chdir(model.parent)
    return model.parent


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_command_line_is_one_line_and_writes_nothing(case: str, folder: Path, run: Run) -> None:
    arguments, words = REFUSED[case]
    before = files(folder)
    assert words in error_line(run(*arguments))
    assert files(folder) == before


@pytest.mark.parametrize("case", ["no file", "damaged file", "output is a folder", "accelerator"])
def test_a_process_of_its_own_refuses_the_same(case: str, folder: Path) -> None:
    arguments, words = REFUSED[case]
    before = files(folder)
    assert words in error_line(run_apart(*arguments, cwd=folder))
    assert files(folder) == before


def test_a_folder_that_takes_nothing_is_refused(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK and Path(path).name == "folder"))
    assert "nothing can be written into that folder" in error_line(run("--output=folder/out.txt", "model.tflite"))


def compiler(folder: Path) -> Path:
    """An edgetpu_compiler that leaves a file where it was started from, and fails."""
    path = folder / "edgetpu_compiler"
    path.write_text(f"#!/bin/sh\ntouch {folder}/started\nexit 1\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("case", ["missing file behind a good one", "accelerator", "release", "vela"])
def test_no_compiler_is_started_before_all_is_known_to_be_good(case: str, folder: Path, run: Run) -> None:
    asked = f"--edgetpu_compiler={compiler(folder)}"
    error_line(run(asked, *REFUSED[case][0]))
    assert not (folder / "started").exists()
    assert run(asked, *QUIET, "model.tflite").code == 0
    assert (folder / "started").exists()


def test_a_file_is_told_in_full(model: Path, run: Run) -> None:
    outcome = run(*QUIET, model)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{model}: {model.stat().st_size:,} bytes")
    assert "0.0 million MACs: 100.0% float" in outcome.out
    assert "the peak is set by op 1, ADD, with these alive" in outcome.out
    assert "Edge TPU, by its compiler: " in outcome.out
    assert "op by op" not in outcome.out
    assert "op by op" in run(*QUIET, "--ops", model).out


def test_ops_that_a_release_does_not_run_are_told(model: Path, run: Run) -> None:
    model.write_bytes(tiny(version=5))
    assert "op-version: TensorFlow Lite 2.12.0 does not run ADD version 5" in run(
        *QUIET, "--runtime_version=2.12.0", model
    ).out.replace("\n", " ")
    assert "op-version" not in run(*QUIET, "--runtime_version=2.13.0", model).out


def test_several_files_are_a_row_each(model: Path, run: Run) -> None:
    other = model.with_name("other.tflite")
    other.write_bytes(tiny(version=5))
    lines = run(*QUIET, model, other).out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["file", lines[1].split()[0], "model.tflite", "other.tflite"]
    assert [line.split()[-1] for line in lines[2:4]] == ["1.5.0", "2.13.0"]


def test_json_is_what_the_analysis_says(model: Path, run: Run) -> None:
    outcome = run("--format=json", "--ethos_u=ethos-u55-256", model, model)
    assert (outcome.code, outcome.err) == (0, "")
    read = TypeAdapter(list[Analysis]).validate_json(outcome.out)
    assert json.loads(TypeAdapter(list[Analysis]).dump_json(read)) == json.loads(outcome.out)
    first, second = read
    assert first == second
    assert first.compilers is not None
    assert [one.accelerator for one in first.compilers.ethos_u] == ["ethos-u55-256"]
    alone = analyze_file(model)
    assert (first.inventory, first.graphs, first.surprises) == (alone.inventory, alone.graphs, alone.surprises)
    assert isinstance(json.loads(outcome.out)[0]["graphs"][0]["arena"]["peak_bytes"], int)


def test_a_compiler_that_is_not_there_is_not_measured(
    model: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    (found,) = TypeAdapter(list[Analysis]).validate_json(run("--format=json", *QUIET, model).out)
    assert found.compilers is not None
    assert isinstance(found.compilers.edgetpu, NotMeasured)
    assert "is not on PATH" in found.compilers.edgetpu.reason
    assert found.compilers.ethos_u == ()


@pytest.mark.parametrize("form", analyze.FORMATS)
def test_what_is_written_is_what_the_terminal_shows(form: str, model: Path, run: Run, tmp_path: Path) -> None:
    shown = run(*QUIET, f"--format={form}", model)
    output = tmp_path / "out"
    output.write_text("from before")
    written = run(*QUIET, f"--format={form}", f"--output={output}", model)
    assert (shown.code, written) == (0, Outcome(0, "", ""))
    assert output.read_text().rstrip("\n") == shown.out.rstrip("\n")
    assert sorted(files(tmp_path)) == ["model.tflite", "out"]


def test_a_reader_that_stops_early_is_no_error(model: Path) -> None:
    """As in `analyze model.tflite | head -1`."""
    command = [sys.executable, "-m", "edgeflex_tflite.analyze", *QUIET, str(model)]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(timeout=120), process.stderr.read()) == (0, b"")


def test_a_terminal_without_bars_gets_the_rest(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    outcome = run_apart(*QUIET, model, cwd=model.parent)
    assert (outcome.code, outcome.err) == (0, "")
    assert "over 2 ops |??|" in outcome.out


def test_html_is_one_page(model: Path, run: Run) -> None:
    page = run(*QUIET, "--format=html", model).out
    assert page.startswith("<!doctype html>")
    assert page.count("<!doctype html>") == page.count("</html>") == 1


def test_a_process_of_its_own_reads_a_quantized_vision_transformer(
    quantized_vit: Callable[[str], Path], tmp_path: Path
) -> None:
    path = quantized_vit("static_wi8_ai8")
    outcome = run_apart(*QUIET, "--format=json", path, cwd=tmp_path)
    assert (outcome.code, outcome.err) == (0, "")
    (found,) = TypeAdapter(list[Analysis]).validate_json(outcome.out)
    assert (found.file, found.graphs) == (str(path), analyze_file(path).graphs)
    assert files(tmp_path) == {}
