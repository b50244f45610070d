"""Which tensors live in another one's buffer, and for how long: small graphs worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from memory_agreement import differences

from edgeflex_tflite.memory import plan_arena
from edgeflex_tflite.memory.lifetimes import FOREVER, Lifetime, lifetimes
from edgeflex_tflite.memory.prepare import Prepared, prepare
from edgeflex_tflite.memory.sharing import shared_buffers
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny


def prepared(t: Tiny, inputs: list[int], outputs: list[int]) -> Prepared:
    return prepare(load_graphs(t.build(inputs, outputs)))


def reshape(t: Tiny, source: int, *shape: int) -> int:
    target = t.tensor(*shape)
    t.op("RESHAPE", [source, t.constant(list(shape), "INT32")], [target], table="ReshapeOptions")
    return target


def chain(t: Tiny, source: int, name: str = "EXP") -> int:
    target = t.tensor(*t.tensors[source].shape)
    t.op(name, [source], [target])
    return target


def test_reshape_lives_in_its_input() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)
    b = reshape(t, a, 32)
    y = chain(t, b)
    assert shared_buffers(prepared(t, [x], [y])) == {b: a}


def test_reshape_of_a_graph_input_or_to_a_graph_output_is_a_copy() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = reshape(t, x, 32)
    b = chain(t, a)
    y = reshape(t, b, 8, 4)
    assert shared_buffers(prepared(t, [x], [y])) == {}


def test_many_reshapes_share_one_buffer_until_its_last_reader() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)  # op 0
    b, c = reshape(t, a, 32), reshape(t, a, 8, 4)  # ops 1 and 2
    d = reshape(t, b, 2, 16)  # op 3
    y, z = chain(t, c), chain(t, d)  # ops 4 and 5
    graph = prepared(t, [x], [y, z])
    owners = shared_buffers(graph)
    assert owners == {b: a, c: a, d: a}
    assert lifetimes(graph, owners)[a] == Lifetime(0, 5)


def test_add_overwrites_an_input_that_nobody_else_reads() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a, b = chain(t, x), chain(t, x)
    c = t.tensor(4, 8)
    t.op("ADD", [a, b], [c], table="AddOptions")
    y = chain(t, c)
    assert shared_buffers(prepared(t, [x], [y])) == {c: a}


def test_add_takes_its_second_input_when_the_first_is_read_again() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a, b = chain(t, x), chain(t, x)
    c = t.tensor(4, 8)
    t.op("ADD", [a, b], [c], table="AddOptions")
    y, z = chain(t, c), chain(t, a)
    assert shared_buffers(prepared(t, [x], [y, z])) == {c: b}


def test_nothing_is_overwritten_that_is_read_twice_or_has_another_size_or_is_tiny() -> None:
    t = Tiny()
    x, small = t.tensor(4, 8), t.tensor(1)
    a, s = chain(t, x), chain(t, small)
    twice, wide, one = t.tensor(4, 8), t.tensor(4, 8), t.tensor(1)
    t.op("MUL", [a, a], [twice], table="MulOptions")
    t.op("MUL", [s, twice], [wide], table="MulOptions")
    q, r = chain(t, small), chain(t, small)
    t.op("MUL", [q, r], [one], table="MulOptions")
    y, z = chain(t, wide), chain(t, one)
    assert shared_buffers(prepared(t, [x, small], [y, z])) == {wide: twice}


def test_a_row_is_not_overwritten_by_the_matrix_that_it_is_added_to() -> None:
    t = Tiny()
    x, matrix = t.tensor(8), t.tensor(4, 8)
    row, wide = chain(t, x), t.tensor(4, 8)
    t.op("ADD", [row, matrix], [wide], table="AddOptions")
    y = chain(t, wide)
    assert shared_buffers(prepared(t, [x, matrix], [y])) == {}


def test_owner_that_is_a_graph_output_is_kept_for_good() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    y = chain(t, x)
    z = chain(t, y)
    assert lifetimes(prepared(t, [x], [y, z]), {})[y] == Lifetime(0, FOREVER)


def test_tensor_that_is_written_twice_begins_with_the_first_op() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)
    t.op("EXP", [x], [a])
    y = chain(t, a)
    assert lifetimes(prepared(t, [x], [y]), {})[a] == Lifetime(0, 2)


IN_PLACE = {
    "ADD": ("AddOptions", 2), "SUB": ("SubOptions", 2), "MUL": ("MulOptions", 2), "DIV": ("DivOptions", 2),
    "SOFTMAX": ("SoftmaxOptions", 1),
}  # fmt: skip


@pytest.mark.parametrize(("name", "position"), [(n, p) for n, (_, count) in IN_PLACE.items() for p in range(count)])
def test_op_that_overwrites_an_input(name: str, position: int, tmp_path: Path) -> None:
    table, count = IN_PLACE[name]
    t = Tiny()
    x = t.tensor(4, 8)
    inputs = [chain(t, x) for _ in range(count)]
    target = t.tensor(4, 8)
    options = {"beta": 1.0} if name == "SOFTMAX" else {}
    t.op(name, inputs, [target], table=table, **options)
    read_again = [chain(t, i) for p, i in enumerate(inputs) if p < position]
    y = chain(t, target)
    content = t.build([x], [y, *read_again])
    assert shared_buffers(prepare(load_graphs(content))) == {target: inputs[position]}
    path = tmp_path / "tiny.tflite"
    path.write_bytes(content)
    assert differences(path) == []


def test_update_of_a_slice_overwrites_the_whole(tmp_path: Path) -> None:
    t = Tiny()
    x, part, target = t.tensor(4, 8), t.tensor(2, 8), t.tensor(4, 8)
    a = chain(t, x)
    t.op("DYNAMIC_UPDATE_SLICE", [a, part, t.constant([1, 0], "INT32")], [target])
    y = chain(t, target)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build([x, part], [y]))
    assert shared_buffers(prepare(load_graphs(path))) == {target: a}
    assert differences(path) == []


PASSES = {
    "SQUEEZE": ((8,), "FLOAT32", {"table": "SqueezeOptions", "squeezeDims": [0]}),
    "EXPAND_DIMS": ((1, 1, 8), "FLOAT32", {}),
    "BITCAST": ((1, 8), "INT32", {}),
}


@pytest.mark.parametrize("name", PASSES)
def test_other_ops_that_pass_bytes_on(name: str, tmp_path: Path) -> None:
    shape, dtype, options = PASSES[name]
    t = Tiny()
    x = t.tensor(1, 8)
    a = chain(t, x)
    target, y, z = t.tensor(*shape, dtype=dtype), t.tensor(*shape, dtype=dtype), chain(t, a)
    t.op(name, [a, t.constant(0, "INT32")] if name == "EXPAND_DIMS" else [a], [target], **options)
    t.op("ABS", [target], [y], version=1 if dtype == "FLOAT32" else 5)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build([x], [y, z]))
    assert shared_buffers(prepare(load_graphs(path))) == {target: a}
    assert differences(path) == []


def test_dequantized_constant_lends_its_buffer_to_nobody() -> None:
    t = Tiny()
    x, whole = t.tensor(32), t.tensor(4, 8)
    t.op("DEQUANTIZE", [t.constant(np.zeros((4, 8)), "FLOAT16")], [whole])
    flat = reshape(t, whole, 32)
    total = t.tensor(32)
    t.op("ADD", [x, flat], [total], table="AddOptions")
    y = chain(t, total)
    assert shared_buffers(prepared(t, [x], [y])) == {total: flat}


def test_exponential_overwrites_nothing_but_softmax_does() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)
    b = chain(t, a)
    c = t.tensor(4, 8)
    t.op("SOFTMAX", [b], [c], table="SoftmaxOptions", beta=1.0)
    y = chain(t, c)
    assert shared_buffers(prepared(t, [x], [y])) == {c: b}


def test_add_behind_a_reshape_asks_for_the_readers_of_the_owner() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)
    b = reshape(t, a, 32)
    c = t.tensor(32)
    t.op("ADD", [b, t.constant(np.ones(32))], [c], table="AddOptions")
    y, z = chain(t, c), chain(t, a)
    assert shared_buffers(prepared(t, [x], [y, z])) == {b: a}


def test_lifetimes_of_inputs_outputs_and_unread_tensors_never_end() -> None:
    t = Tiny()
    x = t.tensor(4, 8)
    a = chain(t, x)
    chain(t, a)
    y = chain(t, a)
    spans = lifetimes(prepared(t, [x], [y]), {})
    unread = y - 1
    assert spans == {
        x: Lifetime(0, FOREVER),
        a: Lifetime(0, 2),
        unread: Lifetime(1, FOREVER),
        y: Lifetime(2, FOREVER),
    }


def test_plan_of_a_chain_by_hand() -> None:
    """Sizes 100, 300, 200, 50: input first, then 300 and 200 side by side, the output in the 300's place."""
    t = Tiny()
    x, a, b, y = t.tensor(25), t.tensor(75), t.tensor(50), t.tensor(12)
    t.op("EXP", [x], [a])
    t.op("EXP", [a], [b])
    t.op("EXP", [b], [y])
    plan = plan_arena(t.build([x], [y]))
    placed = {p.tensor: (p.offset_bytes, p.bytes, p.first_op, p.last_op) for p in plan.allocations}
    assert placed == {x: (0, 100, 0, 2), a: (128, 300, 0, 1), b: (448, 200, 1, 2), y: (128, 48, 2, 2)}
    assert plan.peak_bytes == 648
    assert plan.timeline_bytes == (400, 600, 348)
    assert plan.lower_bound_bytes == 600
    assert plan.peak_op == (1, "EXP")
    assert [p.tensor for p in plan.live_at_peak] == [x, a, b]


def test_peak_is_at_the_busiest_op_of_the_furthest_buffer() -> None:
    """The furthest buffer, of 300 bytes, lives for three ops; the last one of them has most to hold."""
    t = Tiny()
    x, far, a, b, y = t.tensor(25), t.tensor(75), t.tensor(10), t.tensor(200), t.tensor(8)
    t.op("EXP", [x], [far])
    t.op("EXP", [x], [a])
    t.op("PACK", [far, a], [b], table="PackOptions")
    t.op("EXP", [b], [y])
    plan = plan_arena(t.build([x], [y]))
    assert plan.timeline_bytes == (400, 440, 1240, 932)
    assert plan.peak_op == (2, "PACK")
    assert {p.tensor for p in plan.live_at_peak} == {x, far, a, b}


def test_graph_without_ops_only_holds_its_inputs(tmp_path: Path) -> None:
    t = Tiny()
    x, other = t.tensor(25), t.tensor(3)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(t.build([x, other], [x]))
    plan = plan_arena(path)
    assert (plan.peak_bytes, plan.lower_bound_bytes, plan.timeline_bytes, plan.peak_op) == (140, 140, (), None)
    assert differences(path) == []
