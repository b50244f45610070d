"""Every kernel's scratch tensors and outputs, planned and then really allocated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from memory_agreement import differences

from edgeflex_tflite.memory import plan_arena
from tests.tiny import Tiny

Case = Callable[[Tiny], tuple[list[int], list[int]]]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def scales(count: int) -> list[float]:
    return [0.5 + i for i in range(count)]


def dense(t: Tiny, weights: int, batch: int, depth: int, units: int, **options: bool) -> tuple[list[int], list[int]]:
    """A FULLY_CONNECTED between two other ops, so that its scratch tensors must find room."""
    x, h, y, z = t.tensor(batch, depth), t.tensor(batch, depth), t.tensor(batch, units), t.tensor(batch, units)
    t.op("RELU", [x], [h])
    t.op("FULLY_CONNECTED", [h, weights, -1], [y], table="FullyConnectedOptions", version=9, **options)
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def dense_float(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.constant(np.zeros((24, 40))), 7, 40, 24)


@case
def dense_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.constant(np.zeros((24, 40)), "INT8", scales(24)), 7, 40, 24, asymmetricQuantizeInputs=True)


@case
def dense_dynamic_int8_one_scale(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.constant(np.zeros((24, 40)), "INT8", [0.5]), 1, 40, 24)


@case
def dense_int4_packed_one_row(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(24, 64), 1, 64, 24)


@case
def dense_int4_packed_three_rows(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(22, 48), 3, 48, 22)


@case
def dense_int4_packed_many_rows(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(17, 70), 17, 70, 17)


@case
def dense_int4_too_shallow(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(24, 30), 5, 30, 24)


@case
def dense_int4_too_few_units(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(3, 64), 5, 64, 3)


@case
def dense_int4_odd_depth(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(8, 33), 5, 33, 8)


@case
def dense_int4_computed_weights(t: Tiny) -> tuple[list[int], list[int]]:
    weights = t.tensor(24, 64, dtype="INT4", scales=[1.0])
    inputs, outputs = dense(t, weights, 5, 64, 24)
    return [*inputs, weights], outputs


@case
def dense_dynamic_int8_sparse(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.sparse(24, 40, scales=[0.5]), 7, 40, 24)


@case
def dense_made_from_sparse_weights(t: Tiny) -> tuple[list[int], list[int]]:
    whole = t.tensor(24, 40)
    t.op("DENSIFY", [t.sparse(24, 40, dtype="FLOAT32")], [whole])
    return dense(t, whole, 7, 40, 24)


@case
def dense_of_no_depth(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.constant(np.zeros((24, 0)), "INT8", [0.5]), 7, 0, 24)


@case
def dense_int2(t: Tiny) -> tuple[list[int], list[int]]:
    return dense(t, t.packed(24, 64, dtype="INT2"), 5, 64, 24)


@case
def dense_computed_weights(t: Tiny) -> tuple[list[int], list[int]]:
    w, v = t.tensor(24, 40), t.tensor(24, 40)
    inputs, outputs = dense(t, v, 3, 40, 24)
    t.op("RELU", [w], [v])
    t.operators.insert(0, t.operators.pop())
    return [*inputs, w], outputs


@case
def dense_float16_weights(t: Tiny) -> tuple[list[int], list[int]]:
    half, whole = t.constant(np.zeros((24, 40)), "FLOAT16"), t.tensor(24, 40)
    t.op("DEQUANTIZE", [half], [whole])
    return dense(t, whole, 7, 40, 24)


@case
def dense_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    x, y = t.tensor(5, 40, dtype="INT8", scales=[0.1]), t.tensor(5, 24, dtype="INT8", scales=[0.1])
    w = t.constant(np.zeros((24, 40)), "INT8", scales(24))
    t.op("FULLY_CONNECTED", [x, w, -1], [y], table="FullyConnectedOptions", version=9)
    return [x], [y]


def conv(
    t: Tiny, data: str, weights: int, filters: tuple[int, ...], size: int = 9, out: int = 9, **options: int
) -> tuple[list[int], list[int]]:
    """A CONV_2D over a square image; `filters` are count, height, width, channels."""
    quantized = [0.1] if data != "FLOAT32" else []
    channels = options.pop("channels", filters[3])
    x, y = (t.tensor(1, n, n, c, dtype=data, scales=quantized) for n, c in ((size, channels), (out, filters[0])))
    h, z = (t.tensor(1, n, n, c, dtype=data, scales=quantized) for n, c in ((size, channels), (out, filters[0])))
    bias = t.constant(np.zeros(filters[0]), "FLOAT32" if data == "FLOAT32" else "INT32", quantized and [0.01])
    t.op("ABS" if data == "FLOAT32" else "RELU", [x], [h])
    options = {"strideW": 1, "strideH": 1, **options}
    t.op("CONV_2D", [h, weights, bias], [y], table="Conv2DOptions", version=6, **options)
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def conv_float(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 3, 3, 4))), (8, 3, 3, 4))


@case
def conv_float_patches(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 3, 3, 4))), (8, 3, 3, 4), out=3, strideW=3, strideH=3)


@case
def conv_float_pointwise(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 1, 1, 4))), (8, 1, 1, 4))


@case
def conv_float_pointwise_strided(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 1, 1, 4))), (8, 1, 1, 4), out=5, strideW=2, strideH=2)


@case
def conv_float_dilated(t: Tiny) -> tuple[list[int], list[int]]:
    weights = t.constant(np.zeros((8, 3, 3, 4)))
    return conv(t, "FLOAT32", weights, (8, 3, 3, 4), dilationWFactor=2, dilationHFactor=2)


@case
def conv_float_grouped(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 3, 3, 2))), (8, 3, 3, 2), channels=4)


@case
def conv_float_computed_weights(t: Tiny) -> tuple[list[int], list[int]]:
    half, whole = t.constant(np.zeros((8, 3, 3, 4)), "FLOAT16"), t.tensor(8, 3, 3, 4)
    t.op("DEQUANTIZE", [half], [whole])
    return conv(t, "FLOAT32", whole, (8, 3, 3, 4))


@case
def conv_float_given_weights(t: Tiny) -> tuple[list[int], list[int]]:
    weights = t.tensor(8, 3, 3, 4)
    inputs, outputs = conv(t, "FLOAT32", weights, (8, 3, 3, 4))
    return [*inputs, weights], outputs


@case
def conv_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 3, 3, 4)), "INT8", scales(8)), (8, 3, 3, 4))


@case
def conv_dynamic_int8_equal_scales(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 3, 3, 4)), "INT8", [0.5] * 8), (8, 3, 3, 4))


@case
def conv_dynamic_int8_pointwise(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.constant(np.zeros((8, 1, 1, 4)), "INT8", scales(8)), (8, 1, 1, 4))


@case
def conv_dynamic_int8_grouped(t: Tiny) -> tuple[list[int], list[int]]:
    weights = t.constant(np.zeros((8, 3, 3, 2)), "INT8", scales(8))
    return conv(t, "FLOAT32", weights, (8, 3, 3, 2), channels=4)


@case
def conv_dynamic_int4(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "FLOAT32", t.packed(8, 3, 3, 4, scales=scales(8)), (8, 3, 3, 4))


@case
def conv_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return conv(t, "INT8", t.constant(np.zeros((8, 3, 3, 4)), "INT8", scales(8)), (8, 3, 3, 4))


def depthwise(t: Tiny, weights: int) -> tuple[list[int], list[int]]:
    x, y, z = (t.tensor(2, 6, 6, 4) for _ in range(3))
    options = {"strideW": 1, "strideH": 1, "depthMultiplier": 1}
    bias = t.constant(np.zeros(4))
    t.op("DEPTHWISE_CONV_2D", [x, weights, bias], [y], table="DepthwiseConv2DOptions", version=6, **options)
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def depthwise_float(t: Tiny) -> tuple[list[int], list[int]]:
    return depthwise(t, t.constant(np.zeros((1, 3, 3, 4))))


@case
def depthwise_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    weights = t.constant(np.zeros((1, 3, 3, 4)), "INT8", scales(4))
    t.tensors[weights].quantization.quantizedDimension = 3
    return depthwise(t, weights)


def transpose_conv(t: Tiny, weights: int) -> tuple[list[int], list[int]]:
    x, y, z = t.tensor(1, 4, 4, 6), t.tensor(1, 8, 8, 5), t.tensor(1, 8, 8, 5)
    shape = t.constant([1, 8, 8, 5], "INT32")
    options = {"strideW": 2, "strideH": 2}
    t.op("TRANSPOSE_CONV", [shape, weights, x], [y], table="TransposeConvOptions", version=2, **options)
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def transpose_conv_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return transpose_conv(t, t.constant(np.zeros((5, 3, 3, 6)), "INT8", scales(5)))


def followed_by_mean(t: Tiny, source: int) -> int:
    """Whose scratch tensors only have the right indices if the op before it took the right number of them."""
    tensor = t.tensors[source]
    shape, dtype = tensor.shape, {0: "FLOAT32", 9: "INT8"}[tensor.type]
    y = t.tensor(*shape[:-1], dtype=dtype, scales=[0.1] if dtype == "INT8" else [])
    t.op("MEAN", [source, t.constant([len(shape) - 1], "INT32")], [y], table="ReducerOptions", version=2)
    return y


@case
def transpose_conv_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    x, y = t.tensor(1, 4, 4, 6, dtype="INT8", scales=[0.1]), t.tensor(1, 8, 8, 5, dtype="INT8", scales=[0.1])
    weights, shape = t.constant(np.zeros((5, 3, 3, 6)), "INT8", scales(5)), t.constant([1, 8, 8, 5], "INT32")
    options = {"strideW": 2, "strideH": 2}
    t.op("TRANSPOSE_CONV", [shape, weights, x], [y], table="TransposeConvOptions", version=2, **options)
    return [x], [followed_by_mean(t, y)]


def transpose_conv_3d(t: Tiny, out: int, **options: int) -> tuple[list[int], list[int]]:
    x, y = t.tensor(1, 2, 2, 2, 3), t.tensor(1, out, 2, 2, 4)
    options = {**{f"stride{axis}": 1 for axis in "DHW"}, "padding": 1, **options}
    inputs = [t.constant([1, out, 2, 2, 4], "INT32"), t.constant(np.zeros((2, 1, 1, 4, 3))), x]
    t.op("CONV_3D_TRANSPOSE", inputs, [y], table="Conv3DOptions", **options)
    return [x], [followed_by_mean(t, y)]


@case
def transpose_conv_3d_plain(t: Tiny) -> tuple[list[int], list[int]]:
    return transpose_conv_3d(t, 3)


@case
def transpose_conv_3d_dilated(t: Tiny) -> tuple[list[int], list[int]]:
    return transpose_conv_3d(t, 4, dilationDFactor=2)


@case
def conv_3d(t: Tiny) -> tuple[list[int], list[int]]:
    x, y, z = t.tensor(1, 4, 5, 6, 2), t.tensor(1, 4, 5, 6, 3), t.tensor(1, 4, 5, 6, 3)
    strides = {f"stride{axis}": 1 for axis in "DHW"}
    t.op("CONV_3D", [x, t.constant(np.zeros((2, 3, 3, 2, 3)))], [y], table="Conv3DOptions", **strides)
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def transpose_conv_float(t: Tiny) -> tuple[list[int], list[int]]:
    return transpose_conv(t, t.constant(np.zeros((5, 3, 3, 6))))


def matmul(t: Tiny, left: int, right: int, result: tuple[int, ...], **options: bool) -> int:
    y, z = t.tensor(*result), t.tensor(*result)
    t.op("BATCH_MATMUL", [left, right], [y], table="BatchMatMulOptions", version=4, **options)
    t.op("RELU", [y], [z])
    return z


@case
def matmul_computed(t: Tiny) -> tuple[list[int], list[int]]:
    a, b = t.tensor(2, 3, 5, 7), t.tensor(2, 3, 7, 11)
    return [a, b], [matmul(t, a, b, (2, 3, 5, 11))]


@case
def matmul_right_transposed(t: Tiny) -> tuple[list[int], list[int]]:
    a, b = t.tensor(2, 3, 5, 7), t.tensor(2, 3, 11, 7)
    return [a, b], [matmul(t, a, b, (2, 3, 5, 11), adjY=True)]


@case
def matmul_both_transposed(t: Tiny) -> tuple[list[int], list[int]]:
    a, b = t.tensor(3, 7, 5), t.tensor(3, 11, 7)
    return [a, b], [matmul(t, a, b, (3, 5, 11), adjX=True, adjY=True)]


@case
def matmul_constant_right(t: Tiny) -> tuple[list[int], list[int]]:
    a = t.tensor(2, 5, 7)
    return [a], [matmul(t, a, t.constant(np.zeros((2, 7, 11))), (2, 5, 11))]


@case
def matmul_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    a = t.tensor(2, 5, 7)
    return [a], [matmul(t, a, t.constant(np.zeros((2, 7, 11)), "INT8", [0.5]), (2, 5, 11))]


@case
def matmul_dynamic_int8_both_transposed(t: Tiny) -> tuple[list[int], list[int]]:
    a = t.tensor(2, 7, 5)
    right = t.constant(np.zeros((2, 11, 7)), "INT8", [0.5])
    return [a], [matmul(t, a, right, (2, 5, 11), adjX=True, adjY=True)]


@case
def matmul_of_differing_ranks(t: Tiny) -> tuple[list[int], list[int]]:
    a, b = t.tensor(4, 5, 7), t.tensor(7, 11)
    return [a, b], [matmul(t, a, b, (4, 5, 11))]


def reduction(t: Tiny, name: str, dtype: str, axes: int, quantized: bool = False) -> tuple[list[int], list[int]]:
    q = [0.1] if quantized else []
    x, y, z = t.tensor(3, 4, 50, dtype=dtype, scales=q), t.tensor(3, 50, dtype=dtype, scales=q), t.tensor(3, 50)
    t.op(name, [x, axes], [y], table="ReducerOptions", version=1 if dtype == "BOOL" else 2)
    t.op("CAST", [y], [z], table="CastOptions")
    return [x], [z]


for name in ("MEAN", "SUM", "REDUCE_PROD", "REDUCE_MAX", "REDUCE_MIN"):
    for dtype in ("FLOAT32", "INT32", "INT64"):
        CASES[f"{name.lower()}_{dtype.lower()}"] = lambda t, name=name, dtype=dtype: reduction(
            t, name, dtype, t.constant([1], "INT32")
        )
for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"):
    CASES[f"{name.lower()}_int8"] = lambda t, name=name: reduction(t, name, "INT8", t.constant([1], "INT32"), True)
for name in ("REDUCE_ANY", "REDUCE_ALL"):
    CASES[name.lower()] = lambda t, name=name: reduction(t, name, "BOOL", t.constant([1], "INT32"))


@case
def mean_over_computed_axes(t: Tiny) -> tuple[list[int], list[int]]:
    axes, same = t.tensor(1, dtype="INT32"), t.tensor(1, dtype="INT32")
    t.op("ABS", [axes], [same], version=5)
    inputs, outputs = reduction(t, "MEAN", "FLOAT32", same)
    return [*inputs, axes], outputs


@case
def product_of_known_values(t: Tiny) -> tuple[list[int], list[int]]:
    x, y, z = t.constant(np.ones((4, 3))), t.tensor(4), t.tensor(4)
    t.op("REDUCE_PROD", [x, t.constant([1], "INT32")], [y], table="ReducerOptions")
    a, b = t.tensor(4), t.tensor(4)
    t.op("ADD", [y, a], [b], table="AddOptions")
    t.op("RELU", [b], [z])
    return [a], [z]


@case
def product_of_too_many_known_values(t: Tiny) -> tuple[list[int], list[int]]:
    x, y, a, b = t.constant(np.ones((9, 3))), t.tensor(9), t.tensor(9), t.tensor(9)
    t.op("REDUCE_PROD", [x, t.constant([1], "INT32")], [y], table="ReducerOptions")
    t.op("ADD", [y, a], [b], table="AddOptions")
    return [a], [b]


@case
def sum_of_many(t: Tiny) -> tuple[list[int], list[int]]:
    x, y, z = t.tensor(5, 7), t.tensor(5, 7), t.tensor(5, 7)
    t.op("ADD_N", [x] * 9, [y])
    t.op("RELU", [y], [z])
    return [x], [z]


@case
def fourier(t: Tiny) -> tuple[list[int], list[int]]:
    x, y, z = t.tensor(3, 1, 64), t.tensor(3, 1, 33, dtype="COMPLEX64"), t.tensor(3, 1, 33)
    t.op("RFFT2D", [x, t.constant([1, 64], "INT32")], [y])
    t.op("COMPLEX_ABS", [y], [z])
    return [x], [z]


@case
def svdf_float(t: Tiny) -> tuple[list[int], list[int]]:
    x, state, y = t.tensor(2, 6), t.tensor(2, 8 * 5, variable=True), t.tensor(2, 8)
    weights = [t.constant(np.zeros((8, 6))), t.constant(np.zeros((8, 5)))]
    t.op("SVDF", [x, *weights, -1, state], [y], table="SVDFOptions", rank=1)
    return [x], [y]


@case
def svdf_dynamic_int8(t: Tiny) -> tuple[list[int], list[int]]:
    x, state, y = t.tensor(2, 6), t.tensor(2, 8 * 5, variable=True), t.tensor(2, 8)
    weights = [t.constant(np.zeros(s), "INT8", [0.5]) for s in ((8, 6), (8, 5))]
    t.op("SVDF", [x, *weights, -1, state], [y], table="SVDFOptions", rank=1, version=2)
    return [x], [y]


def rnn(t: Tiny, dtype: str, name: str, shape: tuple[int, ...], **options: str) -> tuple[list[int], list[int]]:
    q = [0.5] if dtype == "INT8" else []
    x, state, y = t.tensor(*shape, 6), t.tensor(2, 8, variable=True), t.tensor(*shape, 8)
    weights = [t.constant(np.zeros(s), dtype, q) for s in ((8, 6), (8, 8))]
    t.op(name, [x, *weights, t.constant(np.zeros(8)), state], [y], version=2, **options)
    return [x], [y]


for dtype in ("FLOAT32", "INT8"):
    CASES[f"rnn_{dtype.lower()}"] = lambda t, dtype=dtype: rnn(t, dtype, "RNN", (2,), table="RNNOptions")
    CASES[f"sequence_rnn_{dtype.lower()}"] = lambda t, dtype=dtype: rnn(
        t, dtype, "UNIDIRECTIONAL_SEQUENCE_RNN", (2, 5), table="SequenceRNNOptions"
    )


def lstm(
    t: Tiny, dtype: str, name: str, shape: tuple[int, ...], coupled: bool = False, sparse: bool = False, **options: Any
) -> tuple[list[int], list[int]]:
    """Six inputs, eight cells, five outputs through a projection; a coupled one has no input gate."""
    q = [0.5] if dtype == "INT8" else []
    shapes = [(8, 6)] * 4 + [(8, 5)] * 4
    weights = [t.sparse(*s, scales=q) if sparse else t.constant(np.zeros(s), dtype, q) for s in shapes]
    biases = [t.constant(np.zeros(8)) for _ in range(4)]
    projection = t.sparse(5, 8, scales=q) if sparse else t.constant(np.zeros((5, 8)), dtype, q)
    states = [t.tensor(2, 5, variable=True), t.tensor(2, 8, variable=True)]
    x, y, z = t.tensor(*shape, 6), t.tensor(*shape, 5), t.tensor(*shape, 5)
    if coupled:
        weights[0] = weights[4] = biases[0] = -1
    inputs = [x, *weights, -1, -1, -1, *biases, projection, -1, *states]
    t.op(name, inputs, [y], version=3, **options)
    t.op("RELU", [y], [z])
    return [x], [z]


SEQUENCE = {"name": "UNIDIRECTIONAL_SEQUENCE_LSTM", "table": "UnidirectionalSequenceLSTMOptions"}
for dtype in ("FLOAT32", "INT8"):
    for coupled in (False, True):
        suffix = f"{dtype.lower()}{'_coupled' if coupled else ''}"
        CASES[f"lstm_{suffix}"] = lambda t, dtype=dtype, coupled=coupled: lstm(
            t, dtype, "LSTM", (2,), coupled, table="LSTMOptions"
        )
        CASES[f"sequence_lstm_{suffix}"] = lambda t, dtype=dtype, coupled=coupled: lstm(
            t, dtype, shape=(2, 3), coupled=coupled, **SEQUENCE
        )
CASES["sequence_lstm_by_time"] = lambda t: lstm(t, "INT8", shape=(3, 2), timeMajor=True, **SEQUENCE)
CASES["lstm_sparse"] = lambda t: lstm(t, "INT8", "LSTM", (2,), sparse=True, table="LSTMOptions")


def integer_lstm(
    t: Tiny, name: str, shape: tuple[int, ...], eight_bit: bool, **options: Any
) -> tuple[list[int], list[int]]:
    """Six inputs, eight cells and outputs, all integers."""
    q, state_scale = [0.5], [2.0**-11]
    x, y = t.tensor(*shape, 6, dtype="INT8", scales=q), t.tensor(*shape, 8, dtype="INT8", scales=q)
    weights = [t.constant(np.zeros(s), "INT8", q) for s in [(8, 6)] * 4 + [(8, 8)] * 4]
    biases = [t.constant(np.zeros(8), "INT32", q) for _ in range(4)]
    states = [
        t.tensor(2, 8, dtype="INT8", variable=True, scales=q),
        t.tensor(2, 8, dtype="INT16", variable=True, scales=state_scale),
    ]
    between = [t.tensor(0, dtype="INT16", scales=q) for _ in range(12 if eight_bit else 5)]
    t.op(name, [x, *weights, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1], [y], version=2, **options)
    t.operators[-1].intermediates = between
    return [x], [followed_by_mean(t, y)]


@case
def lstm_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return integer_lstm(t, "LSTM", (2,), eight_bit=False, table="LSTMOptions")


@case
def lstm_static_int8_throughout(t: Tiny) -> tuple[list[int], list[int]]:
    return integer_lstm(t, "LSTM", (2,), eight_bit=True, table="LSTMOptions")


@case
def sequence_lstm_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    return integer_lstm(t, shape=(2, 3), eight_bit=False, **SEQUENCE)


@case
def svdf_static_int8(t: Tiny) -> tuple[list[int], list[int]]:
    q = [0.5]
    x, y = t.tensor(2, 6, dtype="INT8", scales=q), t.tensor(2, 4, dtype="INT8", scales=q)
    state = t.tensor(2, 8 * 5, dtype="INT16", variable=True, scales=q)
    weights = [t.constant(np.zeros((8, 6)), "INT8", q), t.constant(np.zeros((8, 5)), "INT16", q)]
    t.op("SVDF", [x, *weights, t.constant(np.zeros(4), "INT32", q), state], [y], table="SVDFOptions", rank=2, version=3)
    return [x], [followed_by_mean(t, y)]


@case
def detections(t: Tiny) -> tuple[list[int], list[int]]:
    boxes, scores, anchors = t.tensor(1, 30, 4), t.tensor(1, 30, 7), t.constant(np.ones((30, 4)))
    outputs = [t.tensor(1, 10, 4), t.tensor(1, 10), t.tensor(1, 10), t.tensor(1)]
    values = {"max_detections": 10, "max_classes_per_detection": 1, "num_classes": 6, "use_regular_nms": False}
    floats = ("nms_score_threshold", "nms_iou_threshold", "y_scale", "x_scale", "h_scale", "w_scale")
    t.op("CUSTOM", [boxes, scores, anchors], outputs)
    t.codes[-1].customCode = b"TFLite_Detection_PostProcess"
    t.operators[-1].customOptions = list(flexbuffers.Dumps(values | dict.fromkeys(floats, 1.0)))
    return [boxes, scores], outputs


@case
def split_into_equal_parts(t: Tiny) -> tuple[list[int], list[int]]:
    """Equal sizes and equal first use: only the order of the runtime's hash set tells them apart."""
    x, h = t.tensor(20, 6), t.tensor(20, 6)
    parts = [t.tensor(1, 6) for _ in range(20)]
    t.op("RELU", [x], [h])
    t.op("SPLIT", [t.constant(0, "INT32"), h], parts, table="SplitOptions", numSplits=20)
    ends = []
    for a, b in zip(parts[::2], reversed(parts[1::2]), strict=True):
        ends.append(t.tensor(1, 6))
        t.op("MUL", [a, b], [ends[-1]], table="MulOptions")
    z = t.tensor(10, 6)
    t.op("CONCATENATION", ends, [z], table="ConcatenationOptions")
    return [x], [z]


@pytest.mark.parametrize("name", CASES)
def test_plan_is_what_the_runtime_allocates(name: str, tmp_path: Path) -> None:
    t = Tiny()
    inputs, outputs = CASES[name](t)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build(inputs, outputs))
    assert plan_arena(path).unmodelled_ops == ()
    assert differences(path) == []


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith(("conv", "dense", "sum_of_many"))])
def test_plan_holds_for_two_threads(name: str, tmp_path: Path) -> None:
    t = Tiny()
    inputs, outputs = CASES[name](t)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build(inputs, outputs))
    assert differences(path, num_threads=2) == []


@pytest.mark.parametrize("name", CASES)
def test_plan_holds_behind_an_op_with_scratch_tensors(name: str, tmp_path: Path) -> None:
    """Some kernels take their indices when the file is loaded, others when their turn has come."""
    t = Tiny()
    x = t.tensor(3, 40)
    y = followed_by_mean(t, x)
    inputs, outputs = CASES[name](t)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build([x, *inputs], [y, *outputs]))
    assert differences(path) == []
