"""Graphs of several ops, and for each op the rule of XNNPACK's table that it breaks; "" where XNNPACK takes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from flatbuffers import flexbuffers

from tests.tiny import Tiny

Build = Callable[[Tiny], tuple]
GRAPHS: dict[str, tuple[Build, list[str]]] = {}


def graph(*rules: str) -> Callable[[Build], Build]:
    """A graph of several ops, with the rule that each of them breaks."""

    def keep(build: Build) -> Build:
        GRAPHS[build.__name__] = (build, list(rules))
        return build

    return keep


def dense(t: Tiny, source: int, weights: int, bias: int, width: int) -> int:
    result = t.tensor(*t.tensors[source].shape[:-1], width)
    t.op("FULLY_CONNECTED", [source, weights, bias], [result], table="FullyConnectedOptions", keepNumDims=True)
    return result


def unpacked(t: Tiny, shape: tuple[int, ...], dtype: str, scales: tuple[float, ...] = ()) -> int:
    """A FLOAT32 tensor that a DEQUANTIZE makes from a constant."""
    result = t.tensor(*shape)
    t.op("DEQUANTIZE", [t.constant(np.ones(shape), dtype, scales)], [result])
    return result


@graph("", "", "")
def half_weights(t: Tiny) -> tuple[list[int], list[int]]:
    x = t.tensor(2, 8)
    return [x], [dense(t, x, unpacked(t, (6, 8), "FLOAT16"), unpacked(t, (6,), "FLOAT16"), 6)]


@graph("reader", "filter_and_bias_types")
def half_bias_alone(t: Tiny) -> tuple[list[int], list[int]]:
    x = t.tensor(2, 8)
    bias = unpacked(t, (6,), "FLOAT16")
    return [x], [dense(t, x, t.constant(np.ones((6, 8))), bias, 6)]


@graph("", "", "")
def half_weights_for_a_sum_too(t: Tiny) -> tuple[list[int], list[int]]:
    x, y = t.tensor(2, 8), t.tensor(6, 8)
    weights = unpacked(t, (6, 8), "FLOAT16")
    t.op("ADD", [weights, weights], [y], table="AddOptions")
    return [x], [dense(t, x, weights, -1, 6), y]


@graph("reader", "op")
def half_constant_for_a_built_in_kernel(t: Tiny) -> tuple[list[int], list[int]]:
    x, y = t.tensor(6, 8), t.tensor(6, 8)
    t.op("POW", [x, unpacked(t, (6, 8), "FLOAT16")], [y])
    return [x], [y]


@graph("", "")
def short_weights_alone(t: Tiny) -> tuple[list[int], list[int]]:
    x = t.tensor(2, 8)
    return [x], [dense(t, x, unpacked(t, (6, 8), "INT8", (0.5,) * 6), -1, 6)]


@graph("", "")
def sparse_weights(t: Tiny) -> tuple[list[int], list[int]]:
    x, w = t.tensor(2, 8), t.tensor(6, 8)
    t.op("DENSIFY", [t.sparse(6, 8, dtype="FLOAT32")], [w])
    return [x], [dense(t, x, w, -1, 6)]


@graph("reader", "op")
def sparse_constant_for_a_built_in_kernel(t: Tiny) -> tuple[list[int], list[int]]:
    x, w, y = t.tensor(6, 8), t.tensor(6, 8), t.tensor(6, 8)
    t.op("DENSIFY", [t.sparse(6, 8, dtype="FLOAT32")], [w])
    t.op("POW", [x, w], [y])
    return [x], [y]


def variable(t: Tiny, dtype: str, shape: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """A value is stored, and read after it."""
    handle, x, y, z = t.tensor(1, dtype="RESOURCE"), t.tensor(2, 3), t.tensor(*shape, dtype=dtype), t.tensor(2, 3)
    value = x if dtype == "FLOAT32" else t.tensor(2, 3, dtype=dtype)
    t.op("VAR_HANDLE", [], [handle], table="VarHandleOptions", container=b"", sharedName=b"a")
    t.op("ASSIGN_VARIABLE", [handle, value], [], table="AssignVariableOptions")
    t.op("READ_VARIABLE", [handle], [y], table="ReadVariableOptions")
    t.op("RELU", [x], [z])
    return [x, value] if value != x else [x], [y, z]


@graph("", "", "", "")
def float_variable(t: Tiny) -> tuple[list[int], list[int]]:
    return variable(t, "FLOAT32", (2, 3))


@graph("value", "type of input 1", "type of output 0", "")
def integer_variable(t: Tiny) -> tuple[list[int], list[int]]:
    return variable(t, "INT32", (2, 3))


@graph("", "", "ranked_output", "")
def variable_of_unknown_shape(t: Tiny) -> tuple[list[int], list[int]]:
    return variable(t, "FLOAT32", ())


@graph("", "", "variable_value", "")
def variable_of_two_shapes(t: Tiny) -> tuple[list[int], list[int]]:
    return variable(t, "FLOAT32", (3, 2))


def custom(t: Tiny, name: bytes, content: tuple[int, ...]) -> None:
    """Turn the last op into a custom one."""
    t.codes[-1].builtinCode = t.codes[-1].deprecatedBuiltinCode = 32
    t.codes[-1].customCode = name
    t.operators[-1].customOptions = np.frombuffer(np.array(content, np.int32).tobytes(), np.uint8)


@graph("")
def mediapipe_transposed_convolution(t: Tiny) -> tuple[list[int], list[int]]:
    x, y = t.tensor(1, 2, 2, 4), t.tensor(1, 4, 4, 6)
    t.op("RELU", [x, t.constant(np.ones((6, 3, 3, 4))), t.constant(np.ones(6))], [y])
    custom(t, b"Convolution2DTransposeBias", (1, 2, 2))
    return [x], [y]


def attention(t: Tiny, name: bytes, mask_length: int = 4) -> tuple:
    """A composite with the graph that it stands for, which here is only a RELU."""
    ins = [*(t.tensor(1, 4, 2, 8) for _ in range(3)), t.tensor(1, 1, 4, mask_length)]
    out = t.tensor(1, 4, 2, 8)
    attributes = np.frombuffer(flexbuffers.Dumps({"scale": 0.5}), np.uint8)
    t.op("STABLEHLO_COMPOSITE", ins, [out], table="StableHLOCompositeOptions", name=name,
         compositeAttributes=attributes, decompositionSubgraphIndex=1)  # fmt: skip
    body = t.callee()
    given, result = (
        [*(body.tensor(1, 4, 2, 8) for _ in range(3)), body.tensor(1, 1, 4, mask_length)],
        body.tensor(1, 4, 2, 8),
    )
    body.op("RELU", [given[0]], [result])
    return ins, [out], body.graph(given, [result])


@graph("")
def composite_attention(t: Tiny) -> tuple:
    return attention(t, b"odml.scaled_dot_product_attention")


@graph("is_attention")
def other_composite(t: Tiny) -> tuple:
    return attention(t, b"odml.group_norm")
