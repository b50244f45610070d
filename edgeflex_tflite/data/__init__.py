"""The data stage: what the user names becomes calibration and evaluation images that never overlap.

Names are loaded when they are first used, so importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeflex_tflite.data.content import content_hash, data_fingerprint
    from edgeflex_tflite.data.preprocess import Preprocessing
    from edgeflex_tflite.data.sets import CalibrationSet, Data, EvaluationSet
    from edgeflex_tflite.data.source import Source
    from edgeflex_tflite.data.sources import check_labels, check_source, open_source
    from edgeflex_tflite.data.split import draw_calibration, draw_evaluation, make_data

_HOMES = {
    "content": ("content_hash", "data_fingerprint"),
    "preprocess": ("Preprocessing",),
    "sets": ("CalibrationSet", "Data", "EvaluationSet"),
    "source": ("Source",),
    "sources": ("check_labels", "check_source", "open_source"),
    "split": ("draw_calibration", "draw_evaluation", "make_data"),
}

__all__ = [
    "CalibrationSet",
    "Data",
    "EvaluationSet",
    "Preprocessing",
    "Source",
    "check_labels",
    "check_source",
    "content_hash",
    "data_fingerprint",
    "draw_calibration",
    "draw_evaluation",
    "make_data",
    "open_source",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
