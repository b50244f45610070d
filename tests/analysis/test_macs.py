"""Multiply-accumulate operations: with ones for data and weights each product is 1, so the result's sum counts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from edgeflex_tflite.analysis.macs import Arithmetic, MacCount, count_macs
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny

small = st.integers(1, 4)
quick = settings(max_examples=25, deadline=None)


def counted(t: Tiny, graph: int = 0) -> MacCount:
    return count_macs(load_graphs(t.build([], []))[graph])


def single(op: str, tensors: Sequence[tuple[int, ...]], output: tuple[int, ...], **options: object) -> int:
    """MACs of one op; its second input is a constant, as weights are."""
    t = Tiny()
    inputs = [t.constant(np.ones(s)) if i == 1 else t.tensor(*s) for i, s in enumerate(tensors)]
    t.op(op, inputs, [t.tensor(*output)], **options)
    return counted(t).total


def channels_last(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(torch.movedim(tensor, 1, -1).shape)


@quick
@given(batch=small, side=st.integers(3, 6), kernel=st.integers(1, 3), stride=st.integers(1, 2),
       groups=st.integers(1, 3), ins=small, outs=small, padded=st.booleans())  # fmt: skip
def test_a_convolution_counts_its_windows_and_groups(
    batch: int, side: int, kernel: int, stride: int, groups: int, ins: int, outs: int, padded: bool
) -> None:
    """What lies in the padding counts too: kernels multiply zeros there."""
    image = torch.ones(batch, groups * ins, side + 2 * padded, side + 2 * padded)
    weights = torch.ones(groups * outs, ins, kernel, kernel)
    result = F.conv2d(image, weights, stride=stride, groups=groups)
    given_shapes = [(batch, side, side, groups * ins), channels_last(weights)]
    assert single("CONV_2D", given_shapes, channels_last(result), table="Conv2DOptions") == result.sum()


@quick
@given(batch=small, side=st.integers(3, 6), kernel=st.integers(1, 3), channels=small, multiplier=st.integers(1, 3))
def test_a_depthwise_convolution_counts_one_channel_for_each_output(
    batch: int, side: int, kernel: int, channels: int, multiplier: int
) -> None:
    weights = torch.ones(channels * multiplier, 1, kernel, kernel)
    result = F.conv2d(torch.ones(batch, channels, side, side), weights, groups=channels)
    shapes = [(batch, side, side, channels), (1, kernel, kernel, channels * multiplier)]
    options = {"table": "DepthwiseConv2DOptions", "depthMultiplier": multiplier}
    assert single("DEPTHWISE_CONV_2D", shapes, channels_last(result), **options) == result.sum()


@quick
@given(batch=small, side=small, kernel=st.integers(1, 3), stride=st.integers(1, 3), ins=small, outs=small)
def test_a_transposed_convolution_counts_what_each_input_spreads(
    batch: int, side: int, kernel: int, stride: int, ins: int, outs: int
) -> None:
    image, weights = torch.ones(batch, ins, side, side), torch.ones(ins, outs, kernel, kernel)
    result = F.conv_transpose2d(image, weights, stride=stride)
    shapes = [(4,), (outs, kernel, kernel, ins), (batch, side, side, ins)]
    assert single("TRANSPOSE_CONV", shapes, channels_last(result), table="TransposeConvOptions") == result.sum()


@quick
@given(side=st.integers(3, 4), kernel=st.integers(1, 3), ins=small, outs=small)
def test_convolutions_of_volumes_are_counted(side: int, kernel: int, ins: int, outs: int) -> None:
    volume, table = torch.ones(1, ins, side, side, side), "Conv3DOptions"
    result = F.conv3d(volume, torch.ones(outs, ins, kernel, kernel, kernel))
    shapes = [channels_last(volume), (kernel, kernel, kernel, ins, outs)]
    assert single("CONV_3D", shapes, channels_last(result), table=table) == result.sum()
    result = F.conv_transpose3d(volume, torch.ones(ins, outs, kernel, kernel, kernel))
    shapes = [(5,), (kernel, kernel, kernel, outs, ins), channels_last(volume)]
    assert single("CONV_3D_TRANSPOSE", shapes, channels_last(result), table=table) == result.sum()


@quick
@given(before=st.lists(small, min_size=1, max_size=3), ins=small, outs=small, keep=st.booleans())
def test_a_fully_connected_counts_every_row(before: list[int], ins: int, outs: int, keep: bool) -> None:
    result = np.ones((*before, ins)) @ np.ones((ins, outs))
    output = result.shape if keep else (result.size // outs, outs)
    options = {"table": "FullyConnectedOptions", "keepNumDims": keep}
    assert single("FULLY_CONNECTED", [(*before, ins), (outs, ins)], output, **options) == result.sum()


def test_a_fully_connected_may_take_several_dimensions_for_one_row() -> None:
    assert single("FULLY_CONNECTED", [(2, 3, 4), (5, 12)], (2, 5), table="FullyConnectedOptions") == 2 * 12 * 5


BATCHES = [((), ()), ((3,), (3,)), ((2, 3), (2, 3)), ((1, 3), (2, 1)), ((2, 1), (3,)), ((), (2,))]


@quick
@given(rows=small, inner=small, columns=small, adj_x=st.booleans(), adj_y=st.booleans(),
       batches=st.sampled_from(BATCHES))  # fmt: skip
def test_a_batched_product_counts_what_is_broadcast_and_transposed(
    rows: int, inner: int, columns: int, adj_x: bool, adj_y: bool, batches: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    left, right = np.ones((*batches[0], rows, inner)), np.ones((*batches[1], inner, columns))
    result = left @ right
    shapes = [
        np.swapaxes(left, -1, -2).shape if adj_x else left.shape,
        np.swapaxes(right, -1, -2).shape if adj_y else right.shape,
    ]
    options = {"table": "BatchMatMulOptions", "adjX": adj_x, "adjY": adj_y}
    assert single("BATCH_MATMUL", shapes, result.shape, **options) == result.sum()


@quick
@given(rows=small, ins=small, outs=small)
def test_sparse_weights_count_what_is_stored(rows: int, ins: int, outs: int) -> None:
    t = Tiny()
    t.op("FULLY_CONNECTED", [t.tensor(rows, ins), t.sparse(outs, ins), -1], [t.tensor(rows, outs)])
    assert counted(t).total == sum(1 for _ in range(rows) for _ in range(outs)), "one element is stored in each row"


def lstm(
    steps: int, ins: int, cells: int, *, cifg: bool = False, projection: int = 0, peephole: bool = False,
    weights: Callable[[Tiny, tuple[int, ...]], int] | None = None,
) -> Tiny:  # fmt: skip
    """A sequence of one batch; with CIFG the input gate has no weights of its own."""
    t, outs = Tiny(), projection or cells
    made = weights or (lambda t, shape: t.constant(np.ones(shape)))
    x, y = t.tensor(steps, 1, ins), t.tensor(steps, 1, outs)
    gates = [(cells, ins)] * 4 + [(cells, outs)] * 4
    inputs = [x, *(-1 if cifg and i % 4 == 0 else made(t, shape) for i, shape in enumerate(gates))]
    inputs += [t.constant(np.ones(cells)) if peephole and not (cifg and i == 0) else -1 for i in range(3)]
    inputs += [-1 if cifg and i == 0 else t.constant(np.zeros(cells)) for i in range(4)]
    inputs += [made(t, (projection, cells)) if projection else -1, -1]
    inputs += [t.tensor(1, outs, variable=True), t.tensor(1, cells, variable=True)]
    t.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [y], table="UnidirectionalSequenceLSTMOptions", timeMajor=True)
    return t


def lstm_products(steps: int, ins: int, cells: int, cifg: bool, projection: int) -> int:
    """By loops, as an LSTM is defined; products of single numbers (peepholes, gates) belong to no matrix."""
    count = 0
    for _step in range(steps):
        for _gate in range(3 if cifg else 4):
            for _cell in range(cells):
                count += ins + (projection or cells)
        for _output in range(projection):
            count += cells
    return count


@quick
@given(steps=small, ins=small, cells=st.integers(2, 4), cifg=st.booleans(), projection=st.integers(0, 3),
       peephole=st.booleans())  # fmt: skip
def test_an_lstm_counts_every_step_and_no_state(
    steps: int, ins: int, cells: int, cifg: bool, projection: int, peephole: bool
) -> None:
    t = lstm(steps, ins, cells, cifg=cifg, projection=projection, peephole=peephole)
    assert counted(t).total == lstm_products(steps, ins, cells, cifg, projection)


def half(t: Tiny, shape: tuple[int, ...]) -> int:
    """Weights that are stored as FP16 and unpacked."""
    result = t.tensor(*shape)
    t.op("DEQUANTIZE", [t.constant(np.ones(shape), "FLOAT16")], [result])
    return result


def short(t: Tiny, shape: tuple[int, ...]) -> int:
    return t.constant(np.ones(shape), "INT8", [0.5])


def test_an_lstm_counts_weights_that_are_unpacked() -> None:
    found = counted(lstm(2, 3, 4, weights=half))
    assert found.total == lstm_products(2, 3, 4, cifg=False, projection=0)
    assert found.shares == {Arithmetic.FLOAT: 1.0}


def test_an_lstm_without_an_input_gate_is_judged_by_the_weights_that_it_has() -> None:
    """The first of its matrices is absent, and the last tensor of the file must not stand in for it."""
    t = lstm(2, 3, 4, cifg=True, weights=short)
    assert counted(t).shares == {Arithmetic.DYNAMIC: 1.0}


def test_the_basic_lstm_has_one_matrix() -> None:
    t = Tiny()
    x, activation, state = t.tensor(2, 3), t.constant(np.zeros((2, 4))), t.tensor(2, 4)
    inputs = [x, activation, t.constant(np.ones((16, 7))), t.constant(np.ones(16)), state]
    t.op("LSTM", inputs, [t.tensor(2, 4) for _ in range(4)], table="LSTMOptions", kernelType=1)
    assert counted(t).total == 2 * 16 * 7


def test_an_svdf_multiplies_features_and_their_memory() -> None:
    t = Tiny()
    inputs = [t.tensor(2, 3), t.constant(np.ones((8, 3))), t.constant(np.ones((8, 5))), -1]
    t.op("SVDF", [*inputs, t.tensor(2, 40, variable=True)], [t.tensor(2, 4)], table="SVDFOptions", rank=2)
    assert counted(t).total == 2 * (8 * 3 + 8 * 5)


def dense(data: str, weights: str, unpacked: bool = False) -> Tiny:
    t = Tiny()
    scales = [0.5] if data.startswith("INT") else []
    x = t.tensor(2, 4, dtype=data, scales=scales)
    w = t.packed(3, 4, dtype=weights) if weights in ("INT4", "INT2") else t.constant(np.ones((3, 4)), weights, [0.5])
    if unpacked:
        wide = t.tensor(3, 4, dtype=data)
        t.op("DEQUANTIZE", [w], [wide])
        w = wide
    t.op("FULLY_CONNECTED", [x, w, -1], [t.tensor(2, 3, dtype=data)], table="FullyConnectedOptions")
    return t


@pytest.mark.parametrize(
    ("data", "weights", "unpacked", "arithmetic"),
    [
        ("FLOAT32", "FLOAT32", False, Arithmetic.FLOAT),
        ("FLOAT32", "INT8", False, Arithmetic.DYNAMIC),
        ("FLOAT32", "UINT8", False, Arithmetic.DYNAMIC),
        ("FLOAT32", "INT4", False, Arithmetic.DYNAMIC),
        ("FLOAT32", "INT2", False, Arithmetic.DYNAMIC),
        ("FLOAT32", "FLOAT16", True, Arithmetic.FLOAT),
        ("FLOAT32", "INT8", True, Arithmetic.FLOAT),
        ("FLOAT16", "FLOAT16", False, Arithmetic.HALF),
        ("INT8", "INT8", False, Arithmetic.INTEGER),
        ("INT8", "INT4", False, Arithmetic.INTEGER),
        ("UINT8", "UINT8", False, Arithmetic.INTEGER),
        ("INT16", "INT8", False, Arithmetic.INTEGER),
    ],
)
def test_types_of_data_and_weights_decide_the_arithmetic(
    data: str, weights: str, unpacked: bool, arithmetic: Arithmetic
) -> None:
    assert counted(dense(data, weights, unpacked)).shares == {arithmetic: 1.0}


def test_a_transposed_convolution_is_judged_by_its_third_input() -> None:
    """The first one is the output's shape, which is an integer in any model."""
    t = Tiny()
    inputs = [t.constant([1, 2, 2, 1], "INT32"), t.constant(np.ones((1, 1, 1, 3))), t.tensor(1, 2, 2, 3)]
    t.op("TRANSPOSE_CONV", inputs, [t.tensor(1, 2, 2, 1)], table="TransposeConvOptions")
    assert counted(t).shares == {Arithmetic.FLOAT: 1.0}


@quick
@given(st.lists(st.tuples(st.sampled_from(["FLOAT32", "INT8", "INT16"]), small, small), min_size=1, max_size=6))
def test_shares_are_of_the_total(ops: list[tuple[str, int, int]]) -> None:
    t = Tiny()
    for dtype, rows, width in ops:
        x, y = t.tensor(rows, width, dtype=dtype), t.tensor(rows, 3, dtype=dtype)
        kind = "FLOAT32" if dtype == "FLOAT32" else "INT8"
        t.op("FULLY_CONNECTED", [x, t.constant(np.ones((3, width)), kind), -1], [y])
    found = counted(t)
    assert found.total == sum(rows * width * 3 for _, rows, width in ops)
    assert sum(found.shares.values()) == pytest.approx(1)
    floats = sum(rows * width * 3 for dtype, rows, width in ops if dtype == "FLOAT32")
    assert found.shares.get(Arithmetic.FLOAT, 0) == pytest.approx(floats / found.total)


def test_a_graph_without_products_has_no_shares() -> None:
    t = Tiny()
    t.op("ADD", [t.tensor(4), t.tensor(4)], [t.tensor(4)], table="AddOptions")
    assert counted(t) == MacCount((), ())
    assert (counted(t).total, counted(t).shares) == (0, {})


def test_what_may_hide_products_is_named() -> None:
    t = Tiny()
    x = t.tensor(4)
    for code in ("FlexMatMul", "MY_MATMUL", "CONV_2D"):
        t.op("CUSTOM", [x], [t.tensor(4)], custom_code=code)
    t.op("RELU", [x], [t.tensor(4)])
    t.op("STABLEHLO_DOT_GENERAL", [x, x], [t.tensor(1)])
    assert counted(t) == MacCount((), ("CONV_2D", "FlexMatMul", "MY_MATMUL", "STABLEHLO_DOT_GENERAL"))


def test_an_op_without_its_weights_is_refused() -> None:
    t = Tiny()
    t.op("CONV_2D", [t.tensor(1, 4, 4, 3)], [t.tensor(1, 4, 4, 8)], table="Conv2DOptions")
    with pytest.raises(UserError, match=r"Op 0 \(CONV_2D\) lacks inputs"):
        counted(t)


def vit_products(tokens: int, width: int, depth: int, heads: int) -> int:
    patches = (tokens - 1) * 3 * 8 * 8 * width
    attention = tokens * width * 3 * width + 2 * heads * tokens * tokens * (width // heads) + tokens * width * width
    return patches + depth * (attention + 2 * tokens * width * 4 * width) + width * 10


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("float", {Arithmetic.FLOAT}),
        ("float16", {Arithmetic.FLOAT}),
        ("dynamic_wi8_afp32", {Arithmetic.DYNAMIC, Arithmetic.FLOAT}),  # the attention's products are of activations
        ("static_wi8_ai8", {Arithmetic.INTEGER}),
    ],
)
def test_a_vision_transformer_has_the_products_of_its_formula(
    form: str, kinds: set[Arithmetic], float_vit: Path, quantized_vit: Callable[[str], Path]
) -> None:
    found = count_macs(load_graphs(float_vit if form == "float" else quantized_vit(form))[0])
    assert found.total == vit_products(tokens=17, width=64, depth=2, heads=2)
    assert set(found.shares) == kinds
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.uncounted == ()
