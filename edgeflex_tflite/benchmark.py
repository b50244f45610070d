"""Measure what a .tflite costs: latency and three kinds of memory, on this host, an Android device or a Coral board.

    python -m edgeflex_tflite.benchmark fp32.tflite int8.tflite --num_threads=2
    python -m edgeflex_tflite.benchmark model.tflite --target=android --benchmark_model=./benchmark_model
    python -m edgeflex_tflite.benchmark model_edgetpu.tflite --target=coral

Several files are measured in turn, round by round, and compared as ratios, so that a noisy machine does not decide.
"""

from __future__ import annotations

import math
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.config import APIS, DELEGATES, RUNTIMES, Protocol, RuntimeConfig
from edgeflex_tflite.threads import available_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeflex_tflite.targets.host import Case
    from edgeflex_tflite.targets.measurement import Measurement, Ratio

TARGETS = ("host", "android", "coral")


def define_flags(values: flags.FlagValues) -> None:
    """Add the command's flags."""

    def text(name: str, default: str | None, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    def choice(name: str, default: str, choices: tuple[str, ...], words: str) -> None:
        flags.DEFINE_enum(name, default, choices, words, flag_values=values)

    def number(name: str, default: int | None, words: str) -> None:
        flags.DEFINE_integer(name, default, words, flag_values=values)

    def switch(name: str, words: str) -> None:
        flags.DEFINE_bool(name, False, words, flag_values=values)

    flags.DEFINE_list("target", ["host"], f"Where to measure: some of {', '.join(TARGETS)}.", flag_values=values)
    number("num_threads", None, "Threads of the interpreter. Default: all cores of this process; 4 on Android.")
    number("warmup_runs", Protocol.warmup_runs, "Inferences of each file that are thrown away first.")
    number("min_runs", Protocol.min_runs, "At least so many timed inferences of each file.")
    flags.DEFINE_float("min_secs", Protocol.min_secs, "At least so many seconds of them.", flag_values=values)
    number("rounds", Protocol.rounds, "Turns that each file gets: A B, A B, ...")
    words = "Instead of rounds, run each file for so many minutes without a pause and show how latency drifts."
    flags.DEFINE_float("sustained_mins", Protocol.sustained_mins, words, flag_values=values)
    number("seed", 0, "Of the inputs, which are random.")
    choice(
        "delegate",
        RuntimeConfig.delegate,
        DELEGATES,
        "What runs the ops. The last three are Android's; coral has its own.",
    )
    choice(
        "runtime",
        RuntimeConfig.runtime,
        RUNTIMES,
        "Python package on the host.",
    )
    choice("api", RuntimeConfig.api, APIS, "Interface of ai_edge_litert on the host.")
    words = "Signatures of each file to measure on the host. Default: the primary graph alone."
    flags.DEFINE_list("signatures", [], words, flag_values=values)
    switch("weight_cache", "Show what XNNPACK's weight cache saves on the host; takes --api=compiled_model.")
    text("adb", "adb", "The adb executable.")
    text("serial", None, "Serial number of the Android device, where several are connected.")
    text("benchmark_model", None, "The official benchmark_model executable for the device's processor.")
    text("benchmark_model_url", None, "Instead of --benchmark_model, where to download it; takes the next flag too.")
    text("benchmark_model_sha256", None, "SHA-256 of what is downloaded; another content is refused.")
    text("delegate_path", None, "With --delegate=external: the delegate's library on the Android device.")
    text("nnapi_accelerator", None, "With --delegate=nnapi: name of the accelerator.")
    switch("op_profile", "Profile operators on the Android device.")
    flags.DEFINE_float("timeout_secs", 600.0, "Longest wait for the Android device.", flag_values=values)
    text("edgetpu_library", "libedgetpu.so.1", "The Edge TPU runtime's library.")
    text("edgetpu_device", None, "Which Edge TPU, e.g. usb:0 or pci:0. Default: the first.")
    text("result_json", None, "Write all results with raw samples to this file; docs/benchmark.md says what is in it.")
    text("results_file", None, "Append the results to this file, one line of JSON a call.")
    text("compare_to", None, "A --results_file of earlier calls: show what changed since.")


def main(values: flags.FlagValues, rest: list[str]) -> None:
    files = cli.some_files(rest)
    _check(values)

    from edgeflex_tflite.files import write_json
    from edgeflex_tflite.report.benchmark import benchmark_text
    from edgeflex_tflite.targets import results as stored

    earlier = stored.read_all(Path(values.compare_to)) if values.compare_to else []
    protocol = Protocol(
        values.warmup_runs, values.min_runs, values.min_secs, values.rounds, sustained_mins=values.sustained_mins
    )
    measurements, ratios = _measure(values, files, protocol)
    command = shlex.join(["python", "-m", "edgeflex_tflite.benchmark", *sys.argv[1:]])
    results = stored.Results.now(command, protocol, measurements, ratios)
    if values.result_json:
        write_json(Path(values.result_json), results)
    if values.results_file:
        stored.append(Path(values.results_file), results)
    print(benchmark_text(results, stored.changes(measurements, earlier)))


def _check(values: flags.FlagValues) -> None:
    unknown = set(values.target) - set(TARGETS)
    if unknown or not values.target:
        raise UserError(f"--target is {','.join(values.target)!r}: give some of {', '.join(TARGETS)}")
    for name in ("result_json", "results_file"):
        folder = Path(values[name].value or ".").absolute().parent
        if not folder.is_dir():
            raise UserError(f"--{name}: there is no folder {folder}: make it, or name another file")
    if "host" in values.target and values.delegate not in ("xnnpack", "none"):
        raise UserError(f"--delegate={values.delegate} is not of the host: give --target=android, or xnnpack or none")
    if values.signatures and values.target != ["host"]:
        raise UserError("--signatures are measured on the host alone: give --target=host")
    if values.signatures and values.weight_cache:
        raise UserError("--weight_cache is measured on the primary graph: leave out --signatures, or --weight_cache")


def _measure(values: flags.FlagValues, files: list[str], protocol: Protocol) -> tuple[list[Measurement], list[Ratio]]:
    """All targets; one that is not there is an error when it is the only one, else blank with the reason."""
    from edgeflex_tflite.targets.missing import missing

    run = {"host": _host, "android": _android, "coral": _coral}
    measurements: list[Measurement] = []
    ratios: list[Ratio] = []
    for target in dict.fromkeys(values.target):
        try:
            found, pairs = run[target](values, files, protocol)
        except UserError as error:
            if len(set(values.target)) == 1 or target == "host":
                raise
            found, pairs = [missing(file, target, str(error)) for file in files], []
        measurements += found
        ratios += pairs
    return measurements, ratios


def _host(
    values: flags.FlagValues, files: list[str], protocol: Protocol
) -> tuple[Sequence[Measurement], Sequence[Ratio]]:
    from edgeflex_tflite.targets import host

    config = _runtime_config(values, values.delegate)
    with tempfile.TemporaryDirectory() as folder:
        cases = host.plain_cases(files, config)
        if values.signatures:
            cases = host.signature_cases(files, config, list(dict.fromkeys(values.signatures)))
        elif values.weight_cache:
            cases = host.weight_cache_cases(files, config, Path(folder))
        return _on_this_machine(cases, protocol, values.seed, "host")


def _coral(
    values: flags.FlagValues, files: list[str], protocol: Protocol
) -> tuple[Sequence[Measurement], Sequence[Ratio]]:
    from edgeflex_tflite.targets import coral, host

    config = coral.config(_runtime_config(values, values.edgetpu_library), values.edgetpu_device)
    coral.check(files, config)
    return _on_this_machine(host.plain_cases(files, config), protocol, values.seed, "coral")


def _android(
    values: flags.FlagValues, files: list[str], protocol: Protocol
) -> tuple[Sequence[Measurement], Sequence[Ratio]]:
    from edgeflex_tflite.report.console import Console
    from edgeflex_tflite.targets import android
    from edgeflex_tflite.targets.turns import measure_in_turn

    rounds = 1 if len(files) == 1 or protocol.sustained_mins else protocol.rounds
    config = android.AndroidConfig(
        benchmark_model=values.benchmark_model,
        benchmark_model_url=values.benchmark_model_url,
        benchmark_model_sha256=values.benchmark_model_sha256,
        adb=values.adb,
        serial=values.serial,
        threads=android.AndroidConfig.threads if values.num_threads is None else values.num_threads,
        delegate=values.delegate,
        delegate_path=values.delegate_path,
        nnapi_accelerator=values.nnapi_accelerator,
        min_runs=math.ceil(protocol.min_runs / rounds),
        min_secs=60 * protocol.sustained_mins or protocol.min_secs / rounds,
        warmup_runs=protocol.warmup_runs,
        timeout_secs=values.timeout_secs + 60 * protocol.sustained_mins,
        op_profile=values.op_profile,
    )
    android.check(config)
    with Console().bar(rounds * len(files), "android", unit="turn") as bar:
        return measure_in_turn(files, rounds, lambda file: android.measure(Path(file), config), bar.update)


def _on_this_machine(
    cases: Sequence[Case], protocol: Protocol, seed: int, target: str
) -> tuple[Sequence[Measurement], Sequence[Ratio]]:
    from edgeflex_tflite.report.console import Console
    from edgeflex_tflite.targets import host

    with Console().bar(host.steps(cases, protocol), "benchmark", unit="turn") as bar:
        found = host.measure(cases, protocol, seed=seed, target=target, done=bar.update)
    return found.measurements, found.ratios


def _runtime_config(values: flags.FlagValues, delegate: str) -> RuntimeConfig:
    threads = available_threads() if values.num_threads is None else values.num_threads
    return RuntimeConfig(values.runtime, values.api, delegate, num_threads=threads)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
