"""Measuring on this machine: real processes, real files, and what happens when a file or the runtime fails."""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory import plan_arena
from edgeflex_tflite.targets import coral, host, runtimes
from edgeflex_tflite.targets.apart import Apart
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.measurement import Latency, Measurement, Memory
from edgeflex_tflite.targets.process_memory import heap_bytes, reset_peak, resident
from edgeflex_tflite.targets.runtimes import example, runtime_name
from tests.targets.signatures import write_two_signatures
from tests.tiny import Tiny

BRIEF = Protocol(warmup_runs=1, min_runs=6, min_secs=0, rounds=2)
MEGABYTE = 1_000_000
PLAIN = RuntimeConfig(delegate="none")


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One FULLY_CONNECTED with 16 MB of FP32 weights."""
    t = Tiny()
    x, y = t.tensor(1, 2000), t.tensor(1, 2000)
    t.op("FULLY_CONNECTED", [x, t.constant(np.ones((2000, 2000)))], [y], table="FullyConnectedOptions")
    path = tmp_path_factory.mktemp("big") / "big.tflite"
    path.write_bytes(t.build([x], [y]))
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    t = Tiny()
    x, y = t.tensor(1, 8), t.tensor(1, 8)
    t.op("TANH", [x], [y])
    path = tmp_path / "small.tflite"
    path.write_bytes(t.build([x], [y]))
    return path


@pytest.fixture(scope="module")
def memories(big: Path) -> tuple[Memory, Memory]:
    """Of the large file, with the built-in kernels and with XNNPACK."""
    cases = [host.Case(str(big), PLAIN), host.Case(str(big), RuntimeConfig())]
    plain, packed = host.measure(cases, BRIEF).measurements
    return plain.memory, packed.memory


def measured(path: Path, config: RuntimeConfig = RuntimeConfig(), how: Protocol = BRIEF) -> Measurement:  # noqa: B008
    return host.measure(host.plain_cases([str(path)], config), how).measurements[0]


def of(figure: int | NotMeasured) -> int:
    assert isinstance(figure, int), figure
    return figure


@pytest.fixture(scope="module")
def two_signatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_signatures(tmp_path_factory.mktemp("signatures"))


def test_each_signature_is_run_by_itself(two_signatures: Path) -> None:
    cases = host.signature_cases([str(two_signatures)], PLAIN, ["first", "second"])
    first, second = host.measure(cases, BRIEF).measurements
    assert [first.variant, second.variant] == ["first", "second"]
    plans = [plan_arena(two_signatures, graph=graph).total_bytes for graph in (0, 1)]
    assert [of(each.memory.arena_bytes) for each in (first, second)] == plans


def test_a_signature_through_compiled_model(two_signatures: Path) -> None:
    config = RuntimeConfig(api="compiled_model", signature="second")
    loaded = runtimes.load(two_signatures, config)
    loaded.set_inputs(0)
    loaded.invoke()
    assert loaded._outputs[0].read(4000, np.float32).shape == (4000,)  # type: ignore[attr-defined]


def test_a_signature_that_the_file_has_not(two_signatures: Path, small: Path) -> None:
    for path, known in ((two_signatures, "first, second"), (small, "none")):
        cases = host.signature_cases([str(path)], RuntimeConfig(), ["batch_4"])
        with pytest.raises(UserError, match=f"has no signature 'batch_4': its signatures are {known}"):
            host.check(cases, BRIEF)


def test_the_measured_arena_without_delegate_is_the_planned_one(quantized_vit: Callable[[str], Path]) -> None:
    for form in ("float", "dynamic_wi8_afp32"):
        path = quantized_vit(form)
        assert measured(path, PLAIN).memory.arena_bytes == plan_arena(path).total_bytes


def test_with_xnnpack_weights_are_packed_outside_the_arena(memories: tuple[Memory, Memory]) -> None:
    plain, packed = memories
    assert of(plain.runtime_bytes) < 1 * MEGABYTE, "the built-in kernel reads weights from the file"
    assert 16 * MEGABYTE <= of(packed.runtime_bytes) < 20 * MEGABYTE, "XNNPACK keeps a packed copy"
    assert of(packed.arena_bytes) < 1 * MEGABYTE


def test_the_process_is_split_into_anonymous_and_file_backed(memories: tuple[Memory, Memory]) -> None:
    plain, packed = memories
    assert of(plain.process_file_bytes) >= 16 * MEGABYTE, "the mapped weights were read"
    assert of(plain.process_anonymous_bytes) < 8 * MEGABYTE
    assert of(packed.process_anonymous_bytes) >= 16 * MEGABYTE
    assert of(packed.process_peak_bytes) >= 30 * MEGABYTE, "both copies at once"


def test_every_file_is_measured_in_a_fresh_process(big: Path, small: Path) -> None:
    """What the large file left behind does not count for the small one."""
    results = host.measure(host.plain_cases([str(big), str(small)], RuntimeConfig()), BRIEF)
    assert of(results.measurements[1].memory.runtime_bytes) < 2 * MEGABYTE
    assert of(results.measurements[1].memory.process_anonymous_bytes) < 8 * MEGABYTE


def test_a_measurement_has_what_was_asked_for(big: Path, small: Path) -> None:
    told: list[None] = []
    cases = host.plain_cases([str(big), str(small), str(small)], replace(PLAIN, num_threads=2))
    results = host.measure(cases, BRIEF, done=lambda: told.append(None))
    assert len(told) == host.steps(cases, BRIEF)
    assert [m.file for m in results.measurements] == [str(big), str(small), str(small)]
    assert [(r.file, r.over) for r in results.ratios] == [(str(small), str(big))] * 2 + [(str(small), str(small))]
    for m in results.measurements:
        assert isinstance(m.latency, Latency)
        assert len(m.latency.samples_ms) == m.latency.count == BRIEF.min_runs
        assert isinstance(m.startup_ms, float)
        assert m.file_bytes == Path(m.file).stat().st_size
        assert (m.environment.threads, m.environment.delegate) == (2, "none")
        assert m.environment.runtime == runtime_name(PLAIN)


def test_files_are_benchmarked_in_one_call_from_python(small: Path) -> None:
    (found,) = host.benchmark_files([small], protocol=BRIEF).measurements
    assert isinstance(found.latency, Latency)
    assert found.latency.count == BRIEF.min_runs
    assert found.environment.delegate == "xnnpack"


def test_a_sustained_run_tells_its_drift(small: Path) -> None:
    found = measured(small, how=replace(BRIEF, sustained_mins=0.001))
    assert found.drift is not None
    assert len(found.drift.window_medians_ms) > 1


def test_the_weight_cache_takes_the_packed_copy_out_of_anonymous_memory(big: Path, tmp_path: Path) -> None:
    config = RuntimeConfig(api="compiled_model")
    cases = host.weight_cache_cases([str(big)], config, tmp_path)
    without, first, later = host.measure(cases, BRIEF).measurements
    assert [m.variant for m in (without, first, later)] == [case.variant for case in cases]
    saved = of(without.memory.process_anonymous_bytes) - of(later.memory.process_anonymous_bytes)
    assert saved > 12 * MEGABYTE
    assert isinstance(first.latency, NotMeasured)
    assert isinstance(later.latency, Latency)


def test_what_compiled_model_hides_is_blank_with_the_reason(small: Path) -> None:
    memory = measured(small, RuntimeConfig(api="compiled_model")).memory
    assert isinstance(memory.arena_bytes, NotMeasured)
    assert "--api=interpreter" in memory.arena_bytes.reason
    assert isinstance(memory.runtime_bytes, NotMeasured)
    assert isinstance(memory.process_peak_bytes, int)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (RuntimeConfig(runtime="tflite_runtime", api="compiled_model"), "ai_edge_litert"),
        (RuntimeConfig(weight_cache="cache"), "compiled_model"),
        (RuntimeConfig(num_threads=0), "num_threads"),
    ],
)
def test_contradictions_are_refused_before_anything_runs(small: Path, config: RuntimeConfig, says: str) -> None:
    with pytest.raises(UserError, match=says):
        host.check(host.plain_cases([str(small)], config), BRIEF)


def test_a_runtime_that_is_not_installed_is_not_replaced(small: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    for name, package in (("tflite_runtime", "tflite-runtime"), ("tensorflow", "tensorflow")):
        try:
            __import__(name)
        except ImportError:
            with pytest.raises(UserError, match=f"pip install {package}"):
                measured(small, RuntimeConfig(runtime=name))


def test_a_file_that_the_runtime_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.op("ADD", [x, t.constant(np.ones(3))], [y], table="AddOptions")
    path = tmp_path / "odd.tflite"
    path.write_bytes(t.build([x], [y]))
    with pytest.raises(UserError, match="cannot load"):
        measured(path)


def test_a_process_that_is_killed_is_told_as_such(small: Path) -> None:
    with Apart(str(small), PLAIN, 0) as session:
        session.start()
        os.kill(session._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="ran out of memory"):
            session.run(1, 0)


def test_a_crash_is_told_with_its_signal(small: Path) -> None:
    with Apart(str(small), PLAIN, 0) as session:
        session.start()
        os.kill(session._process.pid, signal.SIGSEGV)
        with pytest.raises(UserError, match="SIGSEGV"):
            session.run(1, 0)


def test_inputs_are_valid_for_any_model() -> None:
    rng = np.random.default_rng(0)
    floats, bytes_ = example((3, 4), np.dtype(np.float32), rng), example((1000,), np.dtype(np.int8), rng)
    assert floats.shape == (3, 4)
    assert 0 <= floats.min() < floats.max() < 1
    assert (bytes_.min(), bytes_.max()) == (-128, 127)
    assert not example((2,), np.dtype(np.int32), rng).any(), "an index of zero is always there"
    with pytest.raises(UserError, match="text"):
        example((1,), np.dtype(object), rng)


def test_the_heap_follows_an_allocation() -> None:
    heap = heap_bytes()
    assert heap is not None
    block = np.ones(15 * MEGABYTE)
    assert heap_bytes() >= heap + block.nbytes  # type: ignore[operator]


def test_resident_memory_follows_a_mapping() -> None:
    """Not an array, which may get pages that the heap had free."""
    size, before = 120 * MEGABYTE, resident()
    assert before is not None
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        np.frombuffer(mapped, dtype=np.uint8)[:] = 1
        after = resident()
    assert after is not None
    assert after.anonymous_bytes >= before.anonymous_bytes + 0.9 * size
    assert reset_peak()
    found = resident()
    assert found is not None
    assert found.peak_bytes < after.total_bytes - 0.9 * size


def test_a_file_that_is_not_compiled_for_the_edge_tpu_is_refused(small: Path) -> None:
    with pytest.raises(UserError, match="edgetpu_compiler"):
        coral.check([str(small)], coral.config(RuntimeConfig(delegate="libedgetpu.so.1"), None))


def test_a_missing_edge_tpu_runtime_is_named(tmp_path: Path) -> None:
    compiled = edgetpu_file(tmp_path)
    with pytest.raises(UserError, match="no-such-libedgetpu"):
        coral.check([str(compiled)], coral.config(RuntimeConfig(delegate="no-such-libedgetpu.so"), "usb:0"))


STAND_IN = """
#include <stddef.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  report(count ? values[0] : "no device was named");
  return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
"""
"""A libedgetpu that finds no Edge TPU."""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to build the stand-in for libedgetpu with")
def test_an_edge_tpu_that_is_not_connected_is_told_in_the_librarys_words(tmp_path: Path) -> None:
    source, library = tmp_path / "stand_in.c", tmp_path / "libedgetpu.so.1"
    source.write_text(STAND_IN)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    compiled = str(edgetpu_file(tmp_path))
    config = coral.config(RuntimeConfig(delegate=str(library)), "usb:7")
    coral.check([compiled], config)
    with pytest.raises(UserError, match=r"usb:7.*connected"):
        host.measure(host.plain_cases([compiled], config), BRIEF, target="coral")


def edgetpu_file(folder: Path) -> Path:
    """What edgetpu_compiler leaves: one custom op."""
    t = Tiny()
    x, y = t.tensor(1, 8, dtype="INT8", scales=[0.1]), t.tensor(1, 8, dtype="INT8", scales=[0.1])
    t.op("CUSTOM", [x], [y], custom_code=coral.COMPILED_OP)
    path = folder / "model_edgetpu.tflite"
    path.write_bytes(t.build([x], [y]))
    return path
