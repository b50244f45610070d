"""Ops that run other graphs: each graph has arenas of its own, and its inputs may lie in the caller's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flatbuffers import flexbuffers
from memory_agreement import differences

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory import measure_arena, plan_arena
from tests.tiny import Tiny


def loop(body_shape: tuple[int, ...], read_forwarded: bool = False) -> bytes:
    """While the counter is below a limit: double a matrix; pass a second one on."""
    main = Tiny()
    count, matrix, other = main.tensor(1, dtype="INT32"), main.tensor(6, 5), main.tensor(7, 3)
    outs = [main.tensor(1, dtype="INT32"), main.tensor(6, 5), main.tensor(7, 3)]
    main.op("WHILE", [count, matrix, other], outs, table="WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    y, z = main.tensor(6, 5), main.tensor(7, 3)
    main.op("RELU", [outs[1]], [y])
    if read_forwarded:
        main.op("RELU", [outs[2]], [z])

    cond = main.callee()
    ins = [cond.tensor(1, dtype="INT32"), cond.tensor(6, 5), cond.tensor(7, 3)]
    less = cond.tensor(1, dtype="BOOL")
    cond.op("LESS", [ins[0], cond.constant([3], "INT32")], [less])

    body = main.callee()
    c, m, o = body.tensor(1, dtype="INT32"), body.tensor(6, 5), body.tensor(7, 3)
    c2, m2, m3 = body.tensor(1, dtype="INT32"), body.tensor(6, 5), body.tensor(*body_shape)
    body.op("ADD", [c, body.constant([1], "INT32")], [c2], table="AddOptions")
    body.op("EXP", [m], [m2])
    if body_shape == (6, 5):
        body.op("EXP", [m2], [m3])
    else:
        body.op("CONCATENATION", [m2, m2], [m3], table="ConcatenationOptions")
    outputs = [y, z] if read_forwarded else [y]
    return main.build([count, matrix, other], outputs, cond.graph(ins, [less]), body.graph([c, m, o], [c2, m3, o]))


def branch(else_shape: tuple[int, ...]) -> bytes:
    main = Tiny()
    flag, x, unused, y, z = (
        main.tensor(1, dtype="BOOL"),
        main.tensor(6, 5),
        main.tensor(9),
        main.tensor(6, 5),
        main.tensor(6, 5),
    )
    main.op("IF", [flag, x, unused], [y], table="IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)
    main.op("RELU", [y], [z])
    graphs = []
    for shape in ((6, 5), else_shape):
        arm = main.callee()
        a, b, c, d = arm.tensor(6, 5), arm.tensor(9), arm.tensor(6, 5), arm.tensor(*shape)
        arm.op("EXP", [a], [c])
        arm.op("EXP" if shape == (6, 5) else "CONCATENATION", [c] if shape == (6, 5) else [c, c], [d],
               **({} if shape == (6, 5) else {"table": "ConcatenationOptions"}))  # fmt: skip
        graphs.append(arm.graph([a, b], [d]))
    return main.build([flag, x, unused], [z], *graphs)


def composite() -> bytes:
    main = Tiny()
    x, y, z = main.tensor(6, 5), main.tensor(6, 5), main.tensor(6, 5)
    options = {
        "table": "StableHLOCompositeOptions",
        "decompositionSubgraphIndex": 1,
        "name": b"my.norm",
        "compositeAttributes": list(flexbuffers.Dumps({})),
    }
    main.op("STABLEHLO_COMPOSITE", [x], [y], **options)
    main.op("RELU", [y], [z])
    part = main.callee()
    a, b, c = part.tensor(6, 5), part.tensor(6, 5), part.tensor(6, 5)
    part.op("EXP", [a], [b])
    part.op("EXP", [b], [c])
    return main.build([x], [z], part.graph([a], [c]))


FILES = {
    "loop": loop((6, 5)),
    "loop whose forwarded state is read": loop((6, 5), read_forwarded=True),
    "growing loop": loop((12, 5)),
    "branch": branch((6, 5)),
    "branch of two shapes": branch((12, 5)),
    "composite": composite(),
}


@pytest.mark.parametrize("graph", [0, 1, 2])
@pytest.mark.parametrize("name", [n for n in FILES if n != "composite"])
def test_each_graph_is_what_the_runtime_allocates(name: str, graph: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(FILES[name])
    assert differences(path, graph=graph) == []


@pytest.mark.parametrize("graph", [0, 1])
def test_composite_is_what_the_runtime_allocates(graph: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(FILES["composite"])
    assert differences(path, graph=graph) == []
    assert measure_arena(path, graph=graph).peak_bytes == plan_arena(path, graph=graph).peak_bytes > 0


def state_loop(inner: tuple[int, ...], outer: tuple[int, ...], dtype: str = "FLOAT32", resets: bool = False) -> bytes:
    """A loop over a counter and one state, which the body reshapes, resets or passes on."""
    main = Tiny()
    ins = [main.tensor(1, dtype="INT32"), main.tensor(*inner, dtype=dtype)]
    outs = [main.tensor(1, dtype="INT32"), main.tensor(*outer, dtype=dtype)]
    main.op("WHILE", ins, outs, table="WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    y = main.tensor(1, dtype="INT32")
    main.op("ABS", [outs[0]], [y], version=5)
    cond, body = main.callee(), main.callee()
    a, less = [cond.tensor(1, dtype="INT32"), cond.tensor(*inner, dtype=dtype)], cond.tensor(1, dtype="BOOL")
    cond.op("LESS", [a[0], cond.constant([3], "INT32")], [less])
    b, c = [body.tensor(1, dtype="INT32"), body.tensor(*inner, dtype=dtype)], body.tensor(1, dtype="INT32")
    body.op("ADD", [b[0], body.constant([1], "INT32")], [c], table="AddOptions")
    state = b[1]
    if resets or inner != outer:
        state = body.tensor(*outer, dtype=dtype)
        source = body.constant(np.zeros(outer)) if resets else b[1]
        shape = body.constant(list(outer), "INT32")
        body.op("EXP", [source], [state]) if resets else body.op(
            "RESHAPE", [source, shape], [state], table="ReshapeOptions"
        )
    return main.build(ins, [y, outs[1]], cond.graph(a, [less]), body.graph(b, [c, state]))


@pytest.mark.parametrize(
    ("content", "planned_ops"),
    [
        (state_loop((6, 5), (6, 5), resets=True), 2),
        (state_loop((), (1,)), 2),
        (state_loop((2, 3), (6,)), 1),
        (state_loop((1,), (1,), dtype="STRING"), 1),
        (state_loop((), (), dtype="RESOURCE"), 1),
    ],
    ids=["body that resets its state", "scalar becomes a list of one", "state changes rank", "text", "resource"],
)
def test_loop_is_dynamic_when_its_state_is(content: bytes, planned_ops: int, tmp_path: Path) -> None:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(content)
    assert plan_arena(path).planned_ops == planned_ops
    assert [differences(path, graph=i) for i in range(3)] == [[], [], []]


@pytest.mark.parametrize("dynamic", [0, 1])
def test_only_a_body_makes_a_loop_dynamic(dynamic: int, tmp_path: Path) -> None:
    """One of the loop's two graphs sorts out unique values, whose number nobody knows beforehand."""
    main = Tiny()
    ins, outs = ([main.tensor(1, dtype="INT32"), main.tensor(6)] for _ in range(2))
    main.op("WHILE", ins, outs, table="WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    y = main.tensor(6)
    main.op("RELU", [outs[1]], [y])
    graphs = [main.callee(), main.callee()]
    args = [[g.tensor(1, dtype="INT32"), g.tensor(6)] for g in graphs]
    unique = [graphs[dynamic].tensor(6), graphs[dynamic].tensor(6, dtype="INT32")]
    less, count, state = graphs[0].tensor(1, dtype="BOOL"), graphs[1].tensor(1, dtype="INT32"), graphs[1].tensor(6)
    graphs[0].op("LESS", [args[0][0], graphs[0].constant([3], "INT32")], [less])
    graphs[1].op("ADD", [args[1][0], graphs[1].constant([1], "INT32")], [count], table="AddOptions")
    graphs[1].op("RELU", [args[1][1]], [state])
    graphs[dynamic].op("UNIQUE", [args[dynamic][1]], unique, table="UniqueOptions", idxOutType=2)
    path = tmp_path / "tiny.tflite"
    path.write_bytes(main.build(ins, [y], graphs[0].graph(args[0], [less]), graphs[1].graph(args[1], [count, state])))
    assert plan_arena(path).planned_ops == (1 if dynamic else 2)
    assert [differences(path, graph=i) for i in range(3)] == [[], [], []]


def call(op: str, target: int, table: str, option: str, inputs: int = 0) -> bytes:
    main = Tiny()
    x, y = main.tensor(3), main.tensor(3)
    main.op(op, [x] * inputs, [], table=table, **{option: target})
    main.op("RELU", [x], [y])
    part = main.callee()
    part.op("CALL_ONCE", [], [], table="CallOnceOptions", initSubgraphIndex=1)
    return main.build([x], [y], part.graph([], []))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (call("CALL_ONCE", 7, "CallOnceOptions", "initSubgraphIndex"), "runs a graph that is not there"),
        (call("CALL_ONCE", -3, "CallOnceOptions", "initSubgraphIndex"), "does not fit the graphs that it runs"),
        (call("CALL_ONCE", 1, "CallOnceOptions", "initSubgraphIndex", 1), "does not fit the graphs that it runs"),
        (call("CALL_ONCE", 1, "CallOnceOptions", "initSubgraphIndex"), "call each other without end"),
    ],
)
def test_calls_that_lead_nowhere_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_arena(content)


def test_total_counts_the_callees_arenas() -> None:
    plan = plan_arena(FILES["loop"])
    assert [p.graph_index for p in plan.callees] == [1, 2]
    assert plan.total_bytes == sum(p.peak_bytes for p in (plan, *plan.callees))
    assert all(p.peak_bytes > 0 for p in plan.callees)


def test_forwarded_output_that_nobody_reads_is_dropped() -> None:
    unread, read = plan_arena(FILES["loop"]), plan_arena(FILES["loop whose forwarded state is read"])
    assert 5 not in {a.tensor for a in unread.allocations}
    assert 5 in {a.tensor for a in read.allocations}


@pytest.mark.parametrize("name", ["growing loop", "branch of two shapes"])
def test_outputs_without_one_shape_are_dynamic(name: str) -> None:
    plan = plan_arena(FILES[name])
    assert plan.dynamic_tensors
    assert plan.planned_ops == 1
