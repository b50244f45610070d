"""Each surprise by a graph that has it, and by one that is nearly the same and has not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.analysis.analysis import analyze_file
from edgeflex_tflite.analysis.kernels import place_ops
from edgeflex_tflite.analysis.macs import count_macs
from edgeflex_tflite.analysis.surprises import FLATBUFFER_LIMIT_BYTES, Surprise, find_surprises
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import Model
from edgeflex_tflite.memory.control import adapt_callees
from edgeflex_tflite.memory.planner import plan_graph
from edgeflex_tflite.parse import load_file
from tests.tiny import Tiny

KINDS = {
    "rank", "op-version", "custom-op", "open-shape", "fp16-computes-in-fp32", "dequantized-weights",
    "per-channel-linear", "per-channel-activation", "saturation", "scale-mismatch", "dynamic-tensors",
    "unplanned-scratch", "float-hole", "reference-kernel", "file-size",
}  # fmt: skip

Build = Callable[[Tiny], Sequence[int]]
"""Fills a graph; gives its inputs."""


def surprises_of(model: Model, runtime: str | None = None) -> tuple[Surprise, ...]:
    adapted = adapt_callees(model.graphs)
    return find_surprises(
        model,
        [count_macs(graph) for graph in model.graphs],
        [plan_graph(adapted, graph.index) for graph in model.graphs],
        [place_ops(graph) for graph in model.graphs],
        runtime,
    )


def surprises(build: Build, runtime: str | None = None) -> tuple[Surprise, ...]:
    t = Tiny()
    return surprises_of(load_file(t.build(build(t), [])), runtime)


def relu(*shape: int) -> Build:
    def build(t: Tiny) -> list[int]:
        x = t.tensor(*shape)
        t.op("RELU", [x], [t.tensor(*shape)])
        return [x]

    return build


def constant_of_rank_5(t: Tiny) -> list[int]:
    x = t.tensor(4)
    t.op("ADD", [x, t.constant(np.ones((1, 1, 1, 1, 4)))], [t.tensor(4)], table="AddOptions")
    return [x]


def versioned(version: int) -> Build:
    def build(t: Tiny) -> list[int]:
        x = t.tensor(4)
        t.op("ADD", [x, x], [t.tensor(4)], table="AddOptions", version=version)
        return [x]

    return build


def named(op: str, code: str = "") -> Build:
    def build(t: Tiny) -> list[int]:
        x = t.tensor(4)
        t.op(op, [x], [t.tensor(4)], **({"custom_code": code} if code else {}))
        return [x]

    return build


def with_signature(*signature: int) -> Build:
    def build(t: Tiny) -> list[int]:
        inputs = relu(1, 4)(t)
        t.tensors[inputs[0]].shapeSignature = list(signature)
        return inputs

    return build


def unpacked(dtype: str, constant: bool = True, op: str = "DEQUANTIZE") -> Build:
    def build(t: Tiny) -> list[int]:
        x, w, y = t.tensor(2, 4), t.tensor(3, 4), t.tensor(2, 3)
        scales = [0.5] if dtype == "INT8" else []
        stored = t.constant(np.ones((3, 4)), dtype, scales) if constant else t.tensor(3, 4, dtype=dtype, scales=scales)
        t.op(op, [stored], [w])
        t.op("FULLY_CONNECTED", [x, w, -1], [y], table="FullyConnectedOptions")
        return [x] if constant else [x, stored]

    return build


def dense(data: str = "INT8", weight_scales: int = 1, output_scales: int = 1, **tensor: object) -> Build:
    def build(t: Tiny) -> list[int]:
        quantized = data != "FLOAT32"
        x = t.tensor(2, 4, dtype=data, scales=[0.5] if quantized else [])
        w = t.constant(np.ones((3, 4)), "INT8", [0.5] * weight_scales)
        y = t.tensor(2, 3, dtype=data, scales=[0.5] * output_scales if quantized or output_scales > 1 else [])
        t.op("FULLY_CONNECTED", [x, w, -1], [y], table="FullyConnectedOptions")
        return [x]

    return build


def copied(op: str, scale_in: float, scale_out: float, zero_out: int = 0) -> Build:
    def build(t: Tiny) -> list[int]:
        x, y = t.tensor(4, dtype="INT8", scales=[scale_in]), t.tensor(4, dtype="INT8", scales=[scale_out])
        t.tensors[y].quantization.zeroPoint = [zero_out]
        t.op(op, [x], [y])
        return [x]

    return build


def sized(op: str, by_a_constant: bool) -> Build:
    """An op whose second input decides the size of its output, and one behind it."""

    def build(t: Tiny) -> list[int]:
        x, y = t.tensor(4), t.tensor(4)
        size = t.constant([4 if op == "RESHAPE" else 1], "INT32") if by_a_constant else t.tensor(1, dtype="INT32")
        t.op(op, [x, size], [y])
        t.op("RELU", [y], [t.tensor(4)])
        return [x] if by_a_constant else [x, size]

    return build


def after_dense(op: str, dtype: str, rows: int = 2) -> Build:
    """An integer product, and behind it an op of another type."""

    def build(t: Tiny) -> list[int]:
        inputs = dense()(t)
        x, y = t.tensor(rows, 3, dtype=dtype), t.tensor(rows, 3, dtype=dtype)
        t.op(op, [x], [y])
        return [*inputs, x]

    return build


def with_float_products(rows: int) -> Build:
    """An integer product, and a float one that is so many times as large."""

    def build(t: Tiny) -> list[int]:
        inputs = dense()(t)
        x = t.tensor(2 * rows, 4)
        t.op("FULLY_CONNECTED", [x, t.constant(np.ones((3, 4))), -1], [t.tensor(2 * rows, 3)])
        return [*inputs, x]

    return build


def product(zero_point: int, share: int = 1) -> Build:
    """A product of two activations, and one with weights that is `share` - 1 times as large.

    XNNPACK takes the first one where the second factor's zero point is 0.
    """

    def build(t: Tiny) -> list[int]:
        dtype, scales = "INT8", [0.5]
        x, y = t.tensor(1, 2, 3, dtype=dtype, scales=scales), t.tensor(1, 3, 2, dtype=dtype, scales=scales)
        t.tensors[y].quantization.zeroPoint = [zero_point]
        t.op("BATCH_MATMUL", [x, y], [t.tensor(1, 2, 2, dtype=dtype, scales=scales)], table="BatchMatMulOptions")
        if share > 1:
            z = t.tensor(4 * (share - 1), 3, dtype=dtype, scales=scales)
            w = t.constant(np.ones((1, 3)), dtype, scales)
            t.op("FULLY_CONNECTED", [z, w, -1], [t.tensor(4 * (share - 1), 1, dtype=dtype, scales=scales)])
            return [x, y, z]
        return [x, y]

    return build


PAIRS: list[tuple[str, Build, Build]] = [
    ("rank", relu(1, 1, 1, 2, 2), relu(1, 1, 2, 2)),
    ("rank", relu(1, 1, 1, 2, 2), constant_of_rank_5),
    ("op-version", versioned(5), versioned(4)),
    ("custom-op", named("CUSTOM", "MyRelu"), named("RELU")),
    ("custom-op", named("CUSTOM", "RELU"), named("RELU")),
    ("open-shape", with_signature(-1, 4), with_signature(1, 4)),
    ("fp16-computes-in-fp32", unpacked("FLOAT16"), unpacked("FLOAT16", constant=False)),
    ("fp16-computes-in-fp32", unpacked("FLOAT16"), unpacked("INT8")),
    ("dequantized-weights", unpacked("INT8"), unpacked("INT8", constant=False)),
    ("dequantized-weights", unpacked("INT8"), unpacked("FLOAT16")),
    ("per-channel-linear", dense(weight_scales=3), dense(weight_scales=1)),
    ("per-channel-linear", dense("INT16", weight_scales=3), dense("FLOAT32", weight_scales=3)),
    ("per-channel-activation", dense(output_scales=3), dense(output_scales=1)),
    ("per-channel-activation", dense(output_scales=3), dense("FLOAT32", output_scales=3)),
    ("saturation", copied("QUANTIZE", 0.5, 0.4), copied("QUANTIZE", 0.4, 0.5)),
    ("saturation", copied("QUANTIZE", 0.5, 0.5, zero_out=5), copied("QUANTIZE", 0.5, 0.5, zero_out=1)),
    ("saturation", copied("QUANTIZE", 0.5, 0.5, zero_out=-5), copied("QUANTIZE", 0.5, 0.5, zero_out=-1)),
    ("saturation", copied("QUANTIZE", 0.5, 0.4), copied("LOGISTIC", 0.5, 0.4)),
    ("scale-mismatch", copied("MAX_POOL_2D", 0.5, 0.4), copied("MAX_POOL_2D", 0.5, 0.5)),
    ("scale-mismatch", copied("MAX_POOL_2D", 0.5, 0.5, zero_out=5), copied("QUANTIZE", 0.5, 0.5, zero_out=5)),
    ("dynamic-tensors", sized("TILE", by_a_constant=False), sized("TILE", by_a_constant=True)),
    ("dynamic-tensors", sized("RESHAPE", by_a_constant=False), sized("RESHAPE", by_a_constant=True)),
    ("unplanned-scratch", named("CUSTOM", "MyRelu"), named("RELU")),
    ("float-hole", after_dense("LOGISTIC", "FLOAT32"), after_dense("LOGISTIC", "INT8")),
    ("float-hole", after_dense("LOGISTIC", "FLOAT32"), after_dense("DEQUANTIZE", "FLOAT32")),
    ("float-hole", with_float_products(1), with_float_products(2)),
    ("reference-kernel", product(5), product(0)),
    ("reference-kernel", product(5, share=90), product(5, share=110)),
]


@pytest.mark.parametrize(("kind", "has", "has_not"), PAIRS, ids=[f"{i}-{kind}" for i, (kind, _, _) in enumerate(PAIRS)])
def test_a_surprise_is_told_where_it_is_and_only_there(kind: str, has: Build, has_not: Build) -> None:
    assert [s.kind for s in surprises(has, "2.6.0")].count(kind) == 1
    assert kind not in {s.kind for s in surprises(has_not, "2.6.0")}


def test_every_kind_has_its_pair() -> None:
    assert {kind for kind, _, _ in PAIRS} == KINDS - {"file-size"}


@pytest.mark.parametrize(("size", "told"), [(FLATBUFFER_LIMIT_BYTES, []), (FLATBUFFER_LIMIT_BYTES + 1, ["file-size"])])
def test_a_file_may_have_two_gibibytes(size: int, told: list[str]) -> None:
    t = Tiny()
    model = replace(load_file(t.build(relu(4)(t), [])), file_bytes=size)
    assert [s.kind for s in surprises_of(model)] == told


def one(build: Build, kind: str, runtime: str | None = None) -> Surprise:
    (found,) = (s for s in surprises(build, runtime) if s.kind == kind)
    return found


def test_an_op_that_is_too_new_is_named_with_its_release() -> None:
    assert "TensorFlow Lite 2.6.0 does not run ADD version 5 (2.13.0)" in one(versioned(5), "op-version", "2.6.0").text
    assert surprises(versioned(5), "2.13.0") == surprises(versioned(5)) == ()


def test_what_is_no_release_is_refused() -> None:
    with pytest.raises(UserError, match="'new' is no TensorFlow Lite release"):
        surprises(relu(4), "new")


def test_ops_of_tensorflow_ask_for_its_library() -> None:
    assert "the Select TF ops library" in one(named("CUSTOM", "FlexErf"), "custom-op").text
    assert "their own kernels" in one(named("CUSTOM", "MyOp"), "custom-op").text


def test_a_surprise_names_its_ops_and_counts_its_bytes() -> None:
    assert (
        one(unpacked("INT8"), "dequantized-weights").ops,
        one(unpacked("FLOAT16"), "fp16-computes-in-fp32").ops,
    ) == (
        (0,),
        (0,),
    )
    assert one(after_dense("LOGISTIC", "FLOAT32"), "float-hole").ops == (1,)
    assert "(LOGISTIC)" in one(after_dense("LOGISTIC", "FLOAT32"), "float-hole").text
    assert one(relu(1, 1, 1, 2, 2), "rank").ops == (0,)
    assert "up to 5 dimensions" in one(relu(1, 1, 1, 2, 2), "rank").text

    def large(t: Tiny) -> list[int]:
        w = t.tensor(1000, 500)
        t.op("DEQUANTIZE", [t.constant(np.ones((1000, 500)), "FLOAT16")], [w])
        return []

    assert "(1.00 MB)" in one(large, "fp16-computes-in-fp32").text


def test_ops_that_are_planned_while_the_model_runs_are_told() -> None:
    found = one(sized("RESHAPE", by_a_constant=False), "dynamic-tensors")
    assert found.ops == (1,)
    assert "of what op 0 gives come while the model runs" in found.text
    text = one(sized("TILE", by_a_constant=False), "dynamic-tensors").text
    assert text.startswith("size and memory of 1 tensors (t1) come")


def test_many_names_are_cut_short() -> None:
    def build(t: Tiny) -> list[int]:
        for i in range(7):
            t.op("CUSTOM", [t.tensor(4)], [t.tensor(4)], custom_code=f"Op{i}")
        return []

    assert one(build, "custom-op").text.startswith("Op0, Op1, Op2, Op3, Op4 and 2 more: ")


scales = st.integers(1, 64).map(lambda n: n / 16)


@settings(max_examples=60, deadline=None)
@given(scale_in=scales, scale_out=scales, zero_in=st.integers(-128, 127), zero_out=st.integers(-128, 127))
def test_saturation_is_told_where_a_value_moves_by_more_than_a_step(
    scale_in: float, scale_out: float, zero_in: int, zero_out: int
) -> None:
    """All 256 values are quantized anew and compared."""

    def build(t: Tiny) -> list[int]:
        x, y = t.tensor(4, dtype="INT8", scales=[scale_in]), t.tensor(4, dtype="INT8", scales=[scale_out])
        t.tensors[x].quantization.zeroPoint, t.tensors[y].quantization.zeroPoint = [zero_in], [zero_out]
        t.op("QUANTIZE", [x], [y])
        return [x]

    real = scale_in * (np.arange(-128, 128) - zero_in)
    nearest = np.clip(real, scale_out * (-128 - zero_out), scale_out * (127 - zero_out))
    lost_steps = np.abs(real - nearest).max() / scale_out
    if abs(lost_steps - 1) > 1e-6:  # where it is just one step, rounding decides
        assert ("saturation" in {s.kind for s in surprises(build)}) == (lost_steps > 1)


def test_saturation_is_told_with_its_share() -> None:
    """Half the scale: half of the values lie outside."""
    assert "op 0 by 50% of it" in one(copied("QUANTIZE", 0.5, 0.25), "saturation").text


def test_surprises_of_every_graph_are_told_with_its_position() -> None:
    t = Tiny()
    x, inner = t.tensor(4), t.callee()
    t.op("RELU", [x], [t.tensor(4)])
    y = inner.tensor(1, 1, 1, 2, 2)
    inner.op("RELU", [y], [inner.tensor(1, 1, 1, 2, 2)])
    (found,) = surprises_of(load_file(t.build([x], [], inner.graph([y], []))))
    assert (found.kind, found.graph) == ("rank", 1)


@pytest.mark.parametrize(
    ("form", "kinds"),
    [
        ("float", {"rank"}),
        ("float16", {"rank", "fp16-computes-in-fp32"}),
        ("dynamic_wi8_afp32", {"rank"}),
        ("weight_only_wi8_afp32", {"rank", "dequantized-weights"}),
        ("static_wi8_ai8", {"rank", "per-channel-linear", "reference-kernel"}),
        ("static_wi8_ai16", {"rank", "per-channel-linear", "reference-kernel", "float-hole"}),
    ],
)
def test_a_vision_transformer_surprises_by_how_it_was_quantized(
    form: str, kinds: set[str], float_vit: Path, quantized_vit: Callable[[str], Path]
) -> None:
    found = analyze_file(float_vit if form == "float" else quantized_vit(form)).surprises
    assert [s.kind for s in found].count("rank") == 1
    assert {s.kind for s in found} == kinds


def test_a_vision_transformer_is_too_new_for_an_old_runtime(float_vit: Path) -> None:
    found = analyze_file(float_vit, runtime="2.8.0").surprises[0]
    assert found.kind == "op-version"
    assert "GELU version 1 (2.9.0)" in found.text
