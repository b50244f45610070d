"""A whole file at once: every graph of it, the same arena as the planner's, and nothing that it cannot stand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import to_json
from edgeflex_tflite.memory import plan_arena
from tests.tiny import Tiny


def chain() -> bytes:
    t = Tiny()
    x, h, y = t.tensor(2, 64), t.tensor(2, 5), t.tensor(2, 5)
    t.op("FULLY_CONNECTED", [x, t.constant(np.ones((5, 64))), -1], [h], table="FullyConnectedOptions")
    t.op("ADD", [h, t.constant(np.ones(5))], [y], table="AddOptions")
    return t.build([x], [y])


def loop() -> bytes:
    """While a counter is below a limit: the exponential of a matrix."""
    t = Tiny()
    count, matrix, counted, y = t.tensor(1, dtype="INT32"), t.tensor(6, 5), t.tensor(1, dtype="INT32"), t.tensor(6, 5)
    t.op("WHILE", [count, matrix], [counted, y], table="WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)
    cond = t.callee()
    ins, less = [cond.tensor(1, dtype="INT32"), cond.tensor(6, 5)], cond.tensor(1, dtype="BOOL")
    cond.op("LESS", [ins[0], cond.constant([3], "INT32")], [less])
    body = t.callee()
    c, m, c2, m2 = body.tensor(1, dtype="INT32"), body.tensor(6, 5), body.tensor(1, dtype="INT32"), body.tensor(6, 5)
    body.op("ADD", [c, body.constant([1], "INT32")], [c2], table="AddOptions")
    body.op("EXP", [m], [m2])
    return t.build([count, matrix], [y], cond.graph(ins, [less]), body.graph([c, m], [c2, m2]))


def two_signatures() -> bytes:
    """Two graphs that do not run each other; only the first multiplies."""
    t = Tiny()
    x, y, other = t.tensor(2, 4), t.tensor(2, 3), t.callee()
    weights = t.constant(np.ones((3, 4)), "INT8", [0.5])
    t.op("FULLY_CONNECTED", [x, weights, -1], [y], table="FullyConnectedOptions")
    a, b = other.tensor(9), other.tensor(9)
    other.op("RELU", [a], [b])
    return t.build([x], [y], other.graph([a], [b]))


def variables() -> bytes:
    t = Tiny()
    handle, x, y = t.tensor(1, dtype="RESOURCE"), t.tensor(2, 3), t.tensor(2, 3)
    t.op("VAR_HANDLE", [], [handle], table="VarHandleOptions", container=b"", sharedName=b"a")
    t.op("ASSIGN_VARIABLE", [handle, x], [], table="AssignVariableOptions")
    t.op("READ_VARIABLE", [handle], [y], table="ReadVariableOptions")
    state = t.tensor(2, 40, variable=True)
    weights = [t.constant(np.ones((8, 3))), t.constant(np.ones((8, 5)))]
    t.op("SVDF", [y, *weights, -1, state], [t.tensor(2, 4)], table="SVDFOptions", rank=2)
    return t.build([x], [y])


def two_threads() -> bytes:
    """A convolution, whose kernel for several threads keeps the weights turned."""
    t = Tiny()
    x, y = t.tensor(1, 8, 8, 4), t.tensor(1, 6, 6, 8)
    options = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, "padding": 1}
    t.op("CONV_2D", [x, t.constant(np.ones((8, 3, 3, 4))), -1], [y], table="Conv2DOptions", **options)
    return t.build([x], [y])


def custom() -> bytes:
    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.op("CUSTOM", [x], [y], custom_code="MyOp")
    return t.build([x], [y])


FILES: dict[str, bytes] = {
    "chain": chain(),
    "loop": loop(),
    "two signatures": two_signatures(),
    "variables": variables(),
    "two threads": two_threads(),
    "custom": custom(),
    "nothing": Tiny().build([], []),
}


def analyzed(content: bytes, folder: Path, *, num_threads: int = 1) -> Analysis:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return analyze_file(path, num_threads=num_threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", FILES)
def test_the_arena_of_every_graph_is_the_planners(name: str, threads: int, tmp_path: Path) -> None:
    found = analyzed(FILES[name], tmp_path, num_threads=threads)
    assert [graph.arena for graph in found.graphs] == [
        plan_arena(FILES[name], graph=i, num_threads=threads) for i in range(len(found.graphs))
    ]


def test_the_number_of_threads_reaches_the_planner(tmp_path: Path) -> None:
    alone, several = (analyzed(FILES["two threads"], tmp_path, num_threads=n).main.arena for n in (1, 2))
    assert alone.persistent_bytes == 0 < several.persistent_bytes


ELEMENTWISE = ["EXP", "RELU", "NEG", "ADD"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(1, 300), ops=st.lists(st.tuples(st.sampled_from(ELEMENTWISE), st.integers(0, 9)), max_size=8))
def test_any_graph_has_the_arena_of_the_planner(width: int, ops: list[tuple[str, int]], tmp_path: Path) -> None:
    t = Tiny()
    made = [t.tensor(width)]
    for name, which in ops:
        source, result = made[which % len(made)], t.tensor(width)
        t.op(name, [source, made[-1]] if name == "ADD" else [source], [result])
        made.append(result)
    content = t.build([made[0]], [made[-1]])
    found = analyzed(content, tmp_path)
    assert found.main.arena == plan_arena(content)
    assert len(found.main.op_names) == len(found.main.placement.ops) == len(found.edgetpu.ops) == len(ops)


def test_every_graph_is_analyzed(tmp_path: Path) -> None:
    found = analyzed(FILES["two signatures"], tmp_path)
    assert [(g.index, g.op_names, g.macs.total) for g in found.graphs] == [
        (0, ("FULLY_CONNECTED",), 24),
        (1, ("RELU",), 0),
    ]
    assert found.main is found.graphs[0]
    assert [len(g.ops) for g in (graph.placement for graph in found.graphs)] == [1, 1]


def test_graphs_that_run_others_count_their_arenas(tmp_path: Path) -> None:
    arena = analyzed(FILES["loop"], tmp_path).main.arena
    assert [plan.graph_index for plan in arena.callees] == [1, 2]
    assert arena.total_bytes > arena.peak_bytes + arena.persistent_bytes
    assert analyzed(FILES["loop"], tmp_path).main.macs.uncounted == ("WHILE",)


def test_variables_are_kept_between_inferences(tmp_path: Path) -> None:
    found = analyzed(FILES["variables"], tmp_path).main
    assert found.arena.persistent_bytes >= 2 * 40 * 4
    assert found.macs.total == 2 * 8 * (3 + 5), "the state is no weight"


@pytest.mark.parametrize(
    ("name", "share"), [("two signatures", 1.0), ("chain", 0.0), ("nothing", None), ("custom", None)]
)
def test_integers_multiplied_with_integers_count_as_integer(name: str, share: float | None, tmp_path: Path) -> None:
    """Activations that are quantized anew for each inference included."""
    assert analyzed(FILES[name], tmp_path).integer_share == share


@pytest.mark.parametrize("name", FILES)
def test_an_analysis_survives_json(name: str, tmp_path: Path) -> None:
    found = analyzed(FILES[name], tmp_path)
    assert TypeAdapter(Analysis).validate_json(to_json(found)) == found
    assert found.compilers is None
    assert (found.file, found.sha256) == (str(tmp_path / "model.tflite"), hashlib.sha256(FILES[name]).hexdigest())


def test_what_is_no_release_is_refused_before_the_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'2' is no TensorFlow Lite release"):
        analyze_file(tmp_path / "none.tflite", runtime="2")


def cut_off() -> bytes:
    """Weights behind the flatbuffer, as large files have them, of which the end is missing."""
    t = Tiny()
    x, w, y = t.tensor(4), t.tensor(4), t.tensor(4)
    t.store(w, b"")
    t.buffers[-1].data, t.buffers[-1].offset, t.buffers[-1].size = None, 4096, 16
    t.op("ADD", [x, w], [y], table="AddOptions")
    return t.build([x], [y]).ljust(4096, b"\0") + bytes(15)


def short() -> bytes:
    t = Tiny()
    t.store(t.tensor(4), bytes(15))
    return t.build([], [])


def negative() -> bytes:
    t = Tiny()
    x = t.tensor(4, -3)
    t.op("RELU", [x], [t.tensor(4, -3)])
    return t.build([x], [])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (cut_off(), "its weights are cut off"),
        (short(), "tensor 0 has 15 of its 16 bytes"),
        (negative(), r"tensor 0 has the shape \[4, -3\]"),
        (chain()[:400], "unpack_from requires a buffer"),
    ],
)
def test_a_damaged_file_is_refused_by_what_is_wrong_with_it(content: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"is a damaged .tflite flatbuffer .*{what}"):
        analyzed(content, tmp_path)


def with_empty_buffers(content: bytes) -> bytes:
    """As old converters write files: an empty buffer for each tensor that is computed."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    for tensor in model.subgraphs[0].tensors:
        if not tensor.buffer:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data, tensor.buffer = np.zeros(0, np.uint8), len(model.buffers) - 1
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_a_tensor_with_an_empty_buffer_is_computed(tmp_path: Path) -> None:
    plain, old = (analyzed(c, tmp_path) for c in (FILES["chain"], with_empty_buffers(FILES["chain"])))
    assert old.main == plain.main
    assert old.inventory.weights == plain.inventory.weights


def test_a_constant_without_elements_stays_a_constant(tmp_path: Path) -> None:
    """As the shape of a scalar, to which a RESHAPE goes."""
    t = Tiny()
    x, y = t.tensor(1), t.tensor()
    t.op("RESHAPE", [x, t.constant([], "INT32")], [y])
    assert analyzed(t.build([x], [y]), tmp_path).surprises == ()


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(sorted(FILES)), data=st.data())
def test_a_changed_file_is_analyzed_or_refused(name: str, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(FILES[name])
    places = st.integers(8, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        content[place] = value
    try:
        assert to_json(analyzed(bytes(content), tmp_path))
    except UserError as error:
        assert str(error)


@pytest.mark.parametrize("form", ["float", "float16", "dynamic_wi8_afp32", "static_wi8_ai8"])
def test_a_vision_transformer_is_analyzed_whole(
    form: str, float_vit: Path, quantized_vit: Callable[[str], Path], tmp_path: Path
) -> None:
    path = float_vit if form == "float" else quantized_vit(form)
    found = analyze_file(path)
    assert found.main.arena == plan_arena(path)
    assert found.inventory.file_bytes == path.stat().st_size
    assert len(found.main.op_names) == found.inventory.graphs[0].ops == len(found.main.arena.timeline_bytes)
    assert found.runtime.release == "2.9.0"
    assert TypeAdapter(Analysis).validate_json(to_json(found)) == found
