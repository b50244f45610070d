"""One file in a process of its own: what it takes to load, what its inferences cost."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory import allocated_bytes
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.targets.config import RuntimeConfig
from edgeflex_tflite.targets.measurement import Memory
from edgeflex_tflite.targets.process_memory import heap_bytes, reset_peak, resident
from edgeflex_tflite.targets.runtimes import Loaded, import_runtime, load


@dataclass(frozen=True)
class Start:
    """What happened before the first timed inference.

    Attributes:
        startup_ms: Loading and allocating, the runtime's library loaded already, the file in the page cache.
        first_ms: The first inference.
        memory: After the first inference; the peak is over everything since the runtime's library was loaded.
    """

    startup_ms: float
    first_ms: float
    memory: Memory


@dataclass(frozen=True)
class Round:
    """Inferences one after the other.

    Attributes:
        samples_ms: Each one's time.
        preemptions: How often the system took the processor from this thread during them.
    """

    samples_ms: tuple[float, ...]
    preemptions: int


class Session:
    """Lives in the process that runs the file; `edgeflex_tflite.targets.apart.Apart` calls it from outside."""

    def __init__(self, path: str, config: RuntimeConfig, seed: int) -> None:
        self._path, self._config, self._seed = Path(path), config, seed
        self._model: Loaded | None = None

    def start(self) -> Start:
        """Load the file and run it once.

        Raises:
            UserError: The runtime is not there or refuses the file.
        """
        import_runtime(self._config)
        peak_is_ours = reset_peak()
        idle, heap = resident(), heap_bytes()
        begin = time.perf_counter()
        self._model = load(self._path, self._config)
        startup_ms = _since_ms(begin)
        arena = self._arena()
        self._model.set_inputs(self._seed)
        begin = time.perf_counter()
        self._invoke()
        first_ms = _since_ms(begin)
        runtime = _runtime_bytes(arena, heap, heap_bytes())
        now = resident()
        if idle is None or now is None:
            gone = NotMeasured("the system has no /proc/self/status")
            return Start(startup_ms, first_ms, Memory(arena, runtime, gone, gone, gone))
        peak = now.peak_bytes - idle.total_bytes if peak_is_ours else NotMeasured("/proc/self/clear_refs is closed")
        anonymous, file = now.anonymous_bytes - idle.anonymous_bytes, now.file_bytes - idle.file_bytes
        return Start(startup_ms, first_ms, Memory(arena, runtime, peak, anonymous, file))

    def run(self, min_runs: int, min_secs: float) -> Round:
        """Run at least so often and so long."""
        import resource

        samples: list[float] = []
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw
        begin = time.perf_counter()
        elapsed = 0.0
        while len(samples) < min_runs or elapsed < min_secs:
            start = time.perf_counter()
            self._invoke()
            samples.append(_since_ms(start))
            elapsed = time.perf_counter() - begin
        return Round(tuple(samples), resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw - before)

    def _invoke(self) -> None:
        assert self._model is not None
        try:
            self._model.invoke()
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self._path} fails when it runs: {str(error).splitlines()[0]}") from error

    def _arena(self) -> int | NotMeasured:
        if self._model is None or self._model.wrapper is None:
            return NotMeasured("CompiledModel does not show its tensors; --api=interpreter does")
        return allocated_bytes(self._model.wrapper, load_graphs(self._path), self._config.num_threads)


def _runtime_bytes(arena: int | NotMeasured, before: int | None, after: int | None) -> int | NotMeasured:
    """What the heap grew by besides the arena."""
    if before is None or after is None:
        return NotMeasured("the C library has no mallinfo2 (glibc 2.33)")
    if isinstance(arena, NotMeasured):
        grown = (after - before) / MEGABYTE
        return NotMeasured(f"cannot be told from the arena, which is hidden; both together take {grown:.2f} MB")
    return after - before - arena


def _since_ms(begin: float) -> float:
    return 1e3 * (time.perf_counter() - begin)
