"""An Android device: TFLite's own benchmark_model, pushed with adb, run, read and removed again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.parse import load_file
from edgeflex_tflite.targets.adb import Adb, choose, find_adb
from edgeflex_tflite.targets.adb_errors import StorageFullError, WrongBinaryError
from edgeflex_tflite.targets.android_device import DeviceFacts, read_clock, read_facts, read_free_bytes, read_heat
from edgeflex_tflite.targets.android_folder import PARENT, DeviceFolder
from edgeflex_tflite.targets.android_report import Run, State, Visit, measurement, refuse_useless
from edgeflex_tflite.targets.benchmark_errors import error_words, tool_error
from edgeflex_tflite.targets.benchmark_model import ToolConfig, ToolReport, parse
from edgeflex_tflite.targets.benchmark_result import read_result
from edgeflex_tflite.targets.config import DELEGATES
from edgeflex_tflite.targets.measurement import Measurement
from edgeflex_tflite.targets.pinned import cache_folder, check_sha256, pinned_download

_SPARE_BYTES = 16 << 20
"""Storage that has to stay free: caches of drivers, the result file."""

_PROFILE_EVENTS = 1 << 16

_MACHINES = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86"}
"""e_machine of an ELF file -> what Android calls it."""


@dataclass(frozen=True)
class AndroidConfig:
    """What is measured with on which device.

    No address of benchmark_model is built in: its makers publish it without hashes, under addresses whose content
    changes. Give a file, or an address together with the SHA-256 of the build that you trust.

    Attributes:
        benchmark_model: The tool's native build for the device's processor (not the APK), or None.
        benchmark_model_url, benchmark_model_sha256: Instead of it, where to download it, and its content's hash.
        adb: Name or path of adb.
        serial: Which device; None for ANDROID_SERIAL, or the only one.
        threads: Threads of the interpreter.
        delegate: "xnnpack", "none" (TFLite's own kernels), "gpu", "nnapi" or "external".
        delegate_path: The library of an "external" delegate, e.g. of an NPU; it is pushed, too.
        nnapi_accelerator: Which of NNAPI's devices; None leaves it to NNAPI.
        min_runs, min_secs: At least so many inferences, and seconds, that count.
        warmup_runs: At least so many inferences before; the tool adds some until half a second is over.
        timeout_secs: For one run of the tool, of which there are two with `op_profile`.
        op_profile: Time each op, in a second run, because that slows the ops down.
    """

    benchmark_model: str | None = None
    benchmark_model_url: str | None = None
    benchmark_model_sha256: str | None = None
    adb: str = "adb"
    serial: str | None = None
    threads: int = 4
    delegate: str = "xnnpack"
    delegate_path: str | None = None
    nnapi_accelerator: str | None = None
    min_runs: int = 50
    min_secs: float = 1.0
    warmup_runs: int = 1
    timeout_secs: float = 600.0
    op_profile: bool = False


def check(config: AndroidConfig) -> None:
    """Find everything wrong that can be found before anything is done.

    Raises:
        UserError: A setting makes no sense, a file is missing, or there is no device to use.
    """
    _connect(config)


def measure(path: Path, config: AndroidConfig) -> Measurement:
    """Measure a .tflite file on the device; nothing of it stays there.

    `memory.process_peak_bytes` is the growth of the process's largest resident size from the tool's start to the end
    of all inferences, as the tool tells it: the inputs that it makes and its log are in it.

    Raises:
        UserError: Whatever is wrong with the file, the settings, adb, the device or the tool; also an accelerator that
            was asked for and took no op, since the figures would be the CPU's.
    """
    load_file(path)
    adb = _connect(config)
    program = _program(config)
    facts = read_facts(adb)
    code = [program, *([Path(config.delegate_path)] if config.delegate_path else [])]
    for file in code:
        _check_processor(file, facts)
    free = _check_storage(adb, sum(file.stat().st_size for file in (*code, path)))
    before = State(read_clock(adb), read_heat(adb))
    with DeviceFolder(adb) as folder:
        run = _run(folder, program, path, config)
        after = State(read_clock(adb), read_heat(adb))
    return measurement(path, config, program, run, Visit(facts, free, before, after, folder.leftover))


def _connect(config: AndroidConfig) -> Adb:
    """The device, after everything else was checked."""
    _check_numbers(config)
    _check_delegate(config)
    _check_program(config)
    return Adb(find_adb(config.adb), choose(config.adb, config.serial).serial)


def _check_numbers(config: AndroidConfig) -> None:
    least = {"threads": 1, "min_runs": 1, "min_secs": 0, "warmup_runs": 0, "timeout_secs": 1}
    for name, low in least.items():
        value = getattr(config, name)
        if not low <= value < float("inf"):
            raise UserError(f"{name} is {value}: give {low} or more")


def _check_delegate(config: AndroidConfig) -> None:
    if config.delegate not in DELEGATES:
        raise UserError(f"There is no delegate {config.delegate!r}: give one of {', '.join(DELEGATES)}")
    if (config.delegate == "external") != bool(config.delegate_path):
        raise UserError("The path of a delegate's library and the delegate external belong together: give both or none")
    if config.delegate_path and not Path(config.delegate_path).is_file():
        raise UserError(f"There is no file {config.delegate_path}: give the delegate's library, built for Android")
    if config.nnapi_accelerator and config.delegate != "nnapi":
        raise UserError("An accelerator of NNAPI is only used with the delegate nnapi")


def _check_program(config: AndroidConfig) -> None:
    if bool(config.benchmark_model) == bool(config.benchmark_model_url):
        raise UserError(
            "Give benchmark_model, TFLite's native benchmark tool built for the device: either its path, or an address "
            "and SHA-256. Builds: https://ai.google.dev/edge/litert/models/measurement"
        )
    if config.benchmark_model_url:
        check_sha256(config.benchmark_model_sha256 or "")
        return
    path = Path(config.benchmark_model or "")
    if not path.is_file():
        raise UserError(f"There is no file {path}: give TFLite's benchmark_model, built for the device")
    _check_format(path)


def _check_format(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head.startswith(b"PK"):
        raise WrongBinaryError(f"{path} is an APK: give the native build of benchmark_model, which adb can start")
    if not (head == b"\x7fELF" or head.startswith(b"#!")):
        raise WrongBinaryError(f"{path} is not a program for Android: give the native build of benchmark_model")


def _program(config: AndroidConfig) -> Path:
    if config.benchmark_model:
        return Path(config.benchmark_model)
    url, sha256 = config.benchmark_model_url or "", config.benchmark_model_sha256 or ""
    path = pinned_download(url, sha256, cache_folder())
    _check_format(path)
    return path


def _check_processor(code: Path, facts: DeviceFacts) -> None:
    """Raises WrongBinaryError before a byte is copied, where file and device both say what they are."""
    with code.open("rb") as file:
        head = file.read(20)
    needs = _MACHINES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None
    if needs and facts.abis and needs not in facts.abis:
        raise WrongBinaryError(
            f"{code} is built for {needs}, and {facts.name} runs {', '.join(facts.abis)}: give a build for that"
        )


def _check_storage(adb: Adb, needed: int) -> int | NotMeasured:
    free = read_free_bytes(adb, PARENT)
    if not isinstance(free, NotMeasured) and free < needed + _SPARE_BYTES:
        raise StorageFullError(
            f"The device has {free / 1e6:.0f} MB free in {PARENT} and {(needed + _SPARE_BYTES) / 1e6:.0f} MB are "
            "needed: free some space on it"
        )
    return free


def _run(folder: DeviceFolder, program: Path, model: Path, config: AndroidConfig) -> Run:
    folder.push(program, "benchmark_model")
    graph = folder.push(model, "model.tflite")
    library = folder.push(Path(config.delegate_path), Path(config.delegate_path).name) if config.delegate_path else None
    asked = _common(config, graph, library) | {"signature_to_run_for": _signature(model)}
    timed = ToolConfig(**asked, print_postinvoke_state=True, result_file_path=folder.file("result.pb"))
    report = _tool(folder, timed, config.timeout_secs)
    with tempfile.TemporaryDirectory() as local:
        kept = Path(local) / "result.pb"
        result = read_result(kept.read_bytes()) if folder.pull("result.pb", kept) else None
    refuse_useless(config, Run(report, result))
    if not config.op_profile:
        return Run(report, result)
    profiled = ToolConfig(**asked, enable_op_profiling=True, max_profiling_buffer_entries=_PROFILE_EVENTS)
    return Run(report, result, _tool(folder, profiled, config.timeout_secs).ops)


def _signature(model: Path) -> str | None:
    """The signature that runs the primary graph, for a file with several; None for others, which need no telling."""
    signatures = load_file(model).signatures
    return next((each.name for each in signatures if each.graph == 0), None) if len(signatures) > 1 else None


def _common(config: AndroidConfig, graph: str, library: str | None) -> dict:
    return {
        "graph": graph,
        "num_threads": config.threads,
        "use_xnnpack": {"xnnpack": True, "none": False}.get(config.delegate),
        "use_gpu": True if config.delegate == "gpu" else None,
        "use_nnapi": True if config.delegate == "nnapi" else None,
        "nnapi_accelerator_name": config.nnapi_accelerator,
        "external_delegate_path": library,
        "warmup_runs": config.warmup_runs,
        "num_runs": config.min_runs,
        "min_secs": config.min_secs,
    }


def _tool(folder: DeviceFolder, config: ToolConfig, timeout_secs: float) -> ToolReport:
    """Raises BenchmarkToolError where it failed; old versions end with 0 all the same."""
    done = folder.run("benchmark_model", config.arguments(), timeout_secs=timeout_secs)
    report = parse(done.text)
    if done.code or (isinstance(report.latency, NotMeasured) and error_words(done.text)):
        raise tool_error(done.text)
    return report
