"""Samples as shares of bins that all files have in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

BINS = 80


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Of one file's inferences.

    Attributes:
        edges_ms: of the bins, one more than there are bins; each is as much longer than the one before.
        percent: share of the inferences in each bin.
        count, median_ms: of all of them.
    """

    edges_ms: tuple[float, ...]
    percent: tuple[float, ...]
    count: int
    median_ms: float


def distributions(samples_ms: Mapping[str, Sequence[float]]) -> dict[str, Distribution]:
    """Of each file that has samples, none of which is left out."""
    present = {name: np.asarray(samples) for name, samples in samples_ms.items() if len(samples)}
    if not present:
        return {}
    together = np.concatenate(list(present.values()))
    edges = np.geomspace(together.min() / 1.01, together.max() * 1.01, BINS + 1)
    return {
        name: Distribution(
            tuple(edges.tolist()),
            tuple((100 * np.histogram(samples, edges)[0] / len(samples)).tolist()),
            len(samples),
            float(np.median(samples)),
        )
        for name, samples in present.items()
    }
