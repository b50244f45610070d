"""The Arm check, against a stand-in that takes qemu's options and writes what its libinsn plugin writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite import cli
from edgeflex_tflite.errors import UserError
from tests.bundle.outputs import colour_output
from tests.command import Outcome, error_line
from tools import arm_check

FIRST_RUN, PER_BYTE = 5_000_000, 1000
"""Instructions of the stand-in: before the first inference, and of an inference for each byte of the file."""
QEMU = f"""#!{sys.executable}
import pathlib, subprocess, sys

options, rest = {{}}, sys.argv[1:]
while rest[0].startswith("-"):
    name, value, *rest = rest
    options[name] = value
if options["-cpu"] not in ("cortex-a72", "cortex-a76", "cortex-a710"):
    sys.exit(f"qemu-aarch64: unable to find CPU model '{{options['-cpu']}}'")
code = subprocess.run(rest).returncode
if "-plugin" in options and options["-d"] == "plugin" and "libinsn" in options["-plugin"]:
    count = {FIRST_RUN}
    if rest[1] != "-c":
        count += int(rest[-1]) * {PER_BYTE} * pathlib.Path(rest[2]).stat().st_size
    pathlib.Path(options["-D"]).write_text(f"cpu 0 insns: {{count}}\\ntotal insns: {{count}}\\n")
sys.exit(code)
"""


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, str]:
    """The flags of a check in which nothing is missing."""
    output = colour_output(tmp_path / "out")
    content = (output / "model.tflite").read_bytes()
    (tmp_path / "fp32.tflite").write_bytes(content + bytes(3 * len(content)))
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (30, 8, 8, 3), dtype=np.uint8), rng.integers(0, 3, 30)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    (tmp_path / "libinsn.so").touch()
    executable(tmp_path / "arm64" / "usr" / "bin" / "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    return {
        "fp32": str(tmp_path / "fp32.tflite"),
        "data": str(tmp_path / "images.npz"),
        "plugin": str(tmp_path / "libinsn.so"),
        "sysroot": str(tmp_path / "arm64"),
        "qemu": str(executable(tmp_path / "qemu-aarch64", QEMU)),
        "cpus": "cortex-a76",
    }


def run(folder: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["arm_check", str(folder), *(f"--{name}={value}" for name, value in parts.items())])
        code = cli.run(arm_check.main, arm_check.define_flags, arm_check.__doc__ or "")
    return Outcome(code, *capfd.readouterr())


def test_every_processor_has_its_answers_and_instructions(
    tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tmp_path / "out", parts | {"cpus": ",".join(arm_check.CPUS)}, capfd)
    assert (outcome.code, outcome.err) == (0, "")
    size = (tmp_path / "out" / "model.tflite").stat().st_size
    rows = [line.split() for line in outcome.out.splitlines()[2:]]
    assert [row[0] for row in rows] == list(arm_check.CPUS)
    for row in rows:
        millions = [f"{bytes_ * PER_BYTE / 1e6:.1f}" for bytes_ in (size, 4 * size)]
        assert row[1:] == ["20", "of", "20", *millions, "0.25"]


def test_without_the_fp32_file_its_share_is_blank(
    tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    del parts["fp32"]
    outcome = run(tmp_path / "out", parts, capfd)
    assert outcome.code == 0, outcome
    assert outcome.out.split()[-2:] == ["-", "-"]


def test_another_answer_is_an_error(tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    answer = f"#!/bin/sh\necho '{[9] * 20}'\n"
    executable(tmp_path / "arm64" / "usr" / "bin" / "python3", answer)
    outcome = run(tmp_path / "out", parts, capfd)
    assert outcome.code == cli.FAILED_CHECK
    assert "0 of 20" in outcome.out
    assert "names other classes" in outcome.err


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("qemu", "{tmp}/nothing", "not an executable"),
        ("plugin", "{tmp}/nothing.so", "libinsn.so"),
        ("plugin", "{tmp}/images.npz", "counted nothing"),
        ("sysroot", "{tmp}/nothing", "aarch64 Linux"),
        ("python", "usr/bin/python9", "install Python in the sysroot"),
        ("cpus", "cortex-m0", "unable to find CPU model 'cortex-m0'"),
        ("fp32", "{tmp}/nothing.tflite", "--precision=fp32"),
        ("data", "{tmp}/nothing", "there is no file"),
        ("images", "31", "ask for fewer"),
    ],
)
def test_what_is_missing_is_one_line(
    flag: str, value: str, says: str, tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run(tmp_path / "out", parts | {flag: value.format(tmp=tmp_path)}, capfd)
    assert says in error_line(outcome)


def test_a_package_that_the_sysroot_lacks_is_named(
    tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    python = "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'ai_edge_litert'\"\nexit 1\n"
    executable(tmp_path / "arm64" / "usr" / "bin" / "python3", python)
    assert "No module named 'ai_edge_litert'" in error_line(run(tmp_path / "out", parts, capfd))


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, parts: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert "model.tflite" in error_line(run(tmp_path / "arm64", parts, capfd))


def test_the_total_is_read_over_all_processors() -> None:
    assert arm_check.read_total("cpu 0 insns: 7\ncpu 1 insns: 5\ntotal insns: 12\n") == 12
    with pytest.raises(UserError, match="counted nothing"):
        arm_check.read_total("cpu 0 insns: 7\n")
