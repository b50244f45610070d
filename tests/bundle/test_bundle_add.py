"""Bundles become part of an output folder whole, or not at all; and what is no such folder is told."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from pydantic import TypeAdapter

from edgeflex_tflite import cli
from edgeflex_tflite.bundle import __main__ as command
from edgeflex_tflite.bundle import add
from edgeflex_tflite.bundle.add import add_bundles
from edgeflex_tflite.bundle.description import DESCRIPTION_FILE, FORMAT_VERSION, Description, schema
from edgeflex_tflite.errors import UserError
from tests.bundle.outputs import colour_output

SCHEMA = Path(__file__).parents[2] / "docs" / "bundle.schema.json"
ANDROID = {"model.tflite", "labels.txt", "golden/image.png", "golden/input.bin", "golden/output.bin"}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return colour_output(tmp_path / "out")


@pytest.mark.parametrize("dtype", ["FLOAT32", "INT8"])
def test_a_reader_that_knows_only_the_description_gets_the_golden_answer(tmp_path: Path, dtype: str) -> None:
    """As an app would: nothing of this package is used after the bundle is written."""
    (folder,) = add_bundles(colour_output(tmp_path / "out", dtype), ["android"])
    told = read(folder / "edgeflex.json")
    assert told["format_version"] == 1

    def array(entry: dict[str, Any]) -> np.ndarray:
        little = np.dtype(entry["dtype"]).newbyteorder("<")
        return np.frombuffer((folder / entry["path"]).read_bytes(), little).reshape(entry["shape"])

    interpreter = Interpreter(model_path=str(folder / told["model"]["path"]))
    interpreter.allocate_tensors()
    (given,), (answered,) = interpreter.get_input_details(), interpreter.get_output_details()
    for details, entry in ((given, told["model"]["input"]), (answered, told["model"]["output"])):
        assert details["name"] == entry["name"]
        assert details["dtype"] == np.dtype(entry["dtype"])
        assert details["shape"].tolist() == entry["shape"]
        if entry["scale"] is not None:
            assert details["quantization"] == (entry["scale"], entry["zero_point"])
    interpreter.set_tensor(given["index"], array(told["golden"]["input"]))
    interpreter.invoke()
    expected = array(told["golden"]["output"])
    np.testing.assert_array_equal(interpreter.get_tensor(answered["index"]), expected)
    labels = (folder / told["labels"]).read_text().splitlines()
    assert labels[int(expected.argmax())] == "blue"

    assert set(told["files"]) == ANDROID
    for name, digest in told["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_the_golden_image_gives_the_golden_input_by_the_rule(output: Path) -> None:
    (folder,) = add_bundles(output, ["android"])
    told = read(folder / "edgeflex.json")
    rule = told["image"]
    assert (rule["layout"], rule["range"], rule["channel_order"]) == ("nhwc", "0-255", "RGB")
    pixels = np.asarray(Image.open(folder / told["golden"]["image"]))
    assert pixels.shape == (rule["height"], rule["width"], 3)
    given = np.frombuffer((folder / told["golden"]["input"]["path"]).read_bytes(), "<f4")
    np.testing.assert_array_equal(given, pixels.astype(np.float32).ravel())


def test_the_schema_in_the_docs_is_the_one_of_the_document(output: Path) -> None:
    import jsonschema

    assert read(SCHEMA) == schema()
    (folder,) = add_bundles(output, ["android"])
    jsonschema.validate(read(folder / DESCRIPTION_FILE), read(SCHEMA))
    described = TypeAdapter(Description).validate_json((folder / DESCRIPTION_FILE).read_bytes())
    assert described.format_version == FORMAT_VERSION


def test_the_manifest_has_every_file_of_a_bundle(output: Path) -> None:
    before = read(output / "manifest.json")
    (folder,) = add_bundles(output, ["android"])
    after = read(output / "manifest.json")
    added = {name: digest for name, digest in after["files"].items() if name not in before["files"]}
    assert set(added) == {f"android/{name}" for name in (*ANDROID, "edgeflex.json")}
    for name, digest in added.items():
        assert hashlib.sha256((output / name).read_bytes()).hexdigest() == digest
    assert {**after, "files": {**after["files"]} | before["files"]} == {**before, "files": after["files"]}
    assert folder == output / "android"


def test_a_bundle_takes_the_place_of_an_older_one(output: Path) -> None:
    (folder,) = add_bundles(output, ["android"])
    first = state(output)
    (folder / "labels.txt").write_text("altered\n")
    (folder / "left over").write_text("")
    add_bundles(output, ["android"])
    assert state(output) == first


def changed(output: Path) -> None:
    (output / "labels.txt").write_text("a\nb\nc\n")


def missing(output: Path) -> None:
    (output / "golden" / "output.npy").unlink()


def foreign(output: Path) -> None:
    (output / "manifest.json").write_text('{"files": {}}')


def damaged(output: Path) -> None:
    (output / "manifest.json").write_text("{")


def without(output: Path) -> None:
    (output / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (changed, "labels.txt has changed since the run"),
        (missing, "output.npy is missing"),
        (foreign, "is not an output folder of convert"),
        (damaged, "is not an output folder of convert"),
        (without, "is not an output folder of convert"),
    ],
)
def test_what_is_not_as_a_run_left_it_is_refused(output: Path, spoil: Any, said: str) -> None:
    spoil(output)
    before = state(output)
    with pytest.raises(UserError, match=said):
        add_bundles(output, ["android"])
    assert state(output) == before


def test_a_model_with_integer_input_has_no_web_bundle(tmp_path: Path) -> None:
    output = colour_output(tmp_path / "out", "INT8")
    before = state(output)
    with pytest.raises(UserError, match=r"takes int8.*--precision=mixed"):
        add_bundles(output, ["android", "web"])
    assert state(output) == before


def test_a_bundle_that_fails_leaves_the_folder_as_it_was(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_bundles(output, ["android"])
    before = state(output)

    def fails(_: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "half").write_text("")
        raise UserError("no more")

    monkeypatch.setitem(add.WRITERS, "web", fails)
    with pytest.raises(UserError, match="no more"):
        add_bundles(output, ["android", "web"])
    assert state(output) == before


def run_command(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bundle", *arguments])
        return cli.run(command.main, command.define_flags, command.__doc__ or "")


def test_the_command_names_the_folders(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("--bundle=android,android", str(output)) == 0
    assert capsys.readouterr().out == f"{output / 'android'}\n"


@pytest.mark.parametrize(
    "arguments", [(), ("--bundle=web",), ("out",), ("--bundle=ios", "out"), ("--bundle=web", "a", "b")]
)
def test_the_command_says_what_is_to_be_given(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(*arguments) == cli.BAD_INPUT
    assert "web,android" in capsys.readouterr().err
