"""XNNPACK's rules and the kinds of built-in kernels, op by op, against what the runtime does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kernel_cases_shapes  # noqa: F401 (adds cases, as does the one that it imports)
import pytest
from kernel_cases import CASES
from kernel_graphs import GRAPHS, custom

from edgeflex_tflite.analysis.kernels import Kernel, OpPlacement, place_ops
from edgeflex_tflite.analysis.partition import runtime_partitions
from edgeflex_tflite.analysis.xnnpack import condition_name, kernel_table
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny

SEEN = "runtime partition, ai-edge-litert 2.3.0"
PROFILED = "functions that a profiler saw, ai-edge-litert 2.3.0 on x86-64"


@pytest.mark.parametrize("name", CASES)
def test_op_is_taken_as_the_table_says(name: str, tmp_path: Path) -> None:
    path, case = tmp_path / "op.tflite", CASES[name]
    path.write_bytes(case.build())
    (op,) = place_ops(load_graphs(path)[0]).ops
    assert (op.rule, op.kernel is Kernel.XNNPACK, bool(op.reason)) == (case.rule, not case.rule, bool(case.rule))
    assert runtime_partitions(path).delegated == (set() if case.rule else {0})


def built(name: str, folder: Path) -> Path:
    t, path = Tiny(), folder / "graph.tflite"
    path.write_bytes(t.build(*GRAPHS[name][0](t)))
    return path


@pytest.mark.parametrize("name", GRAPHS)
def test_ops_are_taken_together_as_the_table_says(name: str, tmp_path: Path) -> None:
    path = built(name, tmp_path)
    found = place_ops(load_graphs(path)[0])
    assert [op.rule for op in found.ops] == GRAPHS[name][1]
    real = runtime_partitions(path)
    assert real.delegated | set(real.unseen) == {op.op for op in found.ops if not op.rule} | set(real.unseen)


def evidence(tmp_path: Path) -> list[tuple[str, str]]:
    """(op, rule that it breaks or "") of all graphs here that the runtime was asked about."""
    pairs = [(case.op, case.rule) for case in CASES.values()]
    for name in GRAPHS:
        graph = load_graphs(built(name, tmp_path))[0]
        pairs += [(op.name, rule) for op, rule in zip(graph.ops, GRAPHS[name][1], strict=True)]
    return pairs


def test_table_says_what_was_seen_and_what_was_not(tmp_path: Path) -> None:
    pairs = evidence(tmp_path)
    for row in kernel_table()["xnnpack"]:
        taken = {op for op, rule in pairs if op in row["ops"] and not rule}
        assert (row["established"] == SEEN) == (taken == set(row["ops"])), row["ops"]
        broken = {rule for op, rule in pairs if op in row["ops"]}
        assert row["not_seen"] == [rule for rule in rules(row) if rule not in broken], row["ops"]


def rules(row: dict) -> list[str]:
    """All that can make XNNPACK refuse an op of a row."""
    found = ["number of inputs", "number of outputs"]
    for demand in row["tensors"]:
        asked = {"shape": "rank" in demand, "type": "type" in demand, "constant": "static" in demand}
        found += [f"{kind} {'' if kind == 'constant' else 'of '}{demand['of']}" for kind in asked if asked[kind]]
    return found + [condition_name(condition) for condition in row["conditions"]]


def test_every_row_says_how_it_was_established() -> None:
    for row in [*kernel_table()["xnnpack"], *kernel_table()["built_in"]]:
        assert row["established"] in (SEEN, PROFILED) or row["established"].endswith("(source read), not seen")


def place(name: str, tmp_path: Path) -> OpPlacement:
    path = tmp_path / "op.tflite"
    path.write_bytes(CASES[name].build())
    return place_ops(load_graphs(path)[0]).ops[0]


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("BATCH_MATMUL right zero point", Kernel.REFERENCE),
        ("BATCH_MATMUL int16", Kernel.REFERENCE),
        ("GELU int8", Kernel.OPTIMIZED),
        ("SOFTMAX int8", Kernel.OPTIMIZED),
        ("CONV_2D int16", Kernel.REFERENCE),
        ("FULLY_CONNECTED int16", Kernel.REFERENCE),
        ("RESHAPE int32", Kernel.MEMORY),
        ("EXPAND_DIMS float", Kernel.MEMORY),
        ("EQUAL float", Kernel.REFERENCE),
        ("MAXIMUM int8", Kernel.REFERENCE),
        ("DEQUANTIZE int4", Kernel.OPTIMIZED),
        ("DEQUANTIZE channels", Kernel.REFERENCE),
        ("DEQUANTIZE float16", Kernel.REFERENCE),
        ("CONCATENATION int32", Kernel.REFERENCE),
    ],
)
def test_kind_of_built_in_kernel(name: str, kernel: Kernel, tmp_path: Path) -> None:
    assert place(name, tmp_path).kernel is kernel


def test_ops_that_were_never_looked_up_and_ops_of_others() -> None:
    t = Tiny()
    x, y, z = t.tensor(2, 3), t.tensor(2, 3), t.tensor(2, 3)
    t.op("SIGN", [x], [y])
    t.op("RELU", [y], [z])
    custom(t, b"SomebodysOp", ())
    found = place_ops(load_graphs(t.build([x], [z]))[0])
    assert [op.kernel for op in found.ops] == [Kernel.UNKNOWN, Kernel.CUSTOM]
    assert [op.established for op in found.ops] == ["not looked up", "not one of the runtime's own ops"]
    assert found.counts == {Kernel.UNKNOWN: 1, Kernel.CUSTOM: 1}


def test_placing_imports_neither_torch_nor_the_runtime() -> None:
    code = (
        "import edgeflex_tflite.analysis.kernels, sys; print([m for m in sys.modules if 'torch' in m or 'pywrap' in m])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
