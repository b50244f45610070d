"""TFLite's own `benchmark_model`: its command line, and what it prints, in the formats of all its versions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.benchmark_profile import parse_profile
from edgeflex_tflite.targets.measurement import Latency, OpTime

_MEBIBYTE = 1 << 20

NO_SAMPLES = "benchmark_model gives neither the single times nor their 99th percentile"
_NO_PERCENTILES = "this version of benchmark_model prints no percentiles: use a newer one"
_NO_LINE = "benchmark_model did not print it"


class BenchmarkToolError(UserError):
    """benchmark_model said that it cannot do it."""


@dataclass(frozen=True)
class ToolConfig:
    """Flags of benchmark_model under their own names; None leaves one to the tool.

    Attributes:
        graph: Path of the .tflite on the device.
        num_threads: Threads of the interpreter.
        use_xnnpack: True asks for XNNPACK, False forbids it; None lets the runtime apply it to what is left.
        use_gpu: Ask for the GPU delegate.
        gpu_precision_loss_allowed: FP16 on the GPU; the tool allows it.
        use_nnapi: Ask for NNAPI.
        nnapi_accelerator_name: Which of NNAPI's devices.
        external_delegate_path: A delegate's library on the device, e.g. of an NPU.
        external_delegate_options: "key:value" pairs with ";" between them.
        warmup_runs, warmup_min_secs: Inferences, and seconds, before the ones that count.
        num_runs, min_secs, max_secs: Least inferences, least and most seconds.
        enable_op_profiling: Time every op, which slows the inference down.
        op_profiling_output_mode: "stdout" for tables, "csv".
        max_profiling_buffer_entries: Events of one inference that the profiler can hold.
        print_preinvoke_state, print_postinvoke_state: Print tensors and arenas.
        report_peak_memory_footprint: Watch the memory from a thread, which disturbs the times.
        result_file_path: Where the result goes as a protobuf.
        signature_to_run_for: Which signature of the file; some tools refuse a file with several when they are not told.
    """

    graph: str
    num_threads: int | None = None
    use_xnnpack: bool | None = None
    use_gpu: bool | None = None
    gpu_precision_loss_allowed: bool | None = None
    use_nnapi: bool | None = None
    nnapi_accelerator_name: str | None = None
    external_delegate_path: str | None = None
    external_delegate_options: str | None = None
    warmup_runs: int | None = None
    warmup_min_secs: float | None = None
    num_runs: int | None = None
    min_secs: float | None = None
    max_secs: float | None = None
    enable_op_profiling: bool | None = None
    op_profiling_output_mode: str | None = None
    max_profiling_buffer_entries: int | None = None
    print_preinvoke_state: bool | None = None
    print_postinvoke_state: bool | None = None
    report_peak_memory_footprint: bool | None = None
    result_file_path: str | None = None
    signature_to_run_for: str | None = None

    def arguments(self) -> list[str]:
        """The command line after the program's name."""
        return [f"--{name}={_word(value)}" for name, value in dataclasses.asdict(self).items() if value is not None]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Delegation:
    """What the tool says of a delegate that it was asked for.

    Attributes:
        name: "XNNPACK", "GPU", "NNAPI" or "EXTERNAL".
        kernels: Pieces of the graph that it runs, 0 for none; None where an old tool does not say.
        whole_graph: Nothing of the graph is left to others.
    """

    name: str
    kernels: int | None
    whole_graph: bool


@dataclass(frozen=True)
class Replacement:
    """What the runtime says when a delegate takes ops of a graph, also one that nobody asked for.

    Attributes:
        kernel: The delegate's name for what stands in their place.
        ops: Ops that it took.
        of: Ops that the graph had; None where an old runtime does not say.
        partitions: Pieces that the graph now consists of, the delegate's and the others.
    """

    kernel: str
    ops: int
    of: int | None
    partitions: int


@dataclass(frozen=True)
class ToolReport:
    """What benchmark_model printed.

    Attributes:
        startup_ms: Loading the model, applying delegates and allocating tensors ("Init").
        first_ms: The first inference.
        latency: Inferences after warm-up, without samples.
        peak_delta_bytes: Growth of the process's largest resident size (ru_maxrss) from the tool's start, before the
            model is loaded, to the end of all inferences ("overall"). It contains the tool's own growth.
        arena_bytes: Tensor arenas of all graphs after the last inference, where the tool was asked for its state.
        delegations: The tool's word on each delegate that was asked for; none for one that could not be made.
        replacements: The runtime's word on each graph that a delegate took ops of, in this order.
        ops: Profile, longest first.
        ignored_flags: Flags that this build of the tool does not know.
    """

    startup_ms: float | NotMeasured
    first_ms: float | NotMeasured
    latency: Latency | NotMeasured
    peak_delta_bytes: int | NotMeasured
    arena_bytes: int | NotMeasured
    delegations: tuple[Delegation, ...]
    replacements: tuple[Replacement, ...]
    ops: tuple[OpTime, ...]
    ignored_flags: tuple[str, ...]


def parse(text: str) -> ToolReport:
    """All that is found in what the tool printed on both streams; what is missing is `NotMeasured`."""
    stats = [_stat(match[0]) for match in re.finditer(r"\bcount=\d+.*", text) if _is_of_runs(text, match.start())]
    warmup, regular = (stats[0], stats[1]) if len(stats) > 1 else ({}, {})
    init = re.search(r"\bInit: ([\d.e+]+)", text)
    return ToolReport(
        startup_ms=float(init[1]) / 1e3 if init else NotMeasured(_NO_LINE),
        first_ms=_first_ms(warmup, regular),
        latency=_latency(regular),
        peak_delta_bytes=_peak_delta(text),
        arena_bytes=_arena(text),
        delegations=tuple(_delegations(text)),
        replacements=tuple(_replacements(text)),
        ops=parse_profile(text),
        ignored_flags=tuple(_ignored(text)),
    )


def _is_of_runs(text: str, at: int) -> bool:
    """The profile has statistics of its own, behind a title on the same line."""
    return not re.search(r"Timings|Memory", text[text.rfind("\n", 0, at) + 1 : at])


def _stat(line: str) -> dict[str, float]:
    return {key: float(value) for key, value in re.findall(r"(\w+)=(-?[\d.]+(?:e[+-]?\d+)?)", line)}


def _first_ms(warmup: dict[str, float], regular: dict[str, float]) -> float | NotMeasured:
    for stat in (warmup, regular):
        if stat.get("count"):
            return stat.get("first", stat["curr"]) / 1e3  # all the same: only "curr" is printed
    return NotMeasured(_NO_LINE)


def _latency(stat: dict[str, float]) -> Latency | NotMeasured:
    if not stat:
        return NotMeasured(_NO_LINE)
    if not stat["count"]:
        return NotMeasured("benchmark_model made no inference after warm-up")
    same = stat["curr"]
    return Latency(
        count=int(stat["count"]),
        min_ms=stat.get("min", same) / 1e3,
        mean_ms=stat.get("avg", same) / 1e3,
        max_ms=stat.get("max", same) / 1e3,
        std_ms=stat.get("std", 0.0) / 1e3,
        p5_ms=_percentile(stat, "p5"),
        median_ms=_percentile(stat, "median"),
        p95_ms=_percentile(stat, "p95"),
        p99_ms=NotMeasured(NO_SAMPLES),
    )


def _percentile(stat: dict[str, float], name: str) -> float | NotMeasured:
    return stat[name] / 1e3 if name in stat else NotMeasured(_NO_PERCENTILES)


def _peak_delta(text: str) -> int | NotMeasured:
    """Two titles over the years, the same figure: mebibytes."""
    found = re.search(r"(?:Memory footprint delta|Peak memory footprint).*overall=(-?[\d.]+)", text)
    if not found:
        return NotMeasured(_NO_LINE)
    return peak_delta(round(float(found[1]) * _MEBIBYTE))


def peak_delta(grown: int) -> int | NotMeasured:
    """Bytes, unless the process was larger before it loaded the model than ever after."""
    return grown if grown > 0 else NotMeasured("the process was never larger than it had been at its start")


def _arena(text: str) -> int | NotMeasured:
    """Of the last state that was printed, the one after the inferences."""
    state = text.rpartition("Memory Arena Status Start")[2].partition("Memory Arena Status End")[0]
    if "Memory Arena Status Start" not in text:
        return NotMeasured("this benchmark_model does not print the size of its arenas")
    total = re.search(r"Total arena memory usage: (\d+) bytes", state)
    if total:
        return int(total[1])
    return sum(int(size) for size in re.findall(r"Arena \((?:Normal|Persistent)\)\s+(\d+)", state))


def _delegations(text: str) -> Iterator[Delegation]:
    for name, extent in re.findall(r"\b[Aa]pplied (\w+) delegate(.*)", text):
        kernels = re.search(r"w/ (\d+) delegate kernels", extent)
        whole = "completely" in extent
        yield Delegation(name, 1 if whole else int(kernels[1]) if kernels else None, whole)
    for name in re.findall(r"Though (\w+) delegate is (?:explicitly )?applied, the model graph will not be", text):
        yield Delegation(name, 0, False)


def _replacements(text: str) -> Iterator[Replacement]:
    pattern = r"Replacing (\d+) (?:out of (\d+) )?node\(s\) with delegate \((.*?)\) node, yielding (\d+) partitions"
    for ops, of, kernel, partitions in re.findall(pattern, text):
        yield Replacement(kernel, int(ops), int(of) if of else None, int(partitions))


def _ignored(text: str) -> Iterator[str]:
    for flags in re.findall(r"Unconsumed cmdline flags:(.*)", text):
        yield from flags.split()
