"""What is in a file: operators, weights by kind, what goes in and out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.analysis.inventory import Inventory, OpCount, Port, WeightGroup, take_inventory
from edgeflex_tflite.memory import weight_bytes_by_dtype, weights_bytes
from edgeflex_tflite.parse import load_file
from tests.tiny import Tiny


def inventory(content: bytes) -> Inventory:
    return take_inventory(load_file(content))


def blockwise(t: Tiny, index: int, block_size: int) -> None:
    """Scales of their own for each block, as a tensor."""
    details = schema.BlockwiseQuantizationT()
    details.scales, details.blockSize = t.constant(np.ones((4, 2)), "FLOAT16"), block_size
    quantization = t.tensors[index].quantization
    quantization.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    quantization.details, quantization.scale, quantization.zeroPoint = details, None, None


def test_weights_are_grouped_by_type_scales_and_sparsity() -> None:
    t = Tiny()
    t.constant(np.ones((4, 10)))
    t.constant(np.ones(10))
    t.constant(np.ones((4, 9)), "INT8", [0.5])
    t.constant(np.ones((4, 8)), "INT8", [0.5, 0.25, 0.5, 0.5])
    t.sparse(6, 5, scales=[0.5])
    blockwise(t, t.packed(4, 8), 4)
    t.packed(3, 3)
    t.tensor(100)
    assert inventory(t.build([], [])).weights == (
        WeightGroup("FLOAT32", "not quantized", False, 2, 200, 50),
        WeightGroup("INT8", "per-tensor", False, 1, 36, 36),
        WeightGroup("INT8", "per-channel", False, 1, 32, 32),
        WeightGroup("INT4", "blockwise", False, 1, 16, 32),
        WeightGroup("FLOAT16", "not quantized", False, 1, 16, 8),
        WeightGroup("INT8", "per-tensor", True, 1, 6, 30),
        WeightGroup("INT4", "per-tensor", False, 1, 5, 9),
    )


def test_a_buffer_counts_once_in_all_graphs() -> None:
    t = Tiny()
    weights, again = t.constant(np.ones((4, 10))), t.tensor(4, 10)
    t.tensors[again].buffer = t.tensors[weights].buffer
    other = t.callee()
    shared = other.tensor(40)
    other.tensors[shared].buffer = t.tensors[weights].buffer
    found = inventory(t.build([], [], other.graph([], [])))
    assert found.weights == (WeightGroup("FLOAT32", "not quantized", False, 1, 160, 40),)
    assert found.weights_bytes == 160


kinds = st.sampled_from(["FLOAT32", "FLOAT16", "INT8", "INT4", "sparse", "again"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(kinds, st.integers(1, 6), st.booleans(), st.booleans()), max_size=8))
def test_groups_add_up_to_the_weights_of_the_file(made: list[tuple[str, int, bool, bool]]) -> None:
    """Constants of two graphs, some of them of one buffer."""
    t = Tiny()
    other = t.callee()
    for kind, rows, several, second in made:
        owner, scales = (other if second else t), [0.5] * (rows if several else 1)
        if kind == "INT4":
            owner.packed(rows, 3, scales=scales)
        elif kind == "sparse":
            owner.sparse(rows, 3, scales=scales)
        elif kind != "again":
            owner.constant(np.ones((rows, 3)), kind, scales if kind == "INT8" else [])
        elif owner.tensors:
            last = owner.tensors[-1]
            owner.tensors[owner.tensor(*last.shape)].buffer = last.buffer
            owner.tensors[-1].type = last.type
            owner.tensors[-1].sparsity = last.sparsity
    content = t.build([], [], other.graph([], []))
    found, by_dtype = inventory(content), Counter[str]()
    for group in found.weights:
        by_dtype[group.dtype] += group.bytes
    assert found.weights_bytes == weights_bytes(content)
    assert dict(by_dtype) == weight_bytes_by_dtype(content)
    assert list(found.weights) == sorted(found.weights, key=lambda group: -group.bytes)


def test_operators_are_counted_by_version_in_all_graphs() -> None:
    t = Tiny()
    x = t.tensor(4)
    for name, version in (("RELU", 1), ("ADD", 1), ("ADD", 2), ("ADD", 2)):
        t.op(name, [x, x][: 1 + (name == "ADD")], [t.tensor(4)], version=version)
    t.op("CUSTOM", [x], [t.tensor(4)], custom_code="MyOp")
    other = t.callee()
    other.op("ADD", [other.tensor(4), other.tensor(4)], [other.tensor(4)], version=2)
    found = inventory(t.build([x], [x], other.graph([0, 1], [2])))
    assert found.ops[0] == OpCount("ADD", 2, 3)
    assert set(found.ops[1:]) == {OpCount("RELU", 1, 1), OpCount("ADD", 1, 1), OpCount("MyOp", 1, 1)}
    assert [(g.index, g.name, g.ops, g.tensors) for g in found.graphs] == [(0, "graph", 5, 6), (1, "graph", 1, 3)]
    assert [len(g.inputs) for g in found.graphs] == [1, 2]


def test_ports_say_type_shape_and_scale() -> None:
    t = Tiny()
    x, y, z, u = (
        t.tensor(1, 4, 3),
        t.tensor(1, 4, dtype="INT8", scales=[0.5]),
        t.tensor(4, dtype="INT16", scales=[0.25]),
        t.tensor(4, dtype="INT8", scales=[0.5, 0.25, 0.5, 0.5]),
    )
    t.tensors[x].shapeSignature = [-1, 4, 3]
    t.tensors[y].quantization.zeroPoint = [-7]
    t.tensors[z].quantization.zeroPoint = None
    (graph,) = inventory(t.build([x, y], [z, u])).graphs
    assert graph.inputs == (
        Port("t0", "FLOAT32", (-1, 4, 3), None, None, "not quantized"),
        Port("t1", "INT8", (1, 4), 0.5, -7, "per-tensor"),
    )
    assert graph.outputs == (
        Port("t2", "INT16", (4,), 0.25, 0, "per-tensor"),  # a file may leave zeros out
        Port("t3", "INT8", (4,), None, None, "per-channel"),
    )


def test_a_file_says_its_length_origin_and_signatures() -> None:
    t = Tiny()
    x = t.tensor(4)
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(t.build([x], [x], t.callee().graph([], []))))
    model.description = b"made by hand"
    model.signatureDefs = []
    for key, graph in ((b"encode", 0), (b"decode", 1)):
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = key, graph
        model.signatureDefs.append(signature)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"min_runtime_version", 0
    model.metadata = [entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    found = inventory(content)
    assert found.file_bytes == len(content)
    assert found.description == "made by hand"
    assert found.metadata == ("min_runtime_version",)
    assert found.signatures == {"encode": 0, "decode": 1}


def test_an_empty_graph_has_nothing() -> None:
    found = inventory(Tiny().build([], []))
    assert (found.ops, found.weights, found.weights_bytes, dict(found.signatures)) == ((), (), 0, {})


@pytest.mark.parametrize(
    ("form", "most", "port"),
    [
        ("float", ("FLOAT32", "not quantized"), ("FLOAT32", "not quantized")),
        ("float16", ("FLOAT16", "not quantized"), ("FLOAT32", "not quantized")),
        ("dynamic_wi8_afp32", ("INT8", "per-channel"), ("FLOAT32", "not quantized")),
        ("dynamic_wi4b32_afp32", ("INT4", "blockwise"), ("FLOAT32", "not quantized")),
        ("static_wi8_ai8", ("INT8", "per-channel"), ("INT8", "per-tensor")),
    ],
)
def test_a_vision_transformer_is_mostly_of_the_type_that_was_asked_for(
    form: str, most: tuple[str, str], port: tuple[str, str], quantized_vit: Callable[[str], Path], float_vit: Path
) -> None:
    path = float_vit if form == "float" else quantized_vit(form)
    found = take_inventory(load_file(path))
    group = max(found.weights, key=lambda one: one.elements)
    assert (group.dtype, group.granularity) == most
    assert found.weights_bytes == weights_bytes(path)
    (graph,) = found.graphs
    ((source,), (result,)) = graph.inputs, graph.outputs
    assert (source.shape, result.shape) == ((1, 3, 32, 32), (1, 10))
    assert {(p.dtype, p.granularity) for p in (source, result)} == {port}
    assert (source.scale is None) == (port[1] == "not quantized")
    assert dict(found.signatures) == {"serving_default": 0}
    assert sum(op.count for op in found.ops) == graph.ops
