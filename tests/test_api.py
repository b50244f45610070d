"""The package's public names, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgeflex_tflite
from tests.command import environment

HEAVY = ("ai_edge_litert", "ai_edge_quantizer", "litert_torch", "numpy", "scipy", "sklearn", "timm", "torch")


def python(code: str, folder: Path) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("name", edgeflex_tflite.__all__)
def test_a_public_name_resolves_to_something_of_the_package(name: str) -> None:
    found = getattr(edgeflex_tflite, name)
    assert found.__name__ == name
    assert found.__module__.startswith("edgeflex_tflite.")
    assert found.__doc__


def test_the_public_names_are_sorted_and_each_has_a_home() -> None:
    assert edgeflex_tflite.__all__ == sorted(edgeflex_tflite._HOMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'compres'"):
        _ = edgeflex_tflite.compres


def test_importing_the_package_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, edgeflex_tflite; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert python(code, tmp_path) == "[]"


def test_a_recipe_needs_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from edgeflex_tflite import Recipe, UserError
Recipe(precision="fp32")
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert python(code, tmp_path) == "[]"
