"""TFLite metadata in the file: what its input means, its labels, and which recipe made it.

The standard `TFLITE_METADATA` entry is what Android's and MediaPipe's task libraries read. No package that is light
enough ships its schema for Python, so the few tables that an image classifier needs are built here with the
flatbuffers library; field numbers are those of TensorFlow Lite's `metadata_schema.fbs`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeflex_tflite.artifacts import InputSpec

STANDARD_ENTRY = "TFLITE_METADATA"
OWN_ENTRY = "EDGEFLEX_TFLITE"
LABELS_FILE = "labels.txt"
IDENTIFIER = b"M001"
TENSOR_AXIS_LABELS, IMAGE_PROPERTIES, NORMALIZATION_OPTIONS, RGB = 2, 2, 1, 1


def add_metadata(model: Any, name: str, spec: InputSpec, recipe_sha256: str, version: str) -> None:
    """Put both metadata entries into a `ModelT`, in place."""
    own = {"recipe_sha256": recipe_sha256, "edgeflex_tflite_version": version, "input": _input_json(spec)}
    entries = {
        STANDARD_ENTRY: standard_metadata(name, spec, version),
        OWN_ENTRY: json.dumps(own, sort_keys=True).encode(),
    }
    for entry, content in entries.items():
        model.buffers.append(_buffer(content))
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = entry.encode(), len(model.buffers) - 1
        model.metadata = [*(model.metadata or []), metadata]


def labels_text(labels: Sequence[str]) -> str:
    """Content of `labels.txt`: one class name a line."""
    return "".join(f"{label}\n" for label in labels)


def labels_archive(labels: Sequence[str]) -> bytes:
    """The zip that follows the flatbuffer in the file and holds `labels.txt`, the same bytes every time."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        file.writestr(zipfile.ZipInfo(LABELS_FILE), labels_text(labels))
    return archive.getvalue()


def read_own_entry(model: Any) -> dict[str, Any]:
    """What `add_metadata` said of the recipe and the input; empty for files of others."""
    for metadata in model.metadata or []:
        if metadata.name.decode() == OWN_ENTRY:
            return json.loads(bytes(model.buffers[metadata.buffer].data))
    return {}


def standard_metadata(name: str, spec: InputSpec, version: str) -> bytes:
    """A `ModelMetadata` flatbuffer for an image classifier with one input and one output.

    Its normalization is what is left for the caller to do: none for 0-255, since that is inside the file.
    """
    b = flatbuffers.Builder(1024)
    mean, std, low, high = _left_to_the_caller(spec)
    normalization = _table(b, {0: _float_vector(b, mean), 1: _float_vector(b, std)})
    process = _table(b, {1: normalization}, {0: NORMALIZATION_OPTIONS})
    image = _table(b, {}, {0: RGB})
    content = _table(b, {1: image}, {0: IMAGE_PROPERTIES})
    stats = _table(b, {0: _float_vector(b, high), 1: _float_vector(b, low)})
    described = f"RGB image, {spec.layout.upper()}, {spec.range}"
    image_input = _table(
        b,
        {0: b.CreateString("image"), 1: b.CreateString(described), 3: content, 4: _tables(b, [process]), 5: stats},
    )
    labels = _table(
        b, {0: b.CreateString(LABELS_FILE), 1: b.CreateString("Class names, one a line")}, {2: TENSOR_AXIS_LABELS}
    )
    logits = _table(b, {0: b.CreateString("logits"), 1: b.CreateString("One score a class"), 6: _tables(b, [labels])})
    graph = _table(b, {2: _tables(b, [image_input]), 3: _tables(b, [logits])})
    fields = {
        0: b.CreateString(name),
        2: b.CreateString(version),
        3: _tables(b, [graph]),
        4: b.CreateString("edgeflex-tflite"),
        7: b.CreateString("1.0.0"),
    }
    b.Finish(_table(b, fields), IDENTIFIER)
    return bytes(b.Output())


def _left_to_the_caller(spec: InputSpec) -> tuple[list[float], list[float], list[float], list[float]]:
    """Mean and std that map pixels 0-255 to the file's units, and the least and greatest input that results."""
    mean, std = {
        "0-255": ([0.0], [1.0]),
        "0-1": ([0.0], [255.0]),
        "normalized": ([255 * m for m in spec.mean], [255 * s for s in spec.std]),
    }[spec.range]
    low = [(0 - m) / s for m, s in zip(mean, std, strict=True)]
    high = [(255 - m) / s for m, s in zip(mean, std, strict=True)]
    return mean, std, low, high


def _input_json(spec: InputSpec) -> dict[str, Any]:
    return {"layout": spec.layout, "range": spec.range, "mean": spec.mean, "std": spec.std, "shape": spec.shape}


def _buffer(content: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, dtype=np.uint8)
    return buffer


def _table(b: flatbuffers.Builder, offsets: dict[int, int], enums: dict[int, int] | None = None) -> int:
    b.StartObject(max([*offsets, *(enums or {})], default=-1) + 1)
    for slot, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (enums or {}).items():
        b.PrependInt8Slot(slot, value, 0)
    return b.EndObject()


def _float_vector(b: flatbuffers.Builder, values: Sequence[float]) -> int:
    return b.CreateNumpyVector(np.array(values, dtype=np.float32))


def _tables(b: flatbuffers.Builder, offsets: Sequence[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()
