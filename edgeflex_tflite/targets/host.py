"""This machine: every file in fresh processes, memory first, then latency in turn."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import sha256_of_file
from edgeflex_tflite.parse import load_file
from edgeflex_tflite.targets import protocol as timing
from edgeflex_tflite.targets.apart import Apart
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.measurement import Environment, Measurement, Ratio
from edgeflex_tflite.targets.runtimes import runtime_name
from edgeflex_tflite.targets.session import Round, Start
from edgeflex_tflite.threads import available_threads

BUSY_PERCENT = 10.0
"""Processors' time that others may take before the start without a warning."""
_LISTEN_SECS = 0.5


@dataclass(frozen=True)
class Case:
    """One row of the results to come.

    Attributes:
        file: Path of a .tflite file.
        config: What runs it.
        variant: What sets it apart from other cases of the same file.
        title: What the results call it, instead of its path.
        timed: Its latency is measured; else only its start.
    """

    file: str
    config: RuntimeConfig
    variant: str = ""
    title: str = ""
    timed: bool = True

    @property
    def name(self) -> str:
        """File and variant, as in `Measurement.name`."""
        name = self.title or self.file
        return f"{name} ({self.variant})" if self.variant else name


@dataclass(frozen=True)
class HostResults:
    """What one call measured.

    Attributes:
        measurements: One for each case, in order.
        ratios: Of every two timed cases.
    """

    measurements: tuple[Measurement, ...]
    ratios: tuple[Ratio, ...]


def benchmark_files(
    files: Sequence[str | Path], config: RuntimeConfig | None = None, protocol: Protocol | None = None
) -> HostResults:
    """Measure .tflite files on this machine, in turn and each in processes of its own.

    Args:
        files: Their paths.
        config: What runs them; by default ai_edge_litert's interpreter with XNNPACK, on all cores of this process.
        protocol: For how long; by default `Protocol()`.

    Raises:
        UserError: A file is not a .tflite, or the runtime refuses it, or dies on it.
    """
    config = config or RuntimeConfig(num_threads=available_threads())
    return measure(plain_cases([str(file) for file in files], config), protocol or Protocol())


def plain_cases(files: Sequence[str], config: RuntimeConfig) -> list[Case]:
    """Each file once."""
    return [Case(file, config) for file in files]


def signature_cases(files: Sequence[str], config: RuntimeConfig, signatures: Sequence[str]) -> list[Case]:
    """Each signature of each file."""
    return [Case(file, replace(config, signature=name), name) for file in files for name in signatures]


def weight_cache_cases(files: Sequence[str], config: RuntimeConfig, folder: Path) -> list[Case]:
    """Each file without XNNPACK's weight cache, when it writes it, and when it finds it.

    Args:
        files: Paths of .tflite files.
        config: What runs them.
        folder: An empty folder for the caches.
    """
    cases = []
    for number, file in enumerate(files):
        cached = replace(config, weight_cache=str(folder / f"{number}.xnnpack"))
        cases += [
            Case(file, config, "no weight cache"),
            Case(file, cached, "weight cache, first start", timed=False),
            Case(file, cached, "weight cache, later starts"),
        ]
    return cases


def check(cases: Sequence[Case], protocol: Protocol) -> None:
    """Everything that can be known to be wrong before any file runs.

    Raises:
        UserError: A file is not a .tflite, or the choices contradict each other or this machine.
    """
    protocol.check()
    known = {case.file: [signature.name for signature in load_file(case.file).signatures] for case in cases}
    for case in cases:
        if case.config.signature not in (None, *known[case.file]):
            raise UserError(
                f"{case.file} has no signature {case.config.signature!r}: its signatures are "
                f"{', '.join(known[case.file]) or 'none'}"
            )
    for config in {case.config.api: case.config for case in cases}.values():
        if config.api == "compiled_model" and config.runtime != "ai_edge_litert":
            raise UserError(f"--api=compiled_model is of ai_edge_litert; {config.runtime} has --api=interpreter")
    for case in cases:
        if case.config.weight_cache and (case.config.api != "compiled_model" or case.config.delegate != "xnnpack"):
            raise UserError("the weight cache is XNNPACK's, reached by --api=compiled_model --delegate=xnnpack alone")
        if case.config.num_threads < 1:
            raise UserError(f"num_threads is {case.config.num_threads}: give 1 or more")


def measure(
    cases: Sequence[Case],
    protocol: Protocol,
    *,
    seed: int = 0,
    target: str = "host",
    done: Callable[[], None] = lambda: None,
) -> HostResults:
    """Measure files on this machine.

    Each case's memory and start are taken in a fresh process in which nothing else happens; then all are loaded in
    further processes and timed in turn.

    Args:
        cases: What to measure.
        protocol: For how long.
        seed: Of the inputs.
        target: Name for the results; another than "host" where a delegate runs them elsewhere.
        done: Called after each of `steps(cases, protocol)` steps.

    Raises:
        UserError: See `check`; or the runtime refuses a file, or dies on it.
    """
    check(cases, protocol)
    busy = _busy_warnings()
    starts = [_start(case, seed, done) for case in cases]
    timed = [case for case in cases if case.timed]
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Apart(case.file, case.config, seed)) for case in timed]
        for session in sessions:
            session.start()
        rounds = timing.in_turn(sessions, protocol, done)
    in_order = iter(rounds)
    return HostResults(
        measurements=tuple(
            _measurement(case, target, start, next(in_order) if case.timed else None, busy, protocol)
            for case, start in zip(cases, starts, strict=True)
        ),
        ratios=() if protocol.sustained_mins else timing.ratios([case.name for case in timed], rounds),
    )


def steps(cases: Sequence[Case], protocol: Protocol) -> int:
    """How often `measure` calls `done`."""
    turns = 1 if protocol.sustained_mins else protocol.rounds
    return len(cases) + turns * sum(case.timed for case in cases)


def _start(case: Case, seed: int, done: Callable[[], None]) -> Start:
    with Apart(case.file, case.config, seed) as session:
        start = session.start()
    done()
    return start


def describe(config: RuntimeConfig, target: str = "host") -> Environment:
    """This machine and runtime."""
    return Environment(
        target=target,
        device=platform.node(),
        cpu=cpu_name(),
        clock=_clock(),
        threads=config.num_threads,
        runtime=runtime_name(config),
        delegate=config.delegate + (" with weight cache" if config.weight_cache else ""),
        system=platform.platform(),
    )


def _measurement(
    case: Case,
    target: str,
    start: Start,
    rounds: Sequence[Round] | None,
    busy: Sequence[str],
    protocol: Protocol,
) -> Measurement:
    path = Path(case.file)
    whole = timing.latency(rounds) if rounds else None
    return Measurement(
        file=case.title or case.file,
        sha256=sha256_of_file(path),
        file_bytes=path.stat().st_size,
        environment=describe(case.config, target),
        startup_ms=start.startup_ms,
        first_ms=start.first_ms,
        latency=whole or NotMeasured("only its start differs from that of the other cases"),
        memory=start.memory,
        variant=case.variant,
        drift=timing.drift(whole.samples_ms) if whole and protocol.sustained_mins else None,
        warnings=(*busy, *timing.spread_warnings(rounds)) if rounds else (),
    )


def _busy_warnings() -> list[str]:
    used = psutil.cpu_percent(interval=_LISTEN_SECS)
    if used <= BUSY_PERCENT:
        return []
    return [f"before the start, others used {used:.0f} % of the machine's processors; believe ratios only"]


def cpu_name() -> str | NotMeasured:
    """The processor of this machine, and its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or NotMeasured("the system has no /proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Hardware", "Model"))]
    return f"{names[0]}, {psutil.cpu_count()} cores" if names else NotMeasured("/proc/cpuinfo names no processor")


def _clock() -> str | NotMeasured:
    frequency = psutil.cpu_freq()
    if frequency is None:
        return NotMeasured("the system does not tell the processor's frequency")
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    by = governor.read_text().strip() if governor.is_file() else "governor not told"
    return f"{frequency.current:.0f} MHz ({by})"
