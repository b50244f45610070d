"""The Android target, from settings to measurement, on a fake device whose programs are real processes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shlex
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from google.protobuf import text_format

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets import android_folder
from edgeflex_tflite.targets.adb import Adb, find_adb
from edgeflex_tflite.targets.adb_errors import (
    AdbError,
    AdbMissingError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnavailableError,
    OutOfMemoryError,
    ProgramCrashedError,
    StorageFullError,
    WrongBinaryError,
)
from edgeflex_tflite.targets.android import AndroidConfig, check, measure
from edgeflex_tflite.targets.android_device import read_clock, read_facts, read_free_bytes, read_heat
from edgeflex_tflite.targets.android_report import DelegateUnusedError
from edgeflex_tflite.targets.benchmark_model import BenchmarkToolError
from edgeflex_tflite.targets.benchmark_result import message_class
from edgeflex_tflite.targets.measurement import Latency, Measurement, NotMeasured, OpTime
from tests.targets.phone import DF, SERIAL, USUAL, FakePhone, phone
from tests.targets.signatures import write_two_signatures
from tests.tiny import Tiny

__all__ = ["phone"]  # the fixture
GOLDEN = Path(__file__).parents[1] / "golden" / "benchmark_model"
ROOT = Path(__file__).parents[2]
RESULT = """
latency_metrics { avg_ms: 12.5 min_ms: 11.5 max_ms: 20.25 stddev_ms: 0.5 init_ms: 30.5 first_inference_ms: 22.5
                  median_ms: 12.25 p5_ms: 11.75 p95_ms: 14.75 }
memory_metrics { init_footprint_kb: 1000 overall_footprint_kb: 2000 }
misc_metrics { num_runs: 60 num_warmup_runs: 31 }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny = Tiny()
    source, result = tiny.tensor(1, 4), tiny.tensor(1, 4)
    tiny.op("RELU", [source], [result])
    path = tmp_path / "my model.tflite"
    path.write_bytes(tiny.build([source], [result]))
    return path


class Tool:
    """A benchmark_model that replays a log. It keeps what it was called with."""

    def __init__(self, folder: Path, phone: FakePhone) -> None:
        self.path, self._phone = folder / "benchmark_model", phone

    def script(self, body: str) -> AndroidConfig:
        self.path.write_text(f'#!/bin/sh\nfor a; do echo "$a" >> $ROOT/arguments; done\n{body}\n')
        return AndroidConfig(benchmark_model=str(self.path))

    def replay(self, name: str, *, profile: str | None = None, code: int = 0, more: str = "") -> AndroidConfig:
        """Print one golden log, or another when asked for a profile."""
        logs = [shlex.quote(str(GOLDEN / f"{log}.txt")) for log in (profile or name, name)]
        return self.script(
            f'case "$*" in *enable_op_profiling=true*) cat {logs[0]};; *) cat {logs[1]};; esac\n{more}\nexit {code}'
        )

    def write_result(self, text: str) -> str:
        """Shell code that leaves the result file, as the tool does."""
        content = text_format.Parse(text, message_class("BenchmarkResult")()).SerializeToString()
        (self.path.parent / "wanted.pb").write_bytes(content)
        return f'for a; do case "$a" in --result_file_path=*) cp {self.path.parent}/wanted.pb "${{a#*=}}";; esac; done'

    @property
    def arguments(self) -> list[str]:
        return (self._phone.root / "arguments").read_text().replace(str(self._phone.root), "").splitlines()


@pytest.fixture
def tool(tmp_path: Path, phone: FakePhone) -> Tool:
    return Tool(tmp_path, phone)


@pytest.fixture
def device(phone: FakePhone) -> Adb:
    return Adb(find_adb(), SERIAL)


def reason(figure: object) -> str:
    assert isinstance(figure, NotMeasured), figure
    return figure.reason


def latency(found: Measurement) -> Latency:
    assert isinstance(found.latency, Latency)
    return found.latency


# ---- a run that goes well


def test_a_run_with_all_that_a_new_tool_tells(phone: FakePhone, tool: Tool, model: Path) -> None:
    config = tool.replay("new_xnnpack", more=tool.write_result(RESULT))
    found = measure(model, config)
    assert (found.file, found.file_bytes) == (str(model), model.stat().st_size)
    assert found.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert (found.startup_ms, found.first_ms) == (30.5, 22.5)
    assert (latency(found).count, latency(found).median_ms, latency(found).samples_ms) == (60, 12.25, ())
    assert found.memory.arena_bytes == 15528
    assert found.memory.process_peak_bytes == 2000 * 1024
    for blank in (found.memory.runtime_bytes, found.memory.process_anonymous_bytes, found.memory.process_file_bytes):
        assert "benchmark_model does not tell" in reason(blank)
    assert found.warnings == ()
    assert phone.left() == []


def test_where_it_was_measured(tool: Tool, model: Path) -> None:
    found = measure(model, tool.replay("new_xnnpack"))
    where = found.environment
    assert (where.target, where.device, where.cpu) == ("android", "samsung SM-G991B", "Samsung Exynos 2100")
    assert where.clock == "cpu 0,1,2,3: 0.40-2.21 GHz energy_step; cpu 4,5,6: 0.40-2.81 GHz energy_step"
    assert (where.threads, where.delegate, where.system) == (4, "xnnpack", "Android 13 (API 33)")
    assert hashlib.sha256(tool.path.read_bytes()).hexdigest()[:16] in where.runtime
    assert found.state["heat before"] == "thermal status 0 (none); battery 31.5 C, skin 33.0 C, CPU 41.2 C"
    assert found.state["free storage before"] == "50176 MB"
    assert found.state["delegation"] == "TfLiteXNNPackDelegate took 3 of 3 ops, leaving 1 pieces"


def test_a_tool_without_a_result_file(tool: Tool, model: Path) -> None:
    found = measure(model, tool.replay("old", more=""))
    assert (found.startup_ms, found.first_ms, latency(found).mean_ms) == (870.557, 130.5, 119.3)
    assert "arenas" in reason(found.memory.arena_bytes)
    assert "no percentiles" in reason(latency(found).median_ms)


@pytest.mark.parametrize("old", [False, True])
def test_what_the_tool_is_asked_for(phone: FakePhone, tool: Tool, model: Path, old: bool) -> None:
    phone.configure(old=old)
    config = tool.replay("new_xnnpack")
    measure(model, dataclasses.replace(config, threads=2, min_runs=60, min_secs=2.5, warmup_runs=3))
    folder = next(word for word in tool.arguments if word.startswith("--graph=")).removeprefix("--graph=")[
        : -len("/model.tflite")
    ]
    assert folder.startswith("/data/local/tmp/edgeflex-")
    assert tool.arguments == [
        f"--graph={folder}/model.tflite",
        "--num_threads=2",
        "--use_xnnpack=true",
        "--warmup_runs=3",
        "--num_runs=60",
        "--min_secs=2.5",
        "--print_postinvoke_state=true",
        f"--result_file_path={folder}/result.pb",
    ]


def test_the_tool_is_told_which_of_several_signatures(tool: Tool, tmp_path: Path) -> None:
    measure(write_two_signatures(tmp_path), tool.replay("new_xnnpack"))
    assert "--signature_to_run_for=first" in tool.arguments


def test_two_runs_never_share_a_folder(tool: Tool, model: Path) -> None:
    config = tool.replay("new_xnnpack")
    measure(model, config)
    measure(model, config)
    assert len({word for word in tool.arguments if word.startswith("--graph=")}) == 2


@pytest.mark.parametrize(
    ("changes", "log", "flags"),
    [
        ({"delegate": "none"}, "new_none", {"--use_xnnpack=false"}),
        ({"delegate": "gpu"}, "new_gpu_partly", {"--use_gpu=true"}),
        (
            {"delegate": "nnapi", "nnapi_accelerator": "dsp"},
            "nnapi",
            {"--use_nnapi=true", "--nnapi_accelerator_name=dsp"},
        ),
    ],
)
def test_delegates(tool: Tool, model: Path, tmp_path: Path, changes: dict[str, str], log: str, flags: set[str]) -> None:
    config = tool.replay(log)
    if log == "nnapi":
        text = (GOLDEN / "new_gpu_partly.txt").read_text().replace("GPU", "NNAPI")
        config = tool.script(f"cat <<'END'\n{text}END")
    found = measure(model, dataclasses.replace(config, **changes))  # type: ignore[arg-type]
    assert flags <= set(tool.arguments)
    assert [word for word in tool.arguments if word.startswith("--use_")] == [
        word for word in sorted(flags) if word.startswith("--use_")
    ]
    assert found.environment.delegate.startswith(changes["delegate"])


def test_external_delegate_is_pushed(phone: FakePhone, tool: Tool, model: Path, tmp_path: Path) -> None:
    (tmp_path / "libnpu.so").write_bytes(b"library")
    text = (GOLDEN / "new_gpu_partly.txt").read_text().replace("GPU", "EXTERNAL")
    config = tool.script(f"cat \"$LD_LIBRARY_PATH/libnpu.so\" > $ROOT/seen\ncat <<'END'\n{text}END")
    found = measure(model, dataclasses.replace(config, delegate="external", delegate_path=str(tmp_path / "libnpu.so")))
    assert (phone.root / "seen").read_bytes() == b"library"
    assert any(word.startswith("--external_delegate_path=/data/local/tmp/edgeflex-") for word in tool.arguments)
    assert found.environment.delegate == "external (libnpu.so)"


def test_profile_comes_from_a_run_of_its_own(tool: Tool, model: Path) -> None:
    config = dataclasses.replace(tool.replay("new_xnnpack", profile="profile_table"), op_profile=True)
    found = measure(model, config)
    assert found.ops[0] == OpTime("Fully Connected (NC, QD8, F32, QC8W) GEMM", 2, 6.0)
    assert tool.arguments.count("--enable_op_profiling=true") == 1
    assert sum(word.startswith("--graph=") for word in tool.arguments) == 2


def test_a_profile_that_does_not_come_is_told(tool: Tool, model: Path) -> None:
    found = measure(model, dataclasses.replace(tool.replay("new_xnnpack"), op_profile=True))
    assert found.ops == ()
    assert any("no profile by operator" in warning for warning in found.warnings)


def test_downloaded_tool(
    phone: FakePhone, tool: Tool, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tool.replay("new_xnnpack")
    sha256 = hashlib.sha256(tool.path.read_bytes()).hexdigest()
    config = AndroidConfig(benchmark_model_url=tool.path.as_uri(), benchmark_model_sha256=sha256)
    assert latency(measure(model, config)).count == 64
    wrong = dataclasses.replace(config, benchmark_model_sha256="0" * 64)
    with pytest.raises(UserError, match="another file than was meant"):
        measure(model, wrong)


# ---- what has to be known before believing the figures


def warnings(found: Measurement) -> str:
    return " | ".join(found.warnings)


def test_gpu_that_takes_a_part_is_told(tool: Tool, model: Path) -> None:
    found = measure(model, dataclasses.replace(tool.replay("new_gpu_partly"), delegate="gpu"))
    assert "the gpu delegate took 391 of 412 ops, in 5 pieces; the CPU ran the others" in warnings(found)
    assert "TfLiteXNNPackDelegate took 9 of 26 ops" in found.state["delegation"]


@pytest.mark.parametrize("log", ["new_gpu_nothing", "new_gpu_unsupported", "new_none"])
def test_gpu_that_takes_nothing_is_an_error(phone: FakePhone, tool: Tool, model: Path, log: str) -> None:
    with pytest.raises(DelegateUnusedError, match="gpu delegate was asked for and took no op"):
        measure(model, dataclasses.replace(tool.replay(log), delegate="gpu"))
    assert phone.left() == []


def test_clean_up_that_fails_after_that_is_told_too(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.program("rm", "echo 'rm: Permission denied' >&2; exit 1")
    with pytest.raises(DelegateUnusedError, match=r"took no op.*was not deleted"):
        measure(model, dataclasses.replace(tool.replay("new_gpu_nothing"), delegate="gpu"))


def test_delegate_that_the_tool_was_built_without(tool: Tool, model: Path, tmp_path: Path) -> None:
    (tmp_path / "libnpu.so").write_bytes(b"library")
    config = dataclasses.replace(
        tool.replay("new_external_not_built_in"), delegate="external", delegate_path=str(tmp_path / "libnpu.so")
    )
    with pytest.raises(DelegateUnusedError, match="does not know --external_delegate_path="):
        measure(model, config)


def test_xnnpack_that_takes_nothing_is_a_warning(tool: Tool, model: Path) -> None:
    assert "XNNPACK was asked for and took no op" in warnings(measure(model, tool.replay("new_none")))


def test_xnnpack_that_was_forbidden(tool: Tool, model: Path) -> None:
    found = measure(model, dataclasses.replace(tool.replay("new_xnnpack"), delegate="none"))
    assert "XNNPACK was forbidden and took 3 ops" in warnings(found)


def test_flags_that_the_tool_ignores_are_told(tool: Tool, model: Path) -> None:
    found = measure(model, dataclasses.replace(tool.replay("new_external_not_built_in"), delegate="none"))
    assert "does not know --external_delegate_path, --result_file_path and ignored it" in warnings(found)


def test_throttling_is_told(phone: FakePhone, tool: Tool, model: Path) -> None:
    hot = (phone.root / "thermal.txt").read_text().replace("Status: 0", "Status: 2").replace("41.2", "78.5")
    folder = phone.root / "sys/devices/system/cpu/cpufreq/policy4"
    config = tool.replay(
        "new_xnnpack", more=f"cat > $ROOT/thermal.txt <<'END'\n{hot}END\necho 1404000 > {folder}/scaling_max_freq"
    )
    found = measure(model, config)
    assert "thermal status 0 (none) before, 2 (moderate) after" in warnings(found)
    assert "the frequencies that the processor may use changed" in warnings(found)
    assert "0.40-1.40 GHz" in warnings(found)
    assert "CPU 78.5 C" in found.state["heat after"]


def test_large_spread_is_told(tool: Tool, model: Path) -> None:
    found = measure(model, tool.replay("new_slow"))
    assert "standard deviation 17% of the mean" in warnings(found)
    assert "1.37 times the median" in warnings(found)


def test_too_few_inferences_are_told(tool: Tool, model: Path) -> None:
    found = measure(model, dataclasses.replace(tool.replay("new_xnnpack"), min_runs=65))
    assert "only 64 inferences of the 65 asked for" in warnings(found)


# ---- what goes wrong


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        ("kill -SEGV $$", ProgramCrashedError, "SIGSEGV"),
        ("echo 'FATAL: bad size' >&2; kill -ABRT $$", ProgramCrashedError, "SIGABRT.*FATAL: bad size"),
        ("kill -KILL $$", OutOfMemoryError, "memory runs out"),
        ("echo 'sh: not executable: 64-bit ELF file' >&2; exit 126", WrongBinaryError, "64-bit ELF"),
        ("echo hello", BenchmarkToolError, "gave no time"),
        ("exit 1", BenchmarkToolError, "It says: nothing"),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_the_tool_does_not_end_well(
    phone: FakePhone, tool: Tool, model: Path, old: bool, body: str, kind: type[UserError], words: str
) -> None:
    phone.configure(old=old)
    with pytest.raises(kind, match=words):
        measure(model, tool.script(body))
    assert phone.left() == []


def test_the_tools_own_words(phone: FakePhone, tool: Tool, model: Path) -> None:
    with pytest.raises(BenchmarkToolError, match="no custom op EdgeAttention"):
        measure(model, tool.replay("error_custom_op", code=1))
    assert phone.left() == []


def test_an_old_tool_that_fails_with_exit_code_0(tool: Tool, model: Path) -> None:
    with pytest.raises(BenchmarkToolError, match="it cannot load the file"):
        measure(model, tool.replay("error_old_load", code=0))


def test_a_run_without_inferences_is_an_error(tool: Tool, model: Path) -> None:
    with pytest.raises(BenchmarkToolError, match="made no inference"):
        measure(model, tool.replay("new_dry_run"))


def test_time_out_stops_the_program(phone: FakePhone, tool: Tool, model: Path) -> None:
    config = dataclasses.replace(tool.script("echo $$ > $ROOT/running\nwhile :; do sleep 0.2; done"), timeout_secs=2.0)
    with pytest.raises(DeviceTimeoutError, match="running benchmark_model after 2 s"):
        measure(model, config)
    assert phone.left() == []
    assert not alive(phone)


def test_device_that_is_lost_in_the_middle(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.configure(broken={"exec ": f"error: device '{SERIAL}' not found", "rm -rf": "error: closed"})
    with pytest.raises(DeviceLostError, match=r"running benchmark_model.*Besides, .*was not deleted.*by hand"):
        measure(model, tool.replay("new_xnnpack"))
    assert len(phone.left()) == 1


def test_storage_that_is_known_to_be_too_small(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.program("df", f"cat <<'END'\n{DF.format(free_kb=16_000)}END")
    with pytest.raises(StorageFullError, match="16 MB free in /data/local/tmp and 17 MB are needed"):
        measure(model, tool.replay("new_xnnpack"))
    assert phone.left() == []


def test_storage_that_fills_up_while_copying(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.configure(broken={"push": "adb: error: failed to copy 'x' to 'y': remote No space left on device"})
    with pytest.raises(StorageFullError, match="storage is full"):
        measure(model, tool.replay("new_xnnpack"))
    assert phone.left() == []


def test_folder_that_may_not_be_made(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.program("mkdir", "echo 'mkdir: Permission denied' >&2; exit 1")
    with pytest.raises(AdbError, match="does not let adb write to /data/local/tmp: mkdir: Permission denied"):
        measure(model, tool.replay("new_xnnpack"))


def test_failed_clean_up_after_a_good_run_is_a_warning(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.program("rm", "echo 'rm: Permission denied' >&2; exit 1")
    found = measure(model, tool.replay("new_xnnpack"))
    assert f"{phone.left()[0]} was not deleted on {SERIAL}, delete it by hand" in warnings(found)


def test_failed_clean_up_after_an_error_is_in_its_message(phone: FakePhone, tool: Tool, model: Path) -> None:
    phone.program("rm", "echo 'rm: Permission denied' >&2; exit 1")
    with pytest.raises(ProgramCrashedError, match=r"SIGSEGV.*Besides, .*was not deleted"):
        measure(model, tool.script("kill -SEGV $$"))


def alive(phone: FakePhone) -> bool:
    """Whether the program that wrote its number still runs."""
    process = Path("/proc") / (phone.root / "running").read_text().strip()
    for _ in range(20):
        if not process.exists() or "Z (zombie)" in (process / "status").read_text():
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("clean", [True, False])
def test_ctrl_c_in_the_middle_of_a_run(phone: FakePhone, tool: Tool, model: Path, clean: bool) -> None:
    if not clean:
        phone.program("rm", "echo 'rm: Permission denied' >&2; exit 1")
    tool.script("echo $$ > $ROOT/running\nwhile :; do sleep 0.2; done")
    code = (
        "import sys, pathlib; from edgeflex_tflite.targets.android import AndroidConfig, measure\n"
        "measure(pathlib.Path(sys.argv[1]), AndroidConfig(benchmark_model=sys.argv[2]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(model), str(tool.path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - background jobs ignore it
    ) as process:
        deadline = time.monotonic() + 60
        while not (phone.root / "running").exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not alive(phone)
    assert (phone.left() == []) is clean
    assert ("was not deleted" in err) is not clean


# ---- what is found before anything is done


def test_settings_that_are_fine(tool: Tool) -> None:
    check(tool.replay("new_xnnpack"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": 0}, "threads is 0: give 1 or more"),
        ({"min_runs": 0}, "min_runs is 0"),
        ({"min_secs": -1.0}, "min_secs is -1"),
        ({"min_secs": float("nan")}, "min_secs is nan"),
        ({"warmup_runs": -1}, "warmup_runs is -1"),
        ({"timeout_secs": float("inf")}, "timeout_secs is inf"),
        ({"delegate": "hexagon"}, "no delegate 'hexagon': give one of xnnpack, none, gpu, nnapi, external"),
        ({"delegate": "external"}, "belong together"),
        ({"delegate_path": "/x.so"}, "belong together"),
        ({"delegate": "external", "delegate_path": "/nothing.so"}, "no file /nothing.so"),
        ({"nnapi_accelerator": "dsp"}, "only used with the delegate nnapi"),
        ({"benchmark_model": None}, "Give benchmark_model"),
        ({"benchmark_model": "/nothing"}, "no file /nothing"),
        ({"benchmark_model_url": "http://127.0.0.1:1/x"}, "Give benchmark_model"),
        ({"benchmark_model": None, "benchmark_model_url": "http://127.0.0.1:1/x"}, "not a SHA-256"),
    ],
)
def test_settings_that_make_no_sense(tool: Tool, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check(dataclasses.replace(tool.replay("new_xnnpack"), **changes))  # type: ignore[arg-type]


def test_no_adb_and_no_device_are_found_early(phone: FakePhone, tool: Tool) -> None:
    config = tool.replay("new_xnnpack")
    with pytest.raises(AdbMissingError):
        check(dataclasses.replace(config, adb="/nothing/adb"))
    phone.configure(devices=[[SERIAL, "unauthorized", ""]])
    with pytest.raises(DeviceUnavailableError, match="accept the question"):
        check(config)
    phone.configure(devices=USUAL)
    with pytest.raises(DeviceUnavailableError, match="no device OTHER"):
        check(dataclasses.replace(config, serial="OTHER"))


@pytest.mark.parametrize(
    ("content", "words"), [(b"PK\x03\x04", "is an APK: give the native build"), (b"\xcf\xfa\xed\xfe", "not a program")]
)
def test_what_is_not_a_program_is_found_early(tool: Tool, content: bytes, words: str) -> None:
    config = tool.replay("new_xnnpack")
    tool.path.write_bytes(content)
    with pytest.raises(WrongBinaryError, match=words):
        check(config)


def test_a_build_for_another_processor_is_found_before_copying(phone: FakePhone, tool: Tool, model: Path) -> None:
    config = tool.replay("new_xnnpack")
    tool.path.write_bytes(b"\x7fELF" + bytes(12) + struct.pack("<HH", 3, 62))
    phone.configure(broken={"push": "nothing may be pushed"})
    with pytest.raises(WrongBinaryError, match="is built for x86_64, and samsung SM-G991B runs arm64-v8a, armeabi-v7a"):
        measure(model, config)


def test_a_file_that_is_no_model(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"is not a \.tflite flatbuffer"):
        measure(tmp_path / "x.tflite", tool.replay("new_xnnpack"))


# ---- what a device says of itself


def test_facts_of_an_old_device(phone: FakePhone, device: Adb) -> None:
    phone.properties({"ro.product.cpu.abi": "armeabi-v7a", "ro.board.platform": "msm8974"})
    facts = read_facts(device)
    assert (facts.name, facts.abis, facts.cpu, facts.system) == (
        SERIAL,
        ("armeabi-v7a",),
        "msm8974",
        "Android ? (API ?)",
    )
    phone.properties({})
    assert "no property" in reason(read_facts(device).cpu)


def test_heat_of_an_old_device(phone: FakePhone, device: Adb) -> None:
    phone.program("dumpsys", 'echo "Can\'t find service: thermalservice"')
    assert str(read_heat(device)) == "thermal status not told by this Android; temperatures not readable"
    for number, (kind, value) in enumerate((("tsens", "41500"), ("battery", "39"), ("off", "0"), ("bad", "-274000"))):
        zone = phone.root / f"sys/class/thermal/thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(kind)
        (zone / "temp").write_text(value)
    assert read_heat(device).temperatures == {"hottest zone": 41.5}


def test_clock_that_may_not_be_read(phone: FakePhone, device: Adb) -> None:
    for path in phone.root.glob("sys/devices/system/cpu/cpufreq/*/*"):
        path.unlink()
    assert "not readable" in reason(read_clock(device))


@pytest.mark.parametrize("text", ["", "df: bad option", "Filesystem Size Used Free Blksize\n/data 5.0G 3.5G 1.5G 4096"])
def test_free_storage_that_is_not_told(phone: FakePhone, device: Adb, text: str) -> None:
    phone.program("df", f"echo {shlex.quote(text)}")
    assert "does not tell" in reason(read_free_bytes(device, android_folder.PARENT))


def test_free_storage_on_two_lines(phone: FakePhone, device: Adb) -> None:
    phone.program(
        "df", "echo 'Filesystem 1K-blocks Used Available Use% Mounted on'; echo /dev/long; echo ' 9 4 5 44% /data'"
    )
    assert read_free_bytes(device, android_folder.PARENT) == 5 * 1024
