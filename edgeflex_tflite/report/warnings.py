"""What a reader has to know before believing the rest of a report."""

from __future__ import annotations

from typing import NamedTuple

from edgeflex_tflite.report.benchmark import measurement_warnings
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.sentences import NOT_BENCHMARKED

WIDE_POINTS = 1.0
"""An interval of the loss that reaches further to either side says little about the file."""


class Warned(NamedTuple):
    """One warning: a short name of its kind, and what it is."""

    kind: str
    text: str


def warnings(found: Findings) -> list[Warned]:
    """All of a run: of the file, of its accuracy, of the measurement."""
    return [
        *(Warned(surprise.kind, surprise.text) for surprise in found.analysis.surprises),
        *_accuracy(found),
        *_profile(found),
        *_benchmark(found),
    ]


def _accuracy(found: Findings) -> list[Warned]:
    metrics = found.metrics
    margin = (metrics.drop_high_points - metrics.drop_low_points) / 2
    if margin <= WIDE_POINTS:
        return []
    text = (
        f"the loss of top-1 is known to {margin:.2f} points to either side, from {metrics.evaluation_images:,} images: "
        "give more of them"
    )
    return [Warned("few-images", text)]


def _profile(found: Findings) -> list[Warned]:
    never = found.profile.never_called
    return [Warned("never-called", f"calibration never reached {', '.join(never)}")] if never else []


def _benchmark(found: Findings) -> list[Warned]:
    if found.benchmark is None:
        return [Warned("not-measured", NOT_BENCHMARKED)]
    return [Warned("benchmark", f"{names}: {text}") for names, text in measurement_warnings(found.benchmark)]
