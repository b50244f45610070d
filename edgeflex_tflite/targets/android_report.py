"""From what benchmark_model and the device said to a measurement, with everything that speaks against believing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import sha256_of_file
from edgeflex_tflite.targets.android_device import DeviceFacts, Heat, status_name
from edgeflex_tflite.targets.benchmark_model import BenchmarkToolError, ToolReport
from edgeflex_tflite.targets.benchmark_result import ToolResult
from edgeflex_tflite.targets.measurement import WIDE_TAIL, Environment, Latency, Measurement, Memory, OpTime

if TYPE_CHECKING:
    from edgeflex_tflite.targets.android import AndroidConfig

T = TypeVar("T")

WIDE_STD = 0.10
"""A standard deviation beyond this part of the mean."""

_XNNPACK_KERNEL = "TfLiteXNNPackDelegate"
_TOOLS_NAMES = {"xnnpack": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI", "external": "EXTERNAL"}
_DELEGATE_FLAGS = ("--use_", "--external_delegate", "--nnapi_", "--gpu_")


class DelegateUnusedError(UserError):
    """An accelerator was asked for and did nothing."""


@dataclass(frozen=True)
class Run:
    """What the tool left.

    Attributes:
        report: What it printed.
        result: What it wrote; None for an old tool, which writes nothing.
        ops: Profile of a run of its own.
    """

    report: ToolReport
    result: ToolResult | None
    ops: tuple[OpTime, ...] = ()


@dataclass(frozen=True)
class State:
    """The device before or after.

    Attributes:
        clock: Frequencies and governors.
        heat: Thermal status and temperatures.
    """

    clock: str | NotMeasured
    heat: Heat


@dataclass(frozen=True)
class Visit:
    """What was seen of the device.

    Attributes:
        facts: What it is.
        free_bytes: Free storage before anything was copied to it.
        before, after: Its state before and after the run.
        leftover: What could not be deleted on it, or "".
    """

    facts: DeviceFacts
    free_bytes: int | NotMeasured
    before: State
    after: State
    leftover: str = ""


def refuse_useless(config: AndroidConfig, run: Run) -> None:
    """Before more time is spent on it.

    Raises:
        DelegateUnusedError: An accelerator was asked for and took no op.
        BenchmarkToolError: The tool ended well and gave no time.
    """
    latency = _figures(run).latency
    if isinstance(latency, NotMeasured):
        raise BenchmarkToolError(f"benchmark_model ended well and gave no time: {latency.reason}")
    if config.delegate not in {"none", "xnnpack"} and not _took_ops(config, run.report):
        raise _unused(config, run.report)


def measurement(path: Path, config: AndroidConfig, program: Path, run: Run, visit: Visit) -> Measurement:
    """All that is known of one file.

    Args:
        path: The file, as the user named it.
        config: What was asked for.
        program: The benchmark_model that ran.
        run: What the tool said.
        visit: What was seen of the device.
    """
    figures = _figures(run)
    return Measurement(
        file=str(path),
        sha256=sha256_of_file(path),
        file_bytes=path.stat().st_size,
        environment=_environment(config, program, visit),
        startup_ms=figures.startup_ms,
        first_ms=figures.first_ms,
        latency=figures.latency,
        memory=_memory(run.report.arena_bytes, figures.peak_delta_bytes),
        ops=run.ops,
        state=_state(run.report, visit),
        warnings=tuple(_warnings(config, run, figures.latency, visit)),
    )


def _figures(run: Run) -> ToolResult:
    """What the tool wrote, and what it only printed."""
    told = run.report
    printed = ToolResult(told.startup_ms, told.first_ms, told.latency, told.peak_delta_bytes)
    written = run.result or printed
    return ToolResult(
        startup_ms=_first(written.startup_ms, printed.startup_ms),
        first_ms=_first(written.first_ms, printed.first_ms),
        latency=_first(written.latency, printed.latency),
        peak_delta_bytes=_first(written.peak_delta_bytes, printed.peak_delta_bytes),
    )


def _first(preferred: T | NotMeasured, other: T | NotMeasured) -> T | NotMeasured:
    return other if isinstance(preferred, NotMeasured) else preferred


def _environment(config: AndroidConfig, program: Path, visit: Visit) -> Environment:
    detail = config.nnapi_accelerator or (Path(config.delegate_path).name if config.delegate_path else "")
    return Environment(
        target="android",
        device=visit.facts.name,
        cpu=visit.facts.cpu,
        clock=visit.before.clock,
        threads=config.threads,
        runtime=f"benchmark_model, which tells no version (SHA-256 {sha256_of_file(program)[:16]}...)",
        delegate=f"{config.delegate} ({detail})" if detail else config.delegate,
        system=visit.facts.system,
    )


def _memory(arena: int | NotMeasured, peak: int | NotMeasured) -> Memory:
    split = NotMeasured("benchmark_model does not tell anonymous memory from mapped files at its peak")
    heap = NotMeasured("benchmark_model does not tell what of the heap is the runtime's")
    return Memory(arena, heap, peak, split, split)


def _state(report: ToolReport, visit: Visit) -> dict[str, str]:
    state = {"heat before": str(visit.before.heat), "heat after": str(visit.after.heat)}
    if not isinstance(visit.free_bytes, NotMeasured):
        state["free storage before"] = f"{visit.free_bytes / 1e6:.0f} MB"
    if report.replacements:
        state["delegation"] = "; ".join(
            f"{one.kernel} took {one.ops}{f' of {one.of}' if one.of else ''} ops, leaving {one.partitions} pieces"
            for one in report.replacements
        )
    return state


def _unused(config: AndroidConfig, report: ToolReport) -> DelegateUnusedError:
    ignored = [flag for flag in report.ignored_flags if flag.startswith(_DELEGATE_FLAGS)]
    why = (
        f" This benchmark_model does not know {', '.join(ignored)}: use a build with that delegate." if ignored else ""
    )
    return DelegateUnusedError(
        f"The {config.delegate} delegate was asked for and took no op, so everything ran on the CPU.{why} "
        "Measure with the delegate xnnpack, or with a file whose ops that delegate supports."
    )


def _took_ops(config: AndroidConfig, report: ToolReport) -> bool:
    """An old tool that only says that it applied the delegate is believed."""
    name = _TOOLS_NAMES.get(config.delegate)
    return any(one.name == name and one.kernels != 0 for one in report.delegations)


def _warnings(config: AndroidConfig, run: Run, latency: Latency | NotMeasured, visit: Visit) -> Iterator[str]:
    yield from _delegate_warnings(config, run.report)
    yield from _heat_warnings(visit.before, visit.after)
    if isinstance(latency, Latency):
        yield from _spread_warnings(config, latency)
    if config.op_profile and not run.ops:
        yield "no profile by operator: this benchmark_model prints none that could be read"
    names = [flag.partition("=")[0] for flag in run.report.ignored_flags]
    if names:
        yield f"this benchmark_model does not know {', '.join(names)} and ignored it"
    if visit.leftover:
        yield visit.leftover


def _delegate_warnings(config: AndroidConfig, report: ToolReport) -> Iterator[str]:
    by_xnnpack = [one for one in report.replacements if one.kernel == _XNNPACK_KERNEL]
    if config.delegate == "none" and by_xnnpack:
        yield f"XNNPACK was forbidden and took {sum(one.ops for one in by_xnnpack)} ops all the same"
    if config.delegate == "xnnpack" and not _took_ops(config, report):
        yield "XNNPACK was asked for and took no op: TFLite's own kernels were measured"
    for one in report.delegations:
        if config.delegate not in {"none", "xnnpack"} and one.kernels and not one.whole_graph:
            taken = [other for other in report.replacements if other.kernel != _XNNPACK_KERNEL]
            of = sum(other.of or 0 for other in taken)
            share = f"{sum(other.ops for other in taken)} of {of} ops" if of else "a part of the ops"
            yield f"the {config.delegate} delegate took {share}, in {one.kernels} pieces; the CPU ran the others"


def _heat_warnings(before: State, after: State) -> Iterator[str]:
    first, last = before.heat.status, after.heat.status
    if first is not None and last is not None and (first or last):
        yield (
            f"the device throttles: thermal status {first} ({status_name(first)}) before, "
            f"{last} ({status_name(last)}) after; let it cool down and measure again"
        )
    if before.clock != after.clock:
        yield f"the frequencies that the processor may use changed during the run, after it: {_text(after.clock)}"


def _text(clock: str | NotMeasured) -> str:
    return clock.reason if isinstance(clock, NotMeasured) else clock


def _spread_warnings(config: AndroidConfig, latency: Latency) -> Iterator[str]:
    if latency.std_ms > WIDE_STD * latency.mean_ms:
        yield f"the times spread widely: standard deviation {latency.std_ms / latency.mean_ms:.0%} of the mean"
    tail, median = latency.p95_ms, latency.median_ms
    if isinstance(tail, float) and isinstance(median, float) and tail > WIDE_TAIL * median:
        yield f"the slowest 5% took more than {tail / median:.2f} times the median"
    if latency.count < config.min_runs:
        yield f"only {latency.count} inferences of the {config.min_runs} asked for: the tool's own time limit ended it"
