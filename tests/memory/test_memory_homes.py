"""Which outputs leave the arena, because they are known beforehand, kept for good or sized while running."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_agreement import differences

from edgeflex_tflite.memory import measure_arena, plan_arena
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.prepare import prepare
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny

FOUR, OTHER, COUNTS = np.arange(4.0), np.ones(4), np.arange(1, 5)


def written(t: Tiny, path: Path, inputs: list[int], outputs: list[int]) -> Path:
    path.write_bytes(t.build(inputs, outputs))
    return path


def op_on_constants(t: Tiny, name: str, shape: tuple[int, ...], dtype: str, *values: Any, **options: Any) -> int:
    """An op whose inputs are all constants, beside a chain that is not."""
    target = t.tensor(*shape, dtype=dtype)
    inputs = [t.constant(v, "INT32" if np.asarray(v).dtype.kind == "i" else "FLOAT32") for v in values]
    t.op(name, inputs, [target], **options)
    return target


FOLDED = {
    "MUL": ((4,), "FLOAT32", [FOUR, OTHER], {"table": "MulOptions"}),
    "CONCATENATION": ((8,), "FLOAT32", [FOUR, OTHER], {"table": "ConcatenationOptions"}),
    "GATHER": ((2,), "FLOAT32", [FOUR, [0, 1]], {"table": "GatherOptions"}),
    "RESHAPE": ((2, 2), "FLOAT32", [FOUR, [2, 2]], {"table": "ReshapeOptions"}),
    "TILE": ((8,), "FLOAT32", [FOUR, [2]], {}),
    "RANGE": ((4,), "INT32", [0, 4, 1], {}),
    "SHAPE": ((1,), "INT32", [FOUR], {"table": "ShapeOptions", "outType": 2}),
    "RANK": ((), "INT32", [FOUR], {}),
    "STRIDED_SLICE": ((2,), "FLOAT32", [FOUR, [0], [2], [1]], {"table": "StridedSliceOptions"}),
    "BROADCAST_ARGS": ((2,), "INT32", [[2, 4], [4]], {}),
    "REDUCE_PROD": ((), "FLOAT32", [FOUR, [0]], {"table": "ReducerOptions"}),
}
COMPUTED = {
    "ADD": ((4,), "FLOAT32", [FOUR, OTHER], {"table": "AddOptions"}),
    "DIV": ((4,), "FLOAT32", [FOUR, OTHER], {"table": "DivOptions"}),
    "EXPAND_DIMS": ((1, 4), "FLOAT32", [FOUR, 0], {}),
    "TRANSPOSE": ((4, 1), "FLOAT32", [np.ones((1, 4)), [1, 0]], {}),
    "SLICE": ((2,), "FLOAT32", [FOUR, [0], [2]], {}),
    "PACK": ((2, 4), "FLOAT32", [FOUR, OTHER], {"table": "PackOptions", "valuesCount": 2}),
    "MEAN": ((), "FLOAT32", [FOUR, [0]], {"table": "ReducerOptions"}),
    "SPLIT": ((4,), "FLOAT32", [0, FOUR], {"table": "SplitOptions", "numSplits": 1}),
    "PAD": ((6,), "FLOAT32", [FOUR, [[1, 1]]], {}),
    "FILL": ((4,), "FLOAT32", [[4], 1.0], {}),
}


@pytest.mark.parametrize("name", [*FOLDED, *COMPUTED])
def test_op_on_constants_is_folded_or_not(name: str, tmp_path: Path) -> None:
    shape, dtype, values, options = {**FOLDED, **COMPUTED}[name]
    t = Tiny()
    x, y = t.tensor(3), t.tensor(3)
    target = op_on_constants(t, name, shape, dtype, *values, **options)
    t.op("RELU", [x], [y])
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    planned = {a.tensor for a in plan_arena(path).allocations}
    arena = measure_arena(path).arena
    assert arena is not None
    assert (target in planned) == (target in arena.tensors) == (name in COMPUTED)
    assert differences(path) == []


def test_dequantized_constant_is_kept_for_good_and_reshaping_it_is_not(tmp_path: Path) -> None:
    t = Tiny()
    x, whole, flat, y = t.tensor(32), t.tensor(4, 8), t.tensor(32), t.tensor(32)
    t.op("DEQUANTIZE", [t.constant(np.zeros((4, 8)), "FLOAT16")], [whole])
    t.op("RESHAPE", [whole, t.constant([32], "INT32")], [flat], table="ReshapeOptions")
    t.op("ADD", [x, flat], [y], table="AddOptions")
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    plan = plan_arena(path)
    assert {a.tensor for a in plan.allocations if a.persistent} == {whole}
    assert {a.tensor for a in plan.allocations if not a.persistent} == {x, flat, y}
    assert (plan.peak_bytes, plan.persistent_bytes, plan.total_bytes) == (384, 128, 512)
    assert differences(path) == []


def test_variable_is_kept_for_good(tmp_path: Path) -> None:
    t = Tiny()
    x, state, y = t.tensor(2, 6), t.tensor(2, 40, variable=True), t.tensor(2, 8)
    weights = [t.constant(np.zeros((8, 6))), t.constant(np.zeros((8, 5)))]
    t.op("SVDF", [x, *weights, -1, state], [y], table="SVDFOptions", rank=1)
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    assert plan_arena(path).persistent_bytes == 320
    assert measure_arena(path).persistent_bytes == 320


def test_variable_that_is_given_from_outside_is_no_part_of_the_arena(tmp_path: Path) -> None:
    t = Tiny()
    x, state, y = t.tensor(3), t.tensor(3, variable=True), t.tensor(3)
    t.op("SUB", [x, state], [y], table="SubOptions")
    path = written(t, tmp_path / "tiny.tflite", [state, x], [y])
    arena = measure_arena(path).arena
    assert arena is not None
    assert set(arena.tensors) == {x, y}
    assert differences(path) == []


def computed_shape(t: Tiny, size: int = 2) -> tuple[int, int]:
    """A graph input that says a shape, and the tensor that carries it."""
    source, shape = t.tensor(size, dtype="INT32"), t.tensor(size, dtype="INT32")
    t.op("ABS", [source], [shape], version=5)
    return source, shape


def test_op_sized_by_a_computed_value_is_listed_and_ends_the_plan(tmp_path: Path) -> None:
    t = Tiny()
    source, shape = computed_shape(t)
    x, wide, y = t.tensor(1, 4), t.tensor(3, 4), t.tensor(3, 4)
    t.op("TILE", [x, shape], [wide])
    t.op("RELU", [wide], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, source], [y])
    plan = plan_arena(path)
    assert plan.dynamic_tensors == (f"t{wide}",)
    assert plan.planned_ops == 2
    assert len(plan.timeline_bytes) == 2
    assert {a.tensor for a in plan.allocations} == {x, source, shape}
    assert differences(path) == []


def test_reshape_to_a_computed_shape_keeps_its_input_s_size_and_ends_the_plan(tmp_path: Path) -> None:
    t = Tiny()
    source, shape = computed_shape(t)
    x, a, b, c, y = t.tensor(3, 4), t.tensor(3, 4), t.tensor(1, 1), t.tensor(6, 2), t.tensor(6, 2)
    t.op("RELU", [x], [a])
    t.op("RESHAPE", [a, shape], [b], table="ReshapeOptions")
    t.op("RELU", [b], [c])
    t.op("RELU", [c], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, source], [y])
    plan = plan_arena(path)
    assert plan.planned_ops == 3
    assert next(p.sharers for p in plan.allocations if p.tensor == a) == (b,)
    assert differences(path) == []


@pytest.mark.parametrize(
    ("shape", "signature", "known", "home"),
    [
        ((2,), None, True, Home.ARENA),
        ((2,), None, False, Home.ARENA),
        ((2,), (-1,), True, Home.ARENA),
        ((2,), (-1,), False, Home.DYNAMIC),
    ],
)
def test_slice_needs_known_bounds_only_when_its_shape_is_open(
    shape: tuple[int, ...], signature: tuple[int, ...] | None, known: bool, home: Home, tmp_path: Path
) -> None:
    t = Tiny()
    source, computed = computed_shape(t, 1)
    x, y, z = t.tensor(4), t.tensor(*shape), t.tensor(2)
    begin = t.constant([1], "INT32") if known else computed
    t.op("SLICE", [x, begin, t.constant([2], "INT32")], [y])
    t.op("RELU", [y], [z])
    if signature:
        t.tensors[y].shapeSignature = list(signature)
    path = written(t, tmp_path / "tiny.tflite", [x, source], [z])
    assert prepare(load_graphs(path)).homes[y] is home
    assert plan_arena(path).open_shapes == ((f"t{y}",) if signature and home is Home.ARENA else ())
    assert differences(path) == []


def test_text_is_listed_and_not_counted(tmp_path: Path) -> None:
    t = Tiny()
    x, y, text = t.tensor(4), t.tensor(4), t.tensor(1, dtype="STRING")
    t.op("RELU", [x], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, text], [y])
    plan = plan_arena(path)
    assert plan.dynamic_tensors == (f"t{text}",)
    assert plan.peak_bytes == 80
    assert differences(path) == []


def computed_scalar(t: Tiny) -> tuple[int, int]:
    source, value = t.tensor(dtype="INT32"), t.tensor(dtype="INT32")
    t.op("ABS", [source], [value], version=5)
    return source, value


def test_top_k_of_a_computed_k_is_dynamic(tmp_path: Path) -> None:
    t = Tiny()
    source, k = computed_scalar(t)
    x, values, indices = t.tensor(9), t.tensor(2), t.tensor(2, dtype="INT32")
    t.op("TOPK_V2", [x, k], [values, indices])
    path = written(t, tmp_path / "tiny.tflite", [x, source], [values])
    assert plan_arena(path).dynamic_tensors == (f"t{values}", f"t{indices}")
    assert differences(path) == []


@pytest.mark.parametrize("known", [True, False])
def test_top_k_of_an_open_shape_is_dynamic(known: bool, tmp_path: Path) -> None:
    t = Tiny()
    x, values, indices, y = t.tensor(9), t.tensor(2), t.tensor(2, dtype="INT32"), t.tensor(2)
    t.op("TOPK_V2", [x, t.constant(2, "INT32")], [values, indices])
    t.op("RELU", [values], [y])
    if not known:
        t.tensors[x].shapeSignature = [-1]
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    assert plan_arena(path).planned_ops == (2 if known else 1)
    assert differences(path) == []


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_all_but_the_count_of_suppressed_boxes_are_sized_by_an_input(soft: bool, known: bool, tmp_path: Path) -> None:
    t = Tiny()
    source, computed = computed_scalar(t)
    boxes, scores, zero = t.tensor(6, 4), t.tensor(6), t.constant(0.5)
    picked, best, count = t.tensor(3, dtype="INT32"), t.tensor(3), t.tensor(dtype="INT32")
    name, outputs = (
        ("NON_MAX_SUPPRESSION_V5", [picked, best, count]) if soft else ("NON_MAX_SUPPRESSION_V4", [picked, count])
    )
    t.op(
        name,
        [boxes, scores, t.constant(3, "INT32") if known else computed, zero, zero, *([zero] if soft else [])],
        outputs,
    )
    y = t.tensor(3, dtype="INT32")
    t.op("ABS", [picked], [y], version=5)
    path = written(t, tmp_path / "tiny.tflite", [boxes, scores, source], [y])
    assert plan_arena(path).dynamic_tensors == (() if known else tuple(f"t{i}" for i in outputs[:-1]))
    assert differences(path) == []


def test_unique_values_are_dynamic_and_their_indices_are_not(tmp_path: Path) -> None:
    t = Tiny()
    x, values, indices, y = t.tensor(9), t.tensor(9), t.tensor(9, dtype="INT32"), t.tensor(9)
    t.op("UNIQUE", [x], [values, indices], table="UniqueOptions", idxOutType=2)
    t.op("RELU", [values], [y])
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    plan = plan_arena(path)
    assert plan.dynamic_tensors == (f"t{values}",)
    assert indices in {a.tensor for a in plan.allocations}
    assert differences(path) == []


def test_padding_a_tensor_without_dimensions_is_dynamic(tmp_path: Path) -> None:
    t = Tiny()
    x, h, padded, y = t.tensor(), t.tensor(), t.tensor(), t.tensor(3)
    t.op("RELU", [x], [h])
    t.op("PAD", [h, t.constant(np.zeros((0, 2)), "INT32")], [padded])
    t.op("ADD", [padded, t.constant(np.zeros(3))], [y], table="AddOptions")
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    assert plan_arena(path).dynamic_tensors == (f"t{padded}",)
    assert differences(path) == []


def test_sum_of_looked_up_rows_is_dynamic(tmp_path: Path) -> None:
    t = Tiny()
    ids, indices, shape = t.tensor(3, dtype="INT32"), t.tensor(3, 2, dtype="INT32"), t.tensor(2, dtype="INT32")
    weights, table, y, z = t.tensor(3), t.constant(np.zeros((4, 6))), t.tensor(3, 6), t.tensor(3, 6)
    t.op("EMBEDDING_LOOKUP_SPARSE", [ids, indices, shape, weights, table], [y], table="EmbeddingLookupSparseOptions")
    t.op("RELU", [y], [z])
    path = written(t, tmp_path / "tiny.tflite", [ids, indices, shape, weights], [z])
    assert plan_arena(path).dynamic_tensors == (f"t{y}",)
    assert differences(path) == []


def test_sharer_behind_the_end_of_the_plan_already_has_its_owner_s_place(tmp_path: Path) -> None:
    t = Tiny()
    source, shape = computed_shape(t)
    x, a, wide, flat, y = t.tensor(3, 4), t.tensor(3, 4), t.tensor(3, 4), t.tensor(12), t.tensor(12)
    t.op("RELU", [x], [a])
    t.op("TILE", [a, shape], [wide])
    t.op("RESHAPE", [a, t.constant([12], "INT32")], [flat], table="ReshapeOptions")
    t.op("RELU", [flat], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, source], [y, wide])
    assert {p.tensor: p.sharers for p in plan_arena(path).allocations}[a] == (flat,)
    assert differences(path) == []


def test_basic_lstm_keeps_the_state_that_it_reads(tmp_path: Path) -> None:
    t = Tiny()
    x, activation, state = t.tensor(2, 6), t.tensor(2, 5), t.tensor(2, 5)
    outputs = [t.tensor(2, n) for n in (5, 5, 11, 20)]
    a, s = t.tensor(2, 5), t.tensor(2, 5)
    t.op("RELU", [activation], [a])
    t.op("RELU", [state], [s])
    weights, bias = t.constant(np.zeros((20, 11))), t.constant(np.zeros(20))
    t.op("LSTM", [x, a, weights, bias, s], outputs, table="LSTMOptions", kernelType=1, version=2)
    y = t.tensor(2, 5)
    t.op("RELU", [outputs[0]], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, activation, state], [y])
    assert {p.tensor for p in plan_arena(path).allocations if p.persistent} == {a, s}
    assert differences(path) == []


def test_state_that_reshapes_a_kept_constant_has_a_place_of_its_own(tmp_path: Path) -> None:
    t = Tiny()
    x, activation, a, whole, state = t.tensor(2, 6), t.tensor(2, 5), t.tensor(2, 5), t.tensor(10), t.tensor(2, 5)
    t.op("RELU", [activation], [a])
    t.op("DEQUANTIZE", [t.constant(np.zeros(10), "FLOAT16")], [whole])
    t.op("RESHAPE", [whole, t.constant([2, 5], "INT32")], [state], table="ReshapeOptions")
    weights, bias = t.constant(np.zeros((20, 11))), t.constant(np.zeros(20))
    outputs = [t.tensor(2, n) for n in (5, 5, 11, 20)]
    t.op("LSTM", [x, a, weights, bias, state], outputs, table="LSTMOptions", kernelType=1, version=2)
    path = written(t, tmp_path / "tiny.tflite", [x, activation], [outputs[0]])
    assert {p.tensor for p in plan_arena(path).allocations if p.persistent} == {a, whole, state}
    assert differences(path) == []


def test_constant_reshaped_to_a_computed_shape_needs_the_constant_s_size(tmp_path: Path) -> None:
    t = Tiny()
    source, shape = computed_shape(t)
    flat, x, y = t.tensor(1, 1), t.tensor(4), t.tensor(4)
    t.op("RESHAPE", [t.constant(np.zeros(30)), shape], [flat], table="ReshapeOptions")
    t.op("RELU", [x], [y])
    path = written(t, tmp_path / "tiny.tflite", [x, source], [y])
    placed, addresses = {p.tensor: p for p in plan_arena(path).allocations}, measure_arena(path).addresses
    assert placed[flat].bytes == 120
    base = min(addresses.values())
    assert {i: p.offset_bytes for i, p in placed.items()} == {i: a - base for i, a in addresses.items()}


def test_resource_handles_are_kept_and_what_they_name_is_read_into_the_arena(tmp_path: Path) -> None:
    t = Tiny()
    x, handle, value, y = t.tensor(9), t.tensor(dtype="RESOURCE"), t.tensor(9), t.tensor(9)
    t.op("VAR_HANDLE", [], [handle], table="VarHandleOptions", sharedName=b"v", container=b"")
    t.op("READ_VARIABLE", [handle], [value])
    t.op("ADD", [x, value], [y], table="AddOptions")
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    plan = plan_arena(path)
    assert plan.persistent_bytes == 4
    assert {p.tensor for p in plan.allocations if not p.persistent} == {x, value, y}
    assert differences(path) == []


def test_variable_without_dimensions_is_read_into_a_block_of_its_own(tmp_path: Path) -> None:
    t = Tiny()
    x, handle, value, y = t.tensor(9), t.tensor(dtype="RESOURCE"), t.tensor(), t.tensor(9)
    t.op("VAR_HANDLE", [], [handle], table="VarHandleOptions", sharedName=b"v", container=b"")
    t.op("READ_VARIABLE", [handle], [value])
    t.op("ADD", [x, value], [y], table="AddOptions")
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    assert plan_arena(path).planned_ops == 2
    assert differences(path) == []


def test_constant_text_is_reshaped_into_a_block_of_its_own(tmp_path: Path) -> None:
    t = Tiny()
    text, flat, x, y = t.tensor(1, dtype="STRING"), t.tensor(1, 1, dtype="STRING"), t.tensor(4), t.tensor(4)
    t.store(text, np.array([1, 12, 15], np.int32).tobytes() + b"abc")
    t.op("RESHAPE", [text, t.constant([1, 1], "INT32")], [flat], table="ReshapeOptions")
    t.op("RELU", [x], [y])
    path = written(t, tmp_path / "tiny.tflite", [x], [y])
    assert plan_arena(path).planned_ops == 1
    assert plan_arena(path).dynamic_tensors == (f"t{flat}",)
    assert differences(path) == []


def test_nothing_of_no_size_is_placed() -> None:
    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.tensor(2, variable=True)
    t.tensor(0, variable=True)
    t.op("RELU", [x], [y])
    plan = plan_arena(t.build([x], [y]))
    assert plan.persistent_bytes == 8
    assert all(a.bytes for a in plan.allocations)


def test_op_type_that_was_never_looked_up_is_reported() -> None:
    t = Tiny()
    x, y = t.tensor(1, 4, 4, 2), t.tensor(1, 4, 4, 2)
    t.op("BIDIRECTIONAL_SEQUENCE_LSTM", [x], [y])
    t.op("CUSTOM", [y], [y])
    t.codes[-1].customCode = b"SomebodysOp"
    assert plan_arena(t.build([x], [y])).unmodelled_ops == ("BIDIRECTIONAL_SEQUENCE_LSTM", "SomebodysOp")
