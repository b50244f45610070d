"""Graphs of one op each, and the rule of XNNPACK's table that the op breaks; "" where XNNPACK takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.tiny import Tiny

Maker = Callable[[Tiny], int]


@dataclass(frozen=True)
class Case:
    """One op between graph inputs, constants and graph outputs."""

    op: str
    inputs: Sequence[Maker]
    outputs: Sequence[Maker]
    rule: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> bytes:
        """The flatbuffer."""
        t = Tiny()
        inputs, outputs = [make(t) for make in self.inputs], [make(t) for make in self.outputs]
        t.op(self.op, inputs, outputs, **self.options)
        return t.build([i for i in dict.fromkeys(inputs) if i >= 0 and not t.tensors[i].buffer], outputs)


def x(*shape: int, dtype: str = "FLOAT32", scales: Sequence[float] = (), zero: int = 0) -> Maker:
    """A computed tensor."""
    return lambda t: with_zero(t, t.tensor(*shape, dtype=dtype, scales=scales), zero)


def c(value: Any, dtype: str = "FLOAT32", scales: Sequence[float] = (), zero: int = 0, axis: int = 0) -> Maker:
    """A constant."""
    return lambda t: with_zero(t, t.constant(value, dtype, scales), zero, axis)


def q(*shape: int, dtype: str = "INT8", scale: float = 0.5, zero: int = 0) -> Maker:
    """A computed 8-bit tensor with one scale."""
    return x(*shape, dtype=dtype, scales=[scale], zero=zero)


def i32(*values: int) -> Maker:
    """A constant list of INT32."""
    return c(list(values), "INT32")


def absent(t: Tiny) -> int:
    """An input that is not there."""
    return -1


def with_zero(t: Tiny, index: int, zero: int, axis: int = 0) -> int:
    quantization = t.tensors[index].quantization
    if zero:
        quantization.zeroPoint = [zero] * len(quantization.scale)
    quantization.quantizedDimension = axis
    return index


def packed(*shape: int, dtype: str = "INT4", scales: Sequence[float] = (1.0,)) -> Maker:
    """A constant of a type below a byte."""
    return lambda t: t.packed(*shape, dtype=dtype, scales=scales)


CASES: dict[str, Case] = {}
I8, U8, F16 = "INT8", "UINT8", "FLOAT16"
ZERO, ONES = np.zeros, np.ones


def add(name: str, op: str, inputs: Sequence[Maker], outputs: Sequence[Maker], rule: str = "", **options: Any) -> None:
    assert f"{op} {name}" not in CASES
    CASES[f"{op} {name}"] = Case(op, inputs, outputs, rule, options)


def unary(op: str, **options: Any) -> None:
    """What holds for all ops on floats alone."""
    add("float", op, [x(2, 3)], [x(2, 3)], **options)
    add("float16", op, [x(2, 3, dtype=F16)], [x(2, 3, dtype=F16)], **options)
    add("scalar", op, [x()], [x()], **options)


for name in ["ABS", "CEIL", "COS", "EXP", "FLOOR", "HARD_SWISH", "LOG", "NEG", "RELU", "RELU6", "RELU_N1_TO_1"]:
    unary(name)
for name in ["ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "ELU", "LOGISTIC", "TANH"]:
    unary(name)
unary("GELU", table="GeluOptions")
unary("LEAKY_RELU", table="LeakyReluOptions", alpha=0.5)
add("float", "SOFTMAX", [x(2, 3)], [x(2, 3)], table="SoftmaxOptions", beta=1.0)
add("float16", "SOFTMAX", [x(2, 3, dtype=F16)], [x(2, 3, dtype=F16)], table="SoftmaxOptions", beta=1.0)
for name in ["ABS", "HARD_SWISH", "RELU", "RELU6", "RELU_N1_TO_1"]:
    add("int8", name, [q(2, 3)], [q(2, 3)], "type of input 0")
add("rank 7", "ABS", [x(1, 1, 1, 1, 1, 2, 3)], [x(1, 1, 1, 1, 1, 2, 3)], "shape of input 0")
add("int8", "GELU", [q(2, 3)], [q(2, 3)], "type of input 0", table="GeluOptions")
add("int8", "ELU", [q(2, 3)], [q(2, 3)])
add("rank 7", "ELU", [x(1, 1, 1, 1, 1, 2, 3)], [x(1, 1, 1, 1, 1, 2, 3)], "shape of input 0")
for name, scale in [("LOGISTIC", 1 / 256), ("TANH", 1 / 128)]:
    add("int8", name, [q(2, 3)], [q(2, 3, scale=scale, zero=-128 * (name == "LOGISTIC"))])
    add("uint8", name, [q(2, 3, dtype=U8)], [q(2, 3, dtype=U8, scale=scale, zero=128 * (name == "TANH"))])
    short = [x(2, 3, dtype="INT16", scales=[1 / 2048])], [x(2, 3, dtype="INT16", scales=[1 / 32768])]
    add("int16", name, *short, "type of input 0")
    add("rank 7", name, [x(1, 1, 1, 1, 1, 2, 3)], [x(1, 1, 1, 1, 1, 2, 3)], "shape of input 0")
add("int8", "LEAKY_RELU", [q(2, 3)], [q(2, 3)], table="LeakyReluOptions", alpha=0.5)
add("flat", "LEAKY_RELU", [x(2, 3)], [x(2, 3)], "leaky_relu_slope", table="LeakyReluOptions", alpha=0.0)
add("steep", "LEAKY_RELU", [q(2, 3)], [q(2, 3, scale=0.002)], "leaky_relu_slope", table="LeakyReluOptions", alpha=0.5)
add("softer", "SOFTMAX", [x(2, 3)], [x(2, 3)], "option_is beta", table="SoftmaxOptions", beta=0.5)
eighth = [q(2, 3)], [q(2, 3, scale=1 / 256, zero=-128)]
add("int8", "SOFTMAX", *eighth, "type of input 0", table="SoftmaxOptions", beta=1.0)

for dtype in (I8, U8):
    add(dtype, "DEQUANTIZE", [q(2, 3, dtype=dtype, zero=3)], [x(2, 3)])
    add(dtype, "QUANTIZE", [x(2, 3)], [q(2, 3, dtype=dtype, zero=3)])
    add(f"{dtype} again", "QUANTIZE", [q(2, 3, dtype=dtype)], [q(2, 3, dtype=dtype, scale=0.25)])
add("int16", "DEQUANTIZE", [x(2, 3, dtype="INT16", scales=[0.5])], [x(2, 3)], "type of input 0")
add("float16", "DEQUANTIZE", [x(2, 3, dtype=F16)], [x(2, 3)], "type of input 0")
add("channels", "DEQUANTIZE", [x(2, 3, dtype=I8, scales=[0.5, 0.25])], [x(2, 3)], "type of input 0")
add("int4", "DEQUANTIZE", [packed(2, 4)], [x(2, 4)], "type of input 0")
add("constant float16", "DEQUANTIZE", [c(ONES((2, 3)), F16)], [x(2, 3)])
add("constant int8", "DEQUANTIZE", [c(ONES((2, 3)), I8, [0.5, 0.25])], [x(2, 3)])
add("to int16", "QUANTIZE", [x(2, 3)], [x(2, 3, dtype="INT16", scales=[0.5])], "type of output 0")
add("other type", "QUANTIZE", [q(2, 3)], [q(2, 3, dtype=U8)], "requantizes_within_one_type")
add("far", "QUANTIZE", [q(2, 3)], [q(2, 3, scale=0.003)], "requantizes_within_one_type")

for name, table in [("ADD", "AddOptions"), ("SUB", "SubOptions"), ("MUL", "MulOptions"), ("DIV", "DivOptions")]:
    add("float", name, [x(2, 3), x(3)], [x(2, 3)], table=table, fusedActivationFunction=1)
    add("float16", name, [x(2, 3, dtype=F16), x(3, dtype=F16)], [x(2, 3, dtype=F16)], table=table)
    integers = [x(2, 3, dtype="INT32"), x(2, 3, dtype="INT32")], [x(2, 3, dtype="INT32")]
    add("int32", name, *integers, "type of input 0", table=table)
    add("int8", name, [q(2, 3), q(2, 3)], [q(2, 3)], "type of input 0" if name == "DIV" else "", table=table)
    add("empty", name, [x(0, 3), x(0, 3)], [x(0, 3)], "shape of input 0", table=table)
    add("tanh", name, [x(2, 3), x(2, 3)], [x(2, 3)], "activation", table=table, fusedActivationFunction=4)
for name, table in [("ADD", "AddOptions"), ("SUB", "SubOptions")]:
    far = [q(2, 3, scale=300.0), q(2, 3)], [q(2, 3, scale=1.0)]
    add("far", name, *far, "input_scales_over_output", table=table)
add("uint8", "ADD", [q(2, 3, dtype=U8), q(2, 3, dtype=U8)], [q(2, 3, dtype=U8)], table="AddOptions")
far = [q(2, 3, scale=0.001), q(2, 3, scale=0.001)], [q(2, 3, scale=1.0)]
add("far", "MUL", *far, "product_scale_over_output", table="MulOptions")
for name in ["MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE"]:
    add("float", name, [x(2, 3), x(3)], [x(2, 3)])
    add("int8", name, [q(2, 3), q(2, 3)], [q(2, 3)], "type of input 0")
add("float", "PRELU", [x(2, 3), c(ONES(3))], [x(2, 3)])
add("computed", "PRELU", [x(2, 3), x(3)], [x(2, 3)], "constant input 1")
add("int8", "PRELU", [q(2, 3), c(ONES(3), I8, [0.5])], [q(2, 3)], "type of input 0")
