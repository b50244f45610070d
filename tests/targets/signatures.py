"""A file with two signatures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.join import join
from tests.tiny import Tiny


def write_two_signatures(folder: Path) -> Path:
    """`first` squares 8 numbers, `second` 4,000."""
    models = {}
    for name, size in (("first", 8), ("second", 4000)):
        t = Tiny()
        x, y = t.tensor(1, size), t.tensor(1, size)
        t.op("SQUARE", [x], [y])
        (folder / name).write_bytes(t.build([x], [y]))
        models[name] = flatbuffer.read(folder / name)
        models[name].signatureDefs = [_signature(x, y)]
    path = folder / "joined.tflite"
    flatbuffer.write(join(models), path)
    return path


def _signature(x: int, y: int) -> Any:
    """Of a graph with an input and an output."""
    found = schema.SignatureDefT()
    found.inputs, found.outputs = [_named(b"x", x)], [_named(b"y", y)]
    return found


def _named(name: bytes, index: int) -> Any:
    tensor = schema.TensorMapT()
    tensor.name, tensor.tensorIndex = name, index
    return tensor
