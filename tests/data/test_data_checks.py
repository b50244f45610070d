"""Checks that come before any long work, and the package itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeflex_tflite.data
from edgeflex_tflite.data import check_labels, check_source, open_source
from edgeflex_tflite.data.arrays import ArraySource
from edgeflex_tflite.errors import UserError


def labelled(labels: list[int], names: tuple[str, ...] | None = None) -> ArraySource:
    return ArraySource("made", "made", np.array(labels), names, np.zeros((len(labels), 2, 2), np.uint8))


@pytest.mark.parametrize(("labels", "index", "label"), [([0, 1, 3], 2, 3), ([0, -1], 1, -1)])
def test_label_out_of_the_models_classes(labels: list[int], index: int, label: int) -> None:
    message = rf"'made': image {index} has label {label}, but the model has 3 classes, 0 to 2; give data with"
    with pytest.raises(UserError, match=message):
        check_labels(labelled(labels), 3)


def test_labels_that_fit() -> None:
    check_labels(labelled([0, 2]), 3)
    check_labels(labelled([0, 2], ("a", "b", "c")), 3)


def test_labels_are_known_without_decoding(tmp_path: Path, class_folders: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "dog": 1})
    for file in root.rglob("*.png"):
        file.write_bytes(b"no image")
    check_labels(open_source(str(root)), 2)


def test_other_number_of_classes() -> None:
    with pytest.raises(UserError, match=r"'made' has 2 classes by name, but the model has 3, so labels would not be"):
        check_labels(labelled([0, 1], ("a", "b")), 3)


def test_check_source(tmp_path: Path, class_folders: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 2, "dog": 1})
    source = open_source(str(root))
    check_source(source, 3, 2)
    check_source(source, 3, None)
    with pytest.raises(UserError, match=r"has 3 images, but 4 are asked for; ask for fewer"):
        check_source(source, 4, 2)
    with pytest.raises(UserError, match=r"image 2 has label 1, but the model has 1 classes"):
        check_source(source, 3, 1)
    (root / "cat" / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image cat/1\.png cannot be decoded"):
        check_source(source, 3, 2)


def test_importing_the_package_does_not_import_torch() -> None:
    code = (
        "import sys; from edgeflex_tflite.data import *; from edgeflex_tflite.data import make_data, open_source\n"
        "print(len(open_source('demo'))); print(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    environment: dict[str, Any] = {"PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["797", "[]"]


def test_every_exported_name_is_there() -> None:
    package = edgeflex_tflite.data
    assert sorted(package.__all__) == package.__all__
    assert {name for names in package._HOMES.values() for name in names} == set(package.__all__)
    assert all(callable(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        package.nothing  # noqa: B018
