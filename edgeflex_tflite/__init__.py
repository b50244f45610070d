"""EdgeFlex-TFLite: Vision Transformers as .tflite files that fit a memory budget, proven on the written file.

    from edgeflex_tflite import Recipe, compress, load_model, make_data, open_source

Names are loaded when they are first used, so importing the package imports nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
    from edgeflex_tflite.artifacts import Bundle, Metrics
    from edgeflex_tflite.data import Data, Preprocessing, make_data, open_source
    from edgeflex_tflite.errors import UserError, VerificationError
    from edgeflex_tflite.memory import plan_arena
    from edgeflex_tflite.models.load import load_model
    from edgeflex_tflite.pipeline import compress
    from edgeflex_tflite.recipe import Recipe
    from edgeflex_tflite.targets.host import benchmark_files

_HOMES = {
    "Analysis": "analysis.analysis",
    "Bundle": "artifacts",
    "Data": "data",
    "Metrics": "artifacts",
    "Preprocessing": "data",
    "Recipe": "recipe",
    "UserError": "errors",
    "VerificationError": "errors",
    "analyze_file": "analysis.analysis",
    "benchmark_files": "targets.host",
    "compress": "pipeline",
    "load_model": "models.load",
    "make_data": "data",
    "open_source": "data",
    "plan_arena": "memory",
}

__all__ = [
    "Analysis",
    "Bundle",
    "Data",
    "Metrics",
    "Preprocessing",
    "Recipe",
    "UserError",
    "VerificationError",
    "analyze_file",
    "benchmark_files",
    "compress",
    "load_model",
    "make_data",
    "open_source",
    "plan_arena",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
