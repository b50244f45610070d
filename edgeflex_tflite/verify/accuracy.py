"""Top-1 and top-5 with intervals, and the paired difference between two models on the same images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from edgeflex_tflite.artifacts import Accuracy, Proportion

CONFIDENCE = 0.95
TOP = 5


def collect_logits(
    model: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    batches: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64]]],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits `[n, classes]` and labels `[n]` over batches of pixels `uint8 [B, 3, H, W]` and labels `[B]`."""
    logits, labels = [], []
    for pixels, batch_labels in batches:
        logits.append(model(pixels))
        labels.append(batch_labels)
    return np.concatenate(logits), np.concatenate(labels)


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> Accuracy:
    """Accuracy of logits `[n, classes]` against labels `[n]`."""
    order = np.argsort(-logits, axis=1, kind="stable")
    top5 = None
    if logits.shape[1] > TOP:
        top5 = proportion((order[:, :TOP] == labels[:, None]).any(axis=1))
    return Accuracy(proportion(order[:, 0] == labels), top5)


def proportion(hits: NDArray[np.bool_]) -> Proportion:
    """Share of true entries with its 95 % Wilson interval."""
    count, images = int(hits.sum()), len(hits)
    interval = stats.binomtest(count, images).proportion_ci(CONFIDENCE, method="wilson")
    return Proportion(count, images, 100 * count / images, 100 * interval.low, 100 * interval.high)


def paired_drop(before: NDArray[np.bool_], after: NDArray[np.bool_]) -> tuple[float, float, float]:
    """How many percentage points of accuracy are lost from `before` to `after`, with a 95 % interval.

    Both are hits on the same images, so only images on which they differ add to the variance (Agresti, Categorical
    Data Analysis, section 11.1).
    """
    images = len(before)
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    drop = (lost - won) / images
    error = math.sqrt(lost + won - (lost - won) ** 2 / images) / images
    margin = stats.norm.ppf((1 + CONFIDENCE) / 2) * error
    return 100 * drop, 100 * (drop - margin), 100 * (drop + margin)
