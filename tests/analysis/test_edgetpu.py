"""The Edge TPU forecast against hand-made graphs, one for each documented rule, and against converted models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeflex_tflite.analysis.edgetpu import AFTER_CPU, REFUSED, EdgeTpuForecast, forecast, rules
from edgeflex_tflite.analysis.edgetpu_limits import LIMITS
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny

MIB = 2**20


class Net(Tiny):
    """Graphs of 8-bit tensors."""

    def int8(self, *shape: int) -> int:
        return self.tensor(*shape, dtype="INT8", scales=(0.1,))

    def weights(self, *shape: int, scales: int = 1) -> int:
        index = self.tensor(*shape, dtype="INT8", scales=(0.1,) * scales)
        size = 1
        for length in shape:
            size *= length
        self.store(index, bytes(size))
        return index

    def axes(self, *values: int) -> int:
        return self.constant(values, "INT32")

    def dense(self, source: int, rows: int, width: int, **options: Any) -> int:
        """FULLY_CONNECTED from `width` to `width`."""
        output = self.int8(rows, width)
        scales = options.pop("scales", 1)
        self.op("FULLY_CONNECTED", [source, self.weights(width, width, scales=scales), -1], [output], **options)
        return output

    def told(self, inputs: list[int], outputs: list[int]) -> EdgeTpuForecast:
        return forecast(load_graphs(self.build(inputs, outputs))[0])


def unary(name: str, shape: tuple[int, ...], dtype: str = "INT8", **options: Any) -> EdgeTpuForecast:
    net = Net()
    source, output = (net.tensor(*shape, dtype=dtype, scales=(0.1,)) for _ in range(2))
    net.op(name, [source], [output], **options)
    return net.told([source], [output])


def test_every_limit_of_the_table_is_a_check_and_every_row_has_a_source() -> None:
    named = {limit for row in rules()["supported"].values() for limit in row.get("limits", ())}
    assert named == set(LIMITS)
    assert {row["source"] for row in rules()["supported"].values()} <= set(rules()["sources"])
    assert set(rules()["supported"]) <= set(rules()["readable"])


def test_a_file_that_meets_every_rule_maps_whole_and_fits_the_cache() -> None:
    net = Net()
    source = net.int8(1, 64)
    middle = net.dense(source, 1, 64)
    output = net.int8(1, 64)
    net.op("RELU", [middle], [output])
    told = net.told([source], [output])
    assert (told.mapped, told.parts, told.parts_with_all, told.runtime) == (2, 1, 1, None)
    assert (told.weight_bytes, told.cached_bytes, told.streamed_bytes) == (4096, 4096, (0, 0))
    assert told.verdict == "All 2 ops map; 0.0 MB of weights fit the 8 MB cache."


def test_oldest_runtime_is_the_newest_of_the_rows() -> None:
    assert unary("RSQRT", (1, 4)).runtime == 14
    assert unary("QUANTIZE", (1, 4)).runtime == 13


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        ("FLOAT32", "it computes in FLOAT32, not in 8-bit integers"),
        ("INT16", "it computes in INT16, not in 8-bit integers"),
        ("INT32", "it computes in INT32, not in 8-bit integers"),
    ],
)
def test_other_types_stay_on_the_cpu_and_the_verdict_names_the_flag(dtype: str, reason: str) -> None:
    told = unary("RELU", (1, 4), dtype)
    assert told.ops[0].reasons == (reason,)
    assert told.verdict == f"0 of 1 ops map: {reason} (1 ops); convert with --precision=int8_full (preset edgetpu)."


def test_uint8_maps() -> None:
    assert unary("RELU", (1, 4), "UINT8").mapped == 1


@pytest.mark.parametrize(
    ("shape", "maps"), [((1, 1, 2, 3, 4), True), ((2, 2, 3, 4), False), ((2, 3, 4), True), ((2, 1, 3, 4), False)]
)
def test_only_the_three_innermost_dimensions_may_be_larger_than_one(shape: tuple[int, ...], maps: bool) -> None:
    assert unary("RELU", shape).mapped == maps


@pytest.mark.parametrize(
    ("name", "version", "refusal"),
    [
        ("GELU", 1, "it does not know GELU (newer than TensorFlow Lite 2.6, or custom)"),
        ("CONV_2D", 6, "it reads CONV_2D up to version 5, the file has 6"),
        ("QUANTIZE", 3, "it reads QUANTIZE up to version 2, the file has 3"),
        ("TRANSPOSE_CONV", 4, "it reads TRANSPOSE_CONV up to version 3, the file has 4"),
        ("FULLY_CONNECTED", 12, "it reads FULLY_CONNECTED up to version 9, the file has 12"),
    ],
)
def test_what_the_compiler_cannot_read_costs_the_whole_file(name: str, version: int, refusal: str) -> None:
    net = Net()
    source, middle, output = net.int8(1, 4), net.int8(1, 4), net.int8(1, 4)
    net.op("RELU", [source], [middle])
    net.op(name, [middle, net.weights(4, 4), middle], [output], version=version)
    told = net.told([source], [output])
    assert told.refusals == (refusal,)
    assert (told.mapped, told.parts, told.parts_with_all, told.weight_bytes) == (0, 0, 0, 0)
    assert told.ops[0].supported
    assert told.ops[0].reasons == (REFUSED,)
    assert told.verdict.startswith(f"0 of 2 ops map: the compiler refuses the file: {refusal}")


def test_an_open_size_costs_the_whole_file() -> None:
    net = Net()
    source, output = net.int8(1, 4), net.int8(1, 4)
    net.tensors[source].shapeSignature = [-1, 4]
    net.op("RELU", [source], [output])
    assert net.told([source], [output]).refusals == (
        "a tensor's size is open until run time: convert for one batch size",
    )


def test_a_file_that_is_compiled_already_is_refused() -> None:
    net = Net()
    source, output = net.int8(1, 4), net.int8(1, 4)
    net.op("CUSTOM", [source], [output])
    net.codes[0].customCode = b"edgetpu-custom-op"
    with pytest.raises(UserError, match="compiled for the Edge TPU already"):
        net.told([source], [output])


def test_mapping_stops_at_the_first_operator_of_the_cpu_unless_all_parts_are_asked_for() -> None:
    net = Net()
    tensors = [net.int8(1, 4) for _ in range(6)]
    for position, name in enumerate(("RELU", "SIN", "RELU", "SIN", "RELU")):
        net.op(name, [tensors[position]], [tensors[position + 1]])
    told = net.told([tensors[0]], [tensors[-1]])
    assert [op.mapped for op in told.ops] == [True, False, False, False, False]
    assert (told.parts, told.parts_with_all) == (1, 3)
    assert told.ops[2].reasons == (AFTER_CPU,)
    assert told.verdict.startswith(
        "1 of 5 ops map: SIN is not among the supported operations (2 ops); 0.0 MB of weights fit"
    )


def test_a_branch_that_needs_nothing_of_the_cpu_is_mapped() -> None:
    net = Net()
    source, left, right = net.int8(1, 4), net.int8(1, 4), net.int8(1, 4)
    net.op("SIN", [source], [left])
    net.op("RELU", [source], [right])
    assert [op.mapped for op in net.told([source], [left, right]).ops] == [False, True]


def test_quantizing_a_float_input_runs_before_the_edge_tpu_part() -> None:
    net = Net()
    source, middle, output = net.tensor(1, 4), net.int8(1, 4), net.int8(1, 4)
    net.op("QUANTIZE", [source], [middle])
    net.op("RELU", [middle], [output])
    assert [op.mapped for op in net.told([source], [output]).ops] == [False, True]


def dense(rows: int = 1, **options: Any) -> EdgeTpuForecast:
    net = Net()
    source = net.int8(rows, 4)
    return net.told([source], [net.dense(source, rows, 4, **options)])


@pytest.mark.parametrize(
    ("tell", "reason"),
    [
        (lambda: dense(rows=17), "FULLY_CONNECTED with more than one row"),
        (lambda: dense(scales=4), "FULLY_CONNECTED with a scale for each channel, years newer than the compiler"),
        (lambda: dense(table="FullyConnectedOptions", weightsFormat=1), "FULLY_CONNECTED with shuffled weights"),
        (lambda: unary("SOFTMAX", (1, 3, 4)), "SOFTMAX with more than one row"),
        (lambda: unary("SOFTMAX", (1, 16_001)), "SOFTMAX of more than 16000 elements"),
        (
            lambda: unary("MAX_POOL_2D", (1, 2, 2, 4), table="Pool2DOptions", fusedActivationFunction=1),
            "MAX_POOL_2D with an activation inside",
        ),
        (lambda: unary("BATCH_MATMUL", (1, 4, 4)), "BATCH_MATMUL is not among the supported operations"),
    ],
)
def test_documented_limits(tell: Callable[[], EdgeTpuForecast], reason: str) -> None:
    assert tell().obstacles == ((reason, 1),)


def test_the_largest_softmax_maps() -> None:
    assert unary("SOFTMAX", (1, 16_000)).mapped == 1


def indexed(name: str, shape: tuple[int, ...], second: Callable[[Net], int], *, first: bool = False) -> bool:
    """An operator with a constant of indices beside its data: does it map?"""
    net = Net()
    source, output = net.int8(*shape), net.int8(*shape)
    inputs = [second(net), source] if first else [source, second(net)]
    net.op(name, inputs, [output])
    return net.told([source], [output]).mapped == 1


@pytest.mark.parametrize(
    ("maps", "name", "shape", "axes"),
    [
        (True, "MEAN", (1, 2, 3, 4), (1, 2)),
        (False, "MEAN", (1, 2, 3, 4), (0,)),
        (True, "MEAN", (17, 8), (-1,)),
        (False, "MEAN", (17, 6), (1,)),
        (True, "SUM", (17, 6), (1,)),
        (False, "REDUCE_MAX", (1, 2, 3, 4), (0,)),
    ],
)
def test_reductions(maps: bool, name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    assert indexed(name, shape, lambda net: net.axes(*axes)) is maps


@pytest.mark.parametrize(("maps", "before"), [(True, 0), (False, 1)])
def test_padding_spares_the_batch(maps: bool, before: int) -> None:
    widths = ((before, 0), (1, 1), (0, 0), (0, 0))
    assert indexed("PAD", (1, 2, 3, 4), lambda net: net.constant(widths, "INT32")) is maps


@pytest.mark.parametrize(("maps", "axis"), [(True, 3), (False, 0)])
def test_splitting_spares_the_batch(maps: bool, axis: int) -> None:
    assert indexed("SPLIT", (1, 2, 3, 4), lambda net: net.constant(axis, "INT32"), first=True) is maps


@pytest.mark.parametrize(("maps", "axis"), [(True, 3), (False, 0)])
def test_packing_spares_the_batch(maps: bool, axis: int) -> None:
    net = Net()
    source, output = net.int8(1, 2, 3), net.int8(1, 2, 3, 1)
    net.op("PACK", [source], [output], table="PackOptions", axis=axis, valuesCount=1)
    assert (net.told([source], [output]).mapped == 1) is maps


@pytest.mark.parametrize(
    ("maps", "value", "parts"), [(True, 0, 1), (False, 1, 1), (False, 0, 2)], ids=["zeros", "ones", "two constants"]
)
def test_concatenation_takes_only_zeros_as_a_constant(maps: bool, value: int, parts: int) -> None:
    net = Net()
    source, output = net.int8(1, 4), net.int8(1, 8)
    constants = [net.constant([[value] * 4], "INT8", scales=(0.1,)) for _ in range(parts)]
    net.op("CONCATENATION", [source, *constants], [output])
    assert (net.told([source], [output]).mapped == 1) is maps


@pytest.mark.parametrize(("maps", "stride", "ellipsis"), [(True, 1, 0), (False, 2, 0), (False, 1, 1)])
def test_strided_slices_are_plain(maps: bool, stride: int, ellipsis: int) -> None:
    net = Net()
    source, output = net.int8(1, 4), net.int8(1, 4)
    inputs = [source, net.axes(0, 0), net.axes(1, 4), net.axes(1, stride)]
    net.op("STRIDED_SLICE", inputs, [output], table="StridedSliceOptions", ellipsisMask=ellipsis)
    assert (net.told([source], [output]).mapped == 1) is maps


@pytest.mark.parametrize(("maps", "slopes"), [(True, (1, 1, 4)), (False, (1, 2, 4))])
def test_prelu_has_one_slope_a_channel(maps: bool, slopes: tuple[int, ...]) -> None:
    assert indexed("PRELU", (1, 2, 2, 4), lambda net: net.weights(*slopes)) is maps


@pytest.mark.parametrize(("maps", "dilation", "constant"), [(True, 2, True), (False, 3, True), (False, 2, False)])
def test_convolutions(maps: bool, dilation: int, constant: bool) -> None:
    net = Net()
    source, output = net.int8(1, 8, 8, 3), net.int8(1, 8, 8, 4)
    weights = net.weights(4, 1, 1, 3, scales=4) if constant else net.int8(1, 1, 1, 3)
    options = {"table": "Conv2DOptions", "dilationHFactor": 2, "dilationWFactor": dilation}
    net.op("CONV_2D", [source, weights, net.constant([0] * 4, "INT32")], [output], **options)
    assert (net.told([source], [output]).mapped == 1) is maps


def test_four_bit_weights_stay_on_the_cpu() -> None:
    net = Net()
    source, output = net.int8(1, 4), net.int8(1, 4)
    net.op("FULLY_CONNECTED", [source, net.packed(4, 4), -1], [output])
    assert net.told([source], [output]).ops[0].reasons == ("weights of INT4 are not 8-bit integers",)


@pytest.mark.parametrize(
    ("layers", "streamed", "words"),
    [
        (5, (0, 0), "5.2 MB of weights fit the 8 MB cache"),
        (7, (0, 7 * MIB - 6448742), "7.3 MB of weights may not all fit the 8 MB cache, which the executable shares"),
        (9, (MIB, 9 * MIB - 6448742), "9.4 MB of weights do not fit the 8 MB cache: at least 1.0 MB are sent anew"),
    ],
)
def test_weights_beyond_the_cache_are_streamed(layers: int, streamed: tuple[int, int], words: str) -> None:
    net = Net()
    source = output = net.int8(1, 1024)
    for _ in range(layers):
        output = net.dense(output, 1, 1024)
    told = net.told([source], [output])
    assert (told.weight_bytes, told.streamed_bytes) == (layers * MIB, streamed)
    assert told.cached_bytes == min(layers, 8) * MIB
    assert words in told.verdict


def test_weights_that_two_operators_share_count_once() -> None:
    net = Net()
    source, middle, output = net.int8(1, 4), net.int8(1, 4), net.int8(1, 4)
    weights = net.weights(4, 4)
    net.op("FULLY_CONNECTED", [source, weights, -1], [middle])
    net.op("FULLY_CONNECTED", [middle, weights, -1], [output])
    assert net.told([source], [output]).weight_bytes == 16


def test_no_vision_transformer_is_taken_because_of_gelu(quantized_vit: Callable[[str], Path]) -> None:
    told = forecast(load_graphs(quantized_vit("static_wi8_ai8"))[0])
    assert told.mapped == 0
    assert "it does not know GELU" in told.verdict
    obstacles = dict(told.obstacles)
    assert obstacles["BATCH_MATMUL is not among the supported operations"] == 4
    assert obstacles["SOFTMAX with more than one row"] == 2
    assert obstacles["FULLY_CONNECTED with more than one row"] == 8
    assert not any("8-bit" in reason for reason in obstacles)


def test_a_float_vision_transformer_computes_in_float(quantized_vit: Callable[[str], Path]) -> None:
    told = forecast(load_graphs(quantized_vit("float"))[0])
    assert dict(told.obstacles)["it computes in FLOAT32, not in 8-bit integers"] == len(told.ops)
    assert f"besides, it computes in FLOAT32, not in 8-bit integers ({len(told.ops)} ops); convert with" in told.verdict
