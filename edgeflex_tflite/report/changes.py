"""Which wrong classes the file names more or less often than the model did, for the classes that got worse."""

from __future__ import annotations

import dataclasses

from edgeflex_tflite.artifacts import Confusion
from edgeflex_tflite.report.tables import MOST_CLASSES


@dataclasses.dataclass(frozen=True)
class Changes:
    """Images that are taken for another class now, minus those that were before.

    Attributes:
        labels: classes that got worse, the worst first: the rows.
        answers: wrong classes whose count changed in any row: the columns.
        counts: `[labels][answers]`.
    """

    labels: tuple[int, ...]
    answers: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]


def changes(confusion: Confusion) -> Changes:
    """Of the worst classes."""
    labels = tuple(each.label for each in confusion.worse[:MOST_CLASSES])
    changed = {(each.label, each.answer): each.file - each.dense for each in confusion.changed if each.label in labels}
    answers = tuple(sorted({answer for _, answer in changed}))
    counts = tuple(tuple(changed.get((label, answer), 0) for answer in answers) for label in labels)
    return Changes(labels, answers, counts)
