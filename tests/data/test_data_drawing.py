"""Class-balanced drawing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.data.drawing import draw_balanced

LABELS = st.lists(st.integers(0, 4), max_size=40).map(lambda labels: np.array(labels, dtype=np.int64))
SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(LABELS, st.integers(0, 50), SEEDS, st.sets(st.integers(0, 39)))
def test_classes_are_drawn_alike_as_long_as_they_last(labels: np.ndarray, count: int, seed: int, refused: set) -> None:
    asked: list[int] = []

    def accept(place: int) -> bool:
        asked.append(place)
        return place not in refused

    drawn = draw_balanced(labels, count, seed, accept)
    acceptable = [place for place in range(len(labels)) if place not in refused]
    assert len(drawn) == min(count, len(acceptable))
    assert len(set(drawn.tolist())) == len(drawn)
    assert set(drawn.tolist()) <= set(acceptable)
    assert len(set(asked)) == len(asked)
    times = np.bincount(labels[drawn], minlength=5)
    room = np.bincount(labels[acceptable], minlength=5)
    unfinished = times < room
    assert not unfinished.any() or times[unfinished].min() >= times.max() - 1


@settings(deadline=None)
@given(LABELS, st.integers(0, 40), st.integers(0, 40), SEEDS)
def test_a_smaller_draw_begins_a_larger_one(labels: np.ndarray, one: int, other: int, seed: int) -> None:
    few, many = sorted((one, other))
    larger = draw_balanced(labels, many, seed)
    assert draw_balanced(labels, few, seed).tolist() == larger[:few].tolist()


def test_the_seed_decides() -> None:
    labels = np.arange(100) % 10
    draws = {tuple(draw_balanced(labels, 10, seed).tolist()) for seed in range(20)}
    assert len(draws) == 20
    assert draw_balanced(labels, 10, 7).tolist() == draw_balanced(labels, 10, 7).tolist()


def test_what_is_left_over_goes_to_classes_by_chance() -> None:
    labels = np.arange(100) % 10
    first = {int(labels[draw_balanced(labels, 1, seed)[0]]) for seed in range(100)}
    assert len(first) == 10
