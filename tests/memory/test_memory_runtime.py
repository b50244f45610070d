"""Plans of converted models, byte for byte what the runtime allocates."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_agreement import differences, resized

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory import measure_arena, plan_arena
from edgeflex_tflite.memory.homes import Home
from edgeflex_tflite.memory.runtime import Block, cluster, heap_tensors
from edgeflex_tflite.parse import load_graphs

FORMS = [
    "float",
    "float16",
    "dynamic_wi8_afp32",
    "dynamic_wi4_afp32",
    "static_wi8_ai8",
    "static_wi8_ai16",
    "weight_only_wi8_afp32",
    "weight_only_wi4_afp32",
]
PEAKS = {"float": 55_808, "static_wi8_ai8": 13_952, "static_wi8_ai16": 27_904}


@pytest.mark.parametrize("form", FORMS)
def test_vit_is_planned_as_allocated(form: str, quantized_vit: Callable[[str], Path]) -> None:
    path = quantized_vit(form)
    plan = plan_arena(path)
    assert differences(path) == []
    assert plan.unmodelled_ops == ()
    assert plan.planned_ops == len(load_graphs(path)[0].ops)
    assert plan.peak_bytes == measure_arena(path).peak_bytes >= plan.lower_bound_bytes > 0
    assert PEAKS.get(form, plan.peak_bytes) == plan.peak_bytes


def test_two_threads_keep_transposed_patch_weights(float_vit: Path) -> None:
    assert plan_arena(float_vit).persistent_bytes == 0
    assert plan_arena(float_vit, num_threads=2).persistent_bytes == 4 * 64 * 8 * 8 * 3
    assert differences(float_vit, num_threads=2) == []


def test_a_plan_that_is_off_by_one_tensor_is_noticed(float_vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeflex_tflite.memory import sharing

    monkeypatch.delitem(sharing._OVERWRITING, "SOFTMAX")
    assert differences(float_vit) != []


def test_live_tensors_at_the_peak_explain_it(float_vit: Path) -> None:
    plan = plan_arena(float_vit)
    assert plan.peak_op is not None
    index, name = plan.peak_op
    assert load_graphs(float_vit)[0].ops[index].name == name
    assert sum(a.bytes for a in plan.live_at_peak) == plan.timeline_bytes[index]
    assert max(a.offset_bytes + a.bytes for a in plan.live_at_peak) == plan.peak_bytes
    assert max(plan.timeline_bytes) == plan.lower_bound_bytes


def test_blocks_are_joined_across_alignment_and_not_across_more() -> None:
    spans = {7: (1000, 100), 3: (1100, 28), 5: (1191, 9), 9: (1264, 1), 4: (1001, 3)}
    assert cluster(spans) == [Block(1000, 200, (7, 4, 3, 5)), Block(1264, 1, (9,))]


def test_heap_block_right_before_an_arena_is_not_part_of_it() -> None:
    spans = {7: (960, 8), 3: (1024, 28), 5: (1088, 9)}
    assert cluster(spans) == [Block(960, 137, (7, 3, 5))]
    assert cluster(spans, heap={7}) == [Block(960, 8, (7,)), Block(1024, 73, (3, 5))]
    assert cluster(spans, heap={5}) == [Block(960, 137, (7, 3, 5))]


def test_tensors_of_the_heap_are_listed_or_not_aligned() -> None:
    spans = {0: (64, 4), 1: (72, 4), 2: (128, 4), 3: (192, 4)}
    assert heap_tensors(spans, [Home.ARENA, Home.ARENA, Home.FOLDED, Home.DYNAMIC]) == {1, 2, 3}


def test_file_that_litert_refuses(tmp_path: Path) -> None:
    from tests.tiny import Tiny

    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.op("CUSTOM", [x], [y])
    t.codes[-1].customCode = b"SomebodysOp"
    path = tmp_path / "custom.tflite"
    path.write_bytes(t.build([x], [y]))
    with pytest.raises(UserError, match=r"cannot load .*custom\.tflite .*SomebodysOp"):
        measure_arena(path)


def zoo() -> list[Path]:
    folder = os.environ.get("EDGEFLEX_TFLITE_ZOO")
    return sorted(Path(folder).rglob("*.tflite")) if folder else []


@pytest.mark.realdata
@pytest.mark.skipif(not zoo(), reason="EDGEFLEX_TFLITE_ZOO names no folder with .tflite files")
@pytest.mark.parametrize("path", zoo(), ids=lambda p: p.name)
def test_file_of_another_maker_is_planned_as_allocated(path: Path) -> None:
    if subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, check=False).returncode:
        pytest.skip("LiteRT cannot load it")
    plans = [plan_arena(path, graph=g.index) for g in load_graphs(path)]
    if any(plan.unmodelled_ops for plan in plans):
        pytest.skip(f"not modelled: {[plan.unmodelled_ops for plan in plans]}")
    found = [differences(path, graph=plan.graph_index) for plan in plans]
    if any(found) and any(resized(path, graph=plan.graph_index) for plan in plans):
        pytest.skip("the file declares shapes or types that are not those of its ops")
    assert found == [[] for _ in plans]


LOAD = "import sys; from edgeflex_tflite.memory import measure_arena; measure_arena(sys.argv[1])"
