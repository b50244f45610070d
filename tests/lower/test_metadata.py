"""What other tools can read out of the file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from flatbuffers.table import Table

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.lower import flatbuffer, metadata
from tests.lower.conftest import SPEC


def field(table: Table, slot: int) -> int:
    """Absolute position of a table's field, by its number in the schema."""
    offset = table.Offset(4 + 2 * slot)
    assert offset, f"field {slot} is missing"
    return offset + table.Pos


def child(table: Table, slot: int) -> Table:
    return Table(table.Bytes, table.Indirect(field(table, slot)))


def first(table: Table, slot: int) -> Table:
    """First table of a vector of tables."""
    return Table(table.Bytes, table.Indirect(table.Vector(field(table, slot) - table.Pos)))


def text(table: Table, slot: int) -> str:
    return table.String(field(table, slot)).decode()


def floats(table: Table, slot: int) -> list[float]:
    return table.GetVectorAsNumpy(flatbuffers.number_types.Float32Flags, field(table, slot) - table.Pos).tolist()


@pytest.mark.parametrize(
    ("units", "mean", "std"),
    [
        ("0-255", [0.0], [1.0]),
        ("0-1", [0.0], [255.0]),
        ("normalized", [122.4, 114.75, 102.0], [56.1, 58.65, 61.2]),
    ],
)
def test_standard_metadata_says_what_the_caller_has_to_do(units: str, mean: list[float], std: list[float]) -> None:
    spec = InputSpec("nhwc", units, SPEC.mean, SPEC.std, 32, 32)
    content = bytearray(metadata.standard_metadata("VisionTransformer", spec, "0.1.0"))
    assert content[4:8] == b"M001"
    model = Table(content, flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
    assert text(model, 0) == "VisionTransformer"
    graph = first(model, 3)
    image, logits = first(graph, 2), first(graph, 3)
    normalization = child(first(image, 4), 1)
    assert floats(normalization, 0) == pytest.approx(mean)
    assert floats(normalization, 1) == pytest.approx(std)
    assert floats(child(image, 5), 0) == pytest.approx([(255 - m) / s for m, s in zip(mean, std, strict=True)])
    assert text(first(logits, 6), 0) == "labels.txt"


def test_entries_survive_writing(float_file: Path, tmp_path: Path) -> None:
    content = flatbuffer.read(float_file)
    metadata.add_metadata(content, "VisionTransformer", SPEC, "abc", "0.1.0")
    flatbuffer.write(content, tmp_path / "file.tflite")
    read = flatbuffer.read(tmp_path / "file.tflite")
    assert metadata.read_own_entry(read)["recipe_sha256"] == "abc"
    assert metadata.read_own_entry(read)["input"]["range"] == "0-255"
    assert b"TFLITE_METADATA" in [entry.name for entry in read.metadata]


def test_files_of_others_have_no_entry(float_file: Path) -> None:
    assert metadata.read_own_entry(flatbuffer.read(float_file)) == {}


def test_labels_follow_the_model_as_a_zip() -> None:
    archive = metadata.labels_archive(["cat", "dog"])
    assert archive == metadata.labels_archive(["cat", "dog"])
    appended = io.BytesIO(np.zeros(100, np.uint8).tobytes() + archive)
    assert zipfile.ZipFile(appended).read("labels.txt") == b"cat\ndog\n"
