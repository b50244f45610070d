"""Reading files: what is counted as weights, what is refused, and what is not even loaded."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import tensor_bytes
from edgeflex_tflite.memory import plan_arena, weight_bytes_by_dtype, weights_bytes
from edgeflex_tflite.parse import load_graphs
from tests.tiny import Tiny


def model() -> bytes:
    t = Tiny()
    x, h, y = t.tensor(2, 64), t.tensor(2, 5), t.tensor(2, 5)
    weights, again = t.constant(np.ones((5, 64)), "INT8", [0.5]), t.tensor(5, 64, dtype="INT8", scales=[0.5])
    t.tensors[again].buffer = t.tensors[weights].buffer
    t.packed(3, 3)
    t.store(t.tensor(100), bytes(400))
    t.buffers.append(t.buffers[-1])  # a buffer that no tensor uses
    t.op("FULLY_CONNECTED", [x, weights, t.constant(np.zeros(5))], [h], table="FullyConnectedOptions", version=9)
    t.op("ADD", [h, t.constant(np.zeros(5))], [y], table="AddOptions")
    return t.build([x], [y])


def test_weights_are_counted_once_for_each_buffer() -> None:
    assert weight_bytes_by_dtype(model()) == {"INT8": 320, "INT4": 5, "FLOAT32": 400 + 20 + 20}
    assert weights_bytes(model()) == 765


def test_content_and_path_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(model())
    assert plan_arena(path) == plan_arena(str(path)) == plan_arena(model())
    assert weights_bytes(path) == weights_bytes(model())


def test_weights_behind_the_flatbuffer_are_found() -> None:
    """Files beyond 2 GB keep their buffers there, as offset and size."""
    t = Tiny()
    x, w, y = t.tensor(4), t.tensor(4), t.tensor(4)
    t.store(w, b"")
    t.buffers[-1].data, t.buffers[-1].offset, t.buffers[-1].size = None, 4096, 16
    t.op("ADD", [x, w], [y], table="AddOptions")
    content = t.build([x], [y])
    content += bytes(4096 - len(content)) + np.arange(4, dtype=np.float32).tobytes()
    data = load_graphs(content)[0].tensors[w].data
    assert data is not None
    assert np.frombuffer(data, np.float32).tolist() == [0, 1, 2, 3]
    assert weights_bytes(content) == 16
    assert plan_arena(content).peak_bytes == 80


def test_weights_are_mapped_and_not_copied(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(1), t.tensor(1)
    t.op("ADD", [x, t.constant(np.zeros(32 << 18))], [y], table="AddOptions")
    path = tmp_path / "large.tflite"
    path.write_bytes(t.build([x], [y]))
    assert path.stat().st_size > 32 << 20
    tracemalloc.start()
    plan_arena(path)
    assert weights_bytes(path) == 32 << 20
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 1 << 20


def with_output(index: int) -> bytes:
    t = Tiny()
    x, y = t.tensor(1), t.tensor(1)
    t.op("RELU", [x], [y])
    return t.build([x], [index])


@pytest.mark.parametrize("index", [2, -2])
def test_tensor_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(UserError, match=r"damaged .* tensors that it does not have"):
        plan_arena(with_output(index))


def test_file_without_a_graph_is_refused() -> None:
    builder = flatbuffers.Builder(64)
    builder.Finish(schema.ModelT().Pack(builder), b"TFL3")
    with pytest.raises(UserError, match="has no subgraph"):
        plan_arena(bytes(builder.Output()))


def small(folder: Path) -> Path:
    path = folder / "small.tflite"
    path.write_bytes(model())
    return path


@pytest.mark.parametrize("content", [b"", b"short", b"not a model at all" * 10])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.tflite is not a \.tflite flatbuffer"):
        plan_arena(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no file"):
        weights_bytes(tmp_path / "absent.tflite")


@given(st.data())
def test_damaged_file_gives_a_user_error_or_a_plan(data: st.DataObject) -> None:
    content = bytearray(model())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        plan_arena(bytes(content[: data.draw(st.integers(100, len(content)))]))
    except UserError as error:
        assert "\n" not in str(error)


def test_op_with_impossible_tensors_is_named() -> None:
    t = Tiny()
    x, y = t.tensor(2, 4), t.tensor(2, 5)
    t.op("FULLY_CONNECTED", [x, t.constant(np.zeros(5))], [y], table="FullyConnectedOptions")
    with pytest.raises(UserError, match=r"Op 0 \(FULLY_CONNECTED\)"):
        plan_arena(t.build([x], [y]))


@pytest.mark.parametrize(
    ("dtype", "shape", "expected"),
    [
        ("FLOAT32", (2, 3), 24),
        ("FLOAT16", (), 2),
        ("INT8", (0, 3), 0),
        ("INT4", (3,), 2),
        ("INT4", (4,), 2),
        ("INT2", (5,), 2),
    ],
)
def test_bytes_of_a_tensor(dtype: str, shape: tuple[int, ...], expected: int) -> None:
    assert tensor_bytes(dtype, shape) == expected


def test_importing_and_planning_loads_neither_torch_nor_the_runtime(tmp_path: Path) -> None:
    script = (
        "import sys; from edgeflex_tflite.memory import plan_arena; plan_arena(sys.argv[1])\n"
        "print([m for m in ('torch', 'ai_edge_litert.interpreter', 'litert_torch') if m in sys.modules])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(small(tmp_path))], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
