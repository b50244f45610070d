"""The protobuf that `benchmark_model --result_file_path` writes.

The message types are built here from field names, numbers and types, so that no generated code is needed; fields that
a newer tool adds are skipped by protobuf itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.benchmark_model import NO_SAMPLES, peak_delta
from edgeflex_tflite.targets.measurement import Latency

PACKAGE = "tflite.tools.benchmark"

_FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "LatencyMetrics": {
        "avg_ms": (1, "float"),
        "min_ms": (2, "float"),
        "max_ms": (3, "float"),
        "stddev_ms": (4, "float"),
        "median_ms": (5, "float"),
        "p5_ms": (6, "float"),
        "p95_ms": (7, "float"),
        "init_ms": (8, "float"),
        "first_inference_ms": (9, "float"),
        "average_warm_up_ms": (10, "float"),
    },
    "MemoryMetrics": {
        "init_footprint_kb": (1, "int64"),
        "overall_footprint_kb": (2, "int64"),
        "peak_mem_mb": (3, "float"),
    },
    "MiscMetrics": {
        "model_size_mb": (1, "float"),
        "num_runs": (2, "int32"),
        "num_warmup_runs": (3, "int32"),
        "model_throughput_in_mb_per_sec": (4, "float"),
    },
    "BenchmarkResult": {
        "name": (1, "string"),
        "latency_metrics": (2, "LatencyMetrics"),
        "memory_metrics": (3, "MemoryMetrics"),
        "misc_metrics": (4, "MiscMetrics"),
    },
}
"""`tools/benchmark/proto/benchmark_result.proto` of TFLite: field -> number and type."""


@dataclass(frozen=True)
class ToolResult:
    """What the tool wrote; the times have more digits than those that it prints.

    Attributes:
        startup_ms, first_ms, latency, peak_delta_bytes: As in `benchmark_model.ToolReport`.
    """

    startup_ms: float | NotMeasured
    first_ms: float | NotMeasured
    latency: Latency | NotMeasured
    peak_delta_bytes: int | NotMeasured


def read_result(content: bytes) -> ToolResult:
    """What was written is given, what was not is `NotMeasured`.

    Raises:
        UserError: The bytes are not such a result.
    """
    result = message_class("BenchmarkResult")()
    try:
        result.ParseFromString(content)
    except DecodeError as error:
        raise UserError(f"The result file of benchmark_model is damaged ({error}): run it again.") from error
    times, misc = result.latency_metrics, result.misc_metrics
    kilobytes = _given(result.memory_metrics, "overall_footprint_kb")
    return ToolResult(
        startup_ms=_given(times, "init_ms"),
        first_ms=_given(times, "first_inference_ms") if misc.num_warmup_runs else NotMeasured("there was no warm-up"),
        latency=_latency(times, misc.num_runs),
        peak_delta_bytes=kilobytes if isinstance(kilobytes, NotMeasured) else peak_delta(kilobytes * 1024),
    )


def _latency(times: Any, count: int) -> Latency | NotMeasured:
    if not count or not all(times.HasField(name) for name in ("avg_ms", "min_ms", "max_ms", "stddev_ms")):
        return NotMeasured("the result file of benchmark_model holds no inference")
    return Latency(
        count=count,
        min_ms=times.min_ms,
        mean_ms=times.avg_ms,
        max_ms=times.max_ms,
        std_ms=times.stddev_ms,
        p5_ms=_given(times, "p5_ms"),
        median_ms=_given(times, "median_ms"),
        p95_ms=_given(times, "p95_ms"),
        p99_ms=NotMeasured(NO_SAMPLES),
    )


def _given(message: Any, name: str) -> Any:
    if message.HasField(name):
        return getattr(message, name)
    return NotMeasured(f"the result file of benchmark_model has no {name}")


@cache
def message_class(name: str) -> Any:
    """A message type of `_FIELDS`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="benchmark_result.proto", package=PACKAGE, syntax="proto2")
    for message_name, fields in _FIELDS.items():
        message = file.message_type.add(name=message_name)
        for field_name, (number, kind) in fields.items():
            field = message.field.add(
                name=field_name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
            if kind in _FIELDS:
                field.type_name = f".{PACKAGE}.{kind}"
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
            else:
                field.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
