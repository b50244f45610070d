"""What a benchmark gives: raw samples, three memory figures that are never merged, and a reason for every blank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgeflex_tflite.artifacts import NotMeasured

WIDE_TAIL = 1.25
"""A 95th percentile beyond this many medians is not the model's doing."""


@dataclass(frozen=True)
class Latency:
    """Times of single inferences.

    Attributes:
        count: How many.
        min_ms, mean_ms, max_ms: Of all of them.
        std_ms: Standard deviation of the sample, n in the denominator.
        p5_ms, median_ms, p95_ms, p99_ms: Percentiles.
        samples_ms: Each one, in the order of measurement; empty where the device's tool only gives a summary.
    """

    count: int
    min_ms: float
    mean_ms: float
    max_ms: float
    std_ms: float
    p5_ms: float | NotMeasured
    median_ms: float | NotMeasured
    p95_ms: float | NotMeasured
    p99_ms: float | NotMeasured
    samples_ms: tuple[float, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Latency:
        """Of at least one sample."""
        p5, median, p95, p99 = (float(value) for value in np.percentile(samples_ms, (5, 50, 95, 99)))
        return cls(
            count=len(samples_ms),
            min_ms=float(np.min(samples_ms)),
            mean_ms=float(np.mean(samples_ms)),
            max_ms=float(np.max(samples_ms)),
            std_ms=float(np.std(samples_ms)),
            p5_ms=p5,
            median_ms=median,
            p95_ms=p95,
            p99_ms=p99,
            samples_ms=tuple(samples_ms),
        )


@dataclass(frozen=True)
class Memory:
    """Three figures that answer three questions; none contains another by definition.

    Attributes:
        arena_bytes: The runtime's tensor arenas in the measured configuration; with a delegate little is left in them.
        runtime_bytes: Heap that the runtime owns besides: packed weights, the delegate's workspace, its own objects.
        process_peak_bytes: Largest resident memory of the process over the idle interpreter's, up to the first answer.
        process_anonymous_bytes: After the first answer, over the idle interpreter: memory that no file backs.
        process_file_bytes: The same of mapped files: the model, the weight cache, libraries that were loaded late.
    """

    arena_bytes: int | NotMeasured
    runtime_bytes: int | NotMeasured
    process_peak_bytes: int | NotMeasured
    process_anonymous_bytes: int | NotMeasured
    process_file_bytes: int | NotMeasured

    @classmethod
    def nothing(cls, reason: str) -> Memory:
        """No figure at all, for one reason."""
        return cls(*[NotMeasured(reason)] * 5)


@dataclass(frozen=True)
class OpTime:
    """A line of the runtime's operator profile.

    Attributes:
        name: Operator, or the delegate's kernel.
        count: Calls in one inference.
        mean_ms: Time of all these calls in one inference.
    """

    name: str
    count: int
    mean_ms: float


@dataclass(frozen=True)
class Drift:
    """How latency changed over a long run without pauses.

    Attributes:
        window_medians_ms: Median of each of equally many inferences, in order.
        last_over_first: Last window's median over the first one's.
        percent_per_minute: Theil-Sen slope over the windows, relative to the first one.
    """

    window_medians_ms: tuple[float, ...]
    last_over_first: float
    percent_per_minute: float


@dataclass(frozen=True)
class Environment:
    """Where and with what it was measured.

    Attributes:
        target: "host", "android" or "coral".
        device: Name of the machine or device.
        cpu: Processor.
        clock: Frequency and governor, as the system tells them.
        threads: Threads of the interpreter.
        runtime: Name and version of the runtime, e.g. "ai-edge-litert 2.3.0 Interpreter".
        delegate: What ran the ops, e.g. "xnnpack", "none", "gpu", "edgetpu".
        system: Operating system.
    """

    target: str
    device: str
    cpu: str | NotMeasured
    clock: str | NotMeasured
    threads: int
    runtime: str
    delegate: str
    system: str


@dataclass(frozen=True)
class Measurement:
    """One file on one target.

    Attributes:
        file: Path as the user gave it.
        sha256: Of the file's content.
        file_bytes: Length of the file.
        environment: Where.
        startup_ms: From a fresh process with the runtime loaded to allocated tensors, the file in the page cache.
        first_ms: The first inference.
        latency: Inferences after warm-up.
        memory: Three figures.
        variant: What sets it apart from other measurements of the same file in the same call.
        drift: Of a sustained run, else None.
        ops: The runtime's profile by operator, longest first; empty when it was not asked for.
        state: What the device said before and after: temperatures, throttling, free storage.
        warnings: What a reader has to know before believing the figures.
    """

    file: str
    sha256: str
    file_bytes: int
    environment: Environment
    startup_ms: float | NotMeasured
    first_ms: float | NotMeasured
    latency: Latency | NotMeasured
    memory: Memory
    variant: str = ""
    drift: Drift | None = None
    ops: tuple[OpTime, ...] = ()
    state: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """File and variant."""
        return f"{self.file} ({self.variant})" if self.variant else self.file


@dataclass(frozen=True)
class Ratio:
    """Latency of one file over another's, both measured in turn.

    Attributes:
        file, over: The two, as the user named them.
        median: Median over the rounds of (median of `file`) / (median of `over`).
        low, high: Smallest and largest of the rounds.
        rounds: Each round's.
    """

    file: str
    over: str
    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, file: str, over: str, rounds: Sequence[float]) -> Ratio:
        """Of at least one round."""
        return cls(file, over, float(np.median(rounds)), min(rounds), max(rounds), tuple(rounds))
