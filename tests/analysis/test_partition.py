"""Partitions from the flatbuffer alone, and those that the runtime makes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflex_tflite.analysis.kernels import Kernel, Placement, place_ops
from edgeflex_tflite.analysis.partition import RuntimePartitions, runtime_partitions
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny

FORMS = {
    "float": 1,
    "float16": 1,
    "dynamic_wi8_afp32": 1,
    "dynamic_wi4_afp32": 2,
    "weight_only_wi8_afp32": 1,
    "weight_only_wi4_afp32": 10,
    "static_wi8_ai8": 24,
    "static_wi8_ai16": 5,
}
"""Partitions of the small Vision Transformer."""


def differences(placement: Placement, real: RuntimePartitions) -> list[str]:
    """What the runtime does otherwise; empty when every op it shows is where it was placed."""
    shown = [tuple(sorted(set(p.ops) - set(real.unseen))) for p in placement.partitions]
    planned, found = [ops for ops in shown if ops], [p.ops for p in real.partitions if p.ops]
    if planned != found:
        return [f"planned {planned}, found {found}"]
    borders = zip(placement.partitions, real.partitions, strict=False)
    return [
        f"border of {p.ops}: planned {p.inputs} -> {p.outputs}, found {r.inputs} -> {r.outputs}"
        for p, r in borders
        if (p.inputs, p.outputs, p.boundary_bytes) != (r.inputs, r.outputs, r.boundary_bytes)
    ]


def compared(path: Path) -> list[str]:
    return differences(place_ops(load_graphs(path)[0]), runtime_partitions(path))


@pytest.mark.parametrize("form", FORMS)
def test_vit_is_placed_as_it_runs(form: str, quantized_vit: Callable[[str], Path]) -> None:
    path = quantized_vit(form)
    placement = place_ops(load_graphs(path)[0])
    assert differences(placement, runtime_partitions(path)) == []
    assert len(placement.partitions) == FORMS[form]
    assert sum(placement.counts.values()) == len(load_graphs(path)[0].ops)


def test_two_threads_change_nothing(quantized_vit: Callable[[str], Path]) -> None:
    path = quantized_vit("static_wi8_ai8")
    assert runtime_partitions(path, num_threads=2) == runtime_partitions(path)


def test_int8_products_of_two_activations_are_why_a_static_vit_falls_apart(
    quantized_vit: Callable[[str], Path],
) -> None:
    graph = load_graphs(quantized_vit("static_wi8_ai8"))[0]
    products = [p for p in place_ops(graph).ops if graph.ops[p.op].name == "BATCH_MATMUL"]
    assert {p.kernel for p in products} == {Kernel.REFERENCE}
    assert {p.rule for p in products} == {"second_zero_point_is_zero"}


def test_a_wrong_rule_is_noticed(quantized_vit: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeflex_tflite.analysis import xnnpack_conditions

    monkeypatch.setattr(xnnpack_conditions, "second_zero_point_is_zero", lambda site: "")
    assert compared(quantized_vit("static_wi8_ai8")) != []


def chain(t: Tiny, source: int, *ops: str) -> int:
    """Ops of one input, one after the other; ZEROS_LIKE is one that XNNPACK does not have."""
    for op in ops:
        result = t.tensor(2, 3)
        t.op(op, [source], [result])
        source = result
    return source


def written(t: Tiny, inputs: list[int], outputs: list[int], folder: Path, *graphs: object) -> Path:
    path = folder / "graph.tflite"
    path.write_bytes(t.build(inputs, outputs, *graphs))
    return path


def groups(path: Path) -> list[tuple[int, ...]]:
    assert compared(path) == []
    return [p.ops for p in place_ops(load_graphs(path)[0]).partitions]


def test_an_op_between_splits_a_chain(tmp_path: Path) -> None:
    t = Tiny()
    x = t.tensor(2, 3)
    path = written(t, [x], [chain(t, x, "RELU", "ABS", "ZEROS_LIKE", "ABS")], tmp_path)
    first, second = place_ops(load_graphs(path)[0]).partitions
    assert compared(path) == []
    assert (first.ops, second.ops) == ((0, 1), (3,))
    assert (first.inputs, first.outputs, first.boundary_bytes) == ((0,), (2,), 48)
    assert place_ops(load_graphs(path)[0]).boundary_bytes == 96


def test_independent_ops_are_gathered_across_an_op_that_is_not_taken(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(2, 3), t.tensor(2, 3)
    ends = [chain(t, x, "RELU", "ZEROS_LIKE"), chain(t, y, "RELU", "ABS")]
    assert groups(written(t, [x, y], ends, tmp_path)) == [(0, 2, 3)]


def test_a_graph_that_begins_with_an_op_that_is_not_taken(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(2, 3), t.tensor(2, 3)
    ends = [chain(t, x, "ZEROS_LIKE", "RELU"), chain(t, y, "RELU", "ZEROS_LIKE", "ABS")]
    assert groups(written(t, [x, y], ends, tmp_path)) == [(1, 2), (4,)]


def test_unpacked_weights_of_a_later_partition_hold_arena_memory(tmp_path: Path) -> None:
    import numpy as np

    t = Tiny()
    x, w, y = t.tensor(2, 3), t.tensor(4, 3), t.tensor(2, 4)
    t.op("DEQUANTIZE", [t.constant(np.ones((4, 3)), "FLOAT16")], [w])
    middle = chain(t, x, "RELU", "ZEROS_LIKE")
    t.op("FULLY_CONNECTED", [middle, w, -1], [y], table="FullyConnectedOptions")
    path = written(t, [x], [y], tmp_path)
    first, second = place_ops(load_graphs(path)[0]).partitions
    assert compared(path) == []
    assert w in first.outputs
    assert w in second.inputs
    assert second.boundary_bytes == 4 * (6 + 12 + 8)


def test_ops_that_nothing_needs(tmp_path: Path) -> None:
    t = Tiny()
    x = t.tensor(2, 3)
    chain(t, x, "ABS")
    chain(t, x, "ZEROS_LIKE")
    path = written(t, [x], [chain(t, x, "RELU")], tmp_path)
    assert groups(path) == [(0, 2)]
    assert runtime_partitions(path).delegated == {0, 2}


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_ops_is_grouped_as_the_runtime_groups_it(seed: int, tmp_path: Path) -> None:
    pick = random.Random(seed)
    t = Tiny()
    inputs = [t.tensor(2, 3) for _ in range(2)]
    values = list(inputs)
    for _ in range(pick.randint(4, 30)):
        op = pick.choice(["RELU", "ABS", "ADD", "MUL", "ZEROS_LIKE", "POW"])
        values.append(t.tensor(2, 3))
        sources = [pick.choice(values[-7:-1]) for _ in range(2 if op in ("ADD", "MUL", "POW") else 1)]
        options = {"ADD": {"table": "AddOptions"}, "MUL": {"table": "MulOptions"}}.get(op, {})
        t.op(op, sources, [values[-1]], **options)
    outputs = sorted({values[-1], *pick.sample(values[2:], 2)})
    assert compared(written(t, inputs, outputs, tmp_path)) == []


def test_stateful_ops_keep_their_order(tmp_path: Path) -> None:
    t = Tiny()
    flag, x, y = t.tensor(1, dtype="BOOL"), t.tensor(2, 3), t.tensor(2, 3)
    t.op("IF", [flag, x], [y], table="IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)
    handle, read = t.tensor(1, dtype="RESOURCE"), t.tensor(2, 3)
    t.op("VAR_HANDLE", [], [handle], table="VarHandleOptions", container=b"", sharedName=b"a")
    t.op("ASSIGN_VARIABLE", [handle, x], [], table="AssignVariableOptions")
    t.op("READ_VARIABLE", [handle], [read], table="ReadVariableOptions")
    arms = []
    for op in ("RELU", "ABS"):
        arm = t.callee()
        a = arm.tensor(2, 3)
        arms.append(arm.graph([a], [chain(arm, a, op)]))
    path = written(t, [flag, x], [y, read], tmp_path, *arms)
    assert groups(path) == [(1, 2, 3)]
    assert [len(place_ops(g).partitions) for g in load_graphs(path)] == [1, 1, 1]
    assert place_ops(load_graphs(path)[0]).ops[0].kernel is Kernel.CONTROL


def test_an_op_whose_shape_is_computed_stays_outside_and_so_is_seen(tmp_path: Path) -> None:
    t = Tiny()
    x, shape, y = t.tensor(2, 3), t.tensor(2, dtype="INT32"), t.tensor(3, 2)
    t.op("RESHAPE", [x, shape], [y])
    path = written(t, [x, shape], [y], tmp_path)
    assert groups(path) == []
    assert runtime_partitions(path).unseen == ()


def test_file_that_litert_refuses(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.op("CUSTOM", [x], [y])
    t.codes[-1].customCode = b"SomebodysOp"
    path = written(t, [x], [y], tmp_path)
    with pytest.raises(UserError, match=r"cannot load .*graph\.tflite .*SomebodysOp"):
        runtime_partitions(path)


def zoo() -> list[Path]:
    folder = os.environ.get("EDGEFLEX_TFLITE_ZOO")
    return sorted(Path(folder).rglob("*.tflite")) if folder else []


LOAD = "import sys; from edgeflex_tflite.analysis.partition import runtime_partitions; runtime_partitions(sys.argv[1])"


@pytest.mark.realdata
@pytest.mark.skipif(not zoo(), reason="EDGEFLEX_TFLITE_ZOO names no folder with .tflite files")
@pytest.mark.parametrize("path", zoo(), ids=lambda p: p.name)
def test_file_of_another_maker_is_placed_as_it_runs(path: Path) -> None:
    if subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, check=False).returncode:
        pytest.skip("LiteRT cannot load it")
    assert compared(path) == []
