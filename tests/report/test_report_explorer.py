"""Model Explorer is given the file; where it is not installed, convert's own tests say what happens."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgeflex_tflite.report.explorer import explore


def test_model_explorer_is_given_the_path_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `visualize` takes one path as text, or a list of them."""
    given: list[object] = []
    package = ModuleType("model_explorer")
    package.visualize = given.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model_explorer", package)
    explore(tmp_path / "model.tflite")
    assert given == [str(tmp_path / "model.tflite")]


def test_the_real_one_has_what_is_called() -> None:
    import inspect

    package = pytest.importorskip("model_explorer", reason="ai-edge-model-explorer is not installed")
    inspect.signature(package.visualize).bind("model.tflite")
