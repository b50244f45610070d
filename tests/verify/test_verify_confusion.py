"""What changed between two models' answers, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.artifacts import ClassHits, Confused
from edgeflex_tflite.verify.confusion import confusion

answers = st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40)


def logits(named: list[int], classes: int = 4) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[named]


def test_a_case_by_hand() -> None:
    """The last two images of class 2 trade their wrong answers, which changes no count."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    found = confusion(logits([0, 0, 1, 1, 1, 0, 1, 3]), logits([0, 1, 1, 2, 1, 2, 3, 1]), labels)
    assert found.classes == (ClassHits(0, 3, 2, 1), ClassHits(1, 2, 2, 1), ClassHits(2, 3, 0, 1))
    assert found.changed == (Confused(0, 1, 1, 2), Confused(1, 2, 0, 1), Confused(2, 0, 1, 0))
    assert [(flip.position, flip.label, flip.answer) for flip in found.flips] == [(1, 0, 1), (3, 1, 2)]
    assert found.won == 1
    assert [each.label for each in found.worse] == [0, 1]


def test_probabilities_are_those_of_the_file() -> None:
    file = np.array([[0.0, np.log(3)]], dtype=np.float32)
    (flip,) = confusion(np.array([[1.0, 0.0]], dtype=np.float32), file, np.array([0])).flips
    assert (flip.label_probability, flip.answer_probability) == pytest.approx((0.25, 0.75))


def test_the_classes_that_lost_most_come_first_and_the_surest_mistakes_of_each() -> None:
    labels = np.array([0, 1, 1, 1])
    file = np.array([[0, 9, 0], [1, 0, 0], [3, 0, 0], [2, 0, 0]], dtype=np.float32)
    flips = confusion(logits([0, 1, 1, 1], 3), file, labels).flips
    assert [flip.position for flip in flips] == [2, 3, 1, 0]


@settings(deadline=None)
@given(answers)
def test_everything_adds_up(triples: list[tuple[int, int, int]]) -> None:
    labels, dense, file = (np.array(column) for column in zip(*triples, strict=True))
    found = confusion(logits(dense.tolist()), logits(file.tolist()), labels)
    assert sum(each.images for each in found.classes) == len(labels)
    assert len(found.flips) - found.won == sum(each.lost for each in found.classes)
    for each in found.classes:
        more_wrong = sum(cell.file - cell.dense for cell in found.changed if cell.label == each.label)
        assert each.lost == more_wrong, "what a class loses, its wrong answers gain"


def test_two_models_that_agree_changed_nothing() -> None:
    found = confusion(logits([0, 1, 2]), logits([0, 1, 2]), np.array([0, 2, 2]))
    assert (found.changed, found.flips, found.won, found.worse) == ((), (), 0, ())
