"""What changed between the answers of two models on the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from edgeflex_tflite.artifacts import ClassHits, Confused, Confusion, Flip


def confusion(dense: NDArray[np.float32], file: NDArray[np.float32], labels: NDArray[np.int64]) -> Confusion:
    """Compare logits `[n, classes]` of the FP32 torch model and of the file against labels `[n]`."""
    before, after = dense.argmax(1), file.argmax(1)
    was_right, is_right = before == labels, after == labels
    classes = tuple(
        ClassHits(int(label), int(own.sum()), int((own & was_right).sum()), int((own & is_right).sum()))
        for label in np.unique(labels)
        for own in [labels == label]
    )
    return Confusion(
        classes=classes,
        changed=_changed(before, after, labels),
        flips=_flips(file, labels, np.flatnonzero(was_right & ~is_right), {each.label: each.lost for each in classes}),
        won=int((~was_right & is_right).sum()),
    )


def _changed(before: NDArray[np.int64], after: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[Confused, ...]:
    """Only images with two different answers can change a count."""
    differ = np.flatnonzero(before != after)
    pairs = {(int(labels[i]), int(answers[i])) for answers in (before, after) for i in differ}
    found = [
        Confused(label, answer, *(int(((labels == label) & (answers == answer)).sum()) for answers in (before, after)))
        for label, answer in sorted(pairs)
        if label != answer
    ]
    return tuple(each for each in found if each.dense != each.file)


def _flips(
    file: NDArray[np.float32], labels: NDArray[np.int64], positions: NDArray[np.int64], lost: dict[int, int]
) -> tuple[Flip, ...]:
    """Those of the classes that lost most come first, and of each class those that the file is surest about."""
    flips = []
    for position in positions:
        probabilities = softmax(file[position].astype(np.float64))
        label, answer = int(labels[position]), int(probabilities.argmax())
        flips.append(Flip(int(position), label, answer, float(probabilities[label]), float(probabilities[answer])))
    return tuple(sorted(flips, key=lambda flip: (-lost[flip.label], flip.label, -flip.answer_probability)))
