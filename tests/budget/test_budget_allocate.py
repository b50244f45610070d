"""One option a part within the limit, at the least loss: against all combinations."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.budget.allocate import RELATIVE_GAP, Option, allocate, allocate_evenly, not_dominated
from edgeflex_tflite.budget.curves import level_curve
from edgeflex_tflite.errors import UserError

options = st.builds(Option, bytes=st.integers(0, 10**7), divergence=st.floats(0, 10, allow_subnormal=False))
rough = st.builds(Option, bytes=st.integers(0, 6), divergence=st.integers(0, 6).map(float))
Choose = Callable[[list[list[Option]], int], list[Option]]
problems = st.lists(st.lists(options | rough, min_size=1, max_size=5), min_size=1, max_size=5)


def size(chosen: list[Option]) -> int:
    return sum(option.bytes for option in chosen)


def loss(chosen: list[Option]) -> float:
    return sum(option.divergence for option in chosen)


def least_size(parts: list[list[Option]]) -> int:
    return sum(min(option.bytes for option in part) for part in parts)


def limit_of(parts: list[list[Option]], share: float) -> int:
    least, most = least_size(parts), sum(max(option.bytes for option in part) for part in parts)
    return least + int(share * (most - least))


@settings(deadline=None, max_examples=60)
@given(problems, st.floats(0, 1))
def test_no_combination_within_the_limit_loses_less(parts: list[list[Option]], share: float) -> None:
    limit = limit_of(parts, share)
    best = min(loss(list(each)) for each in itertools.product(*parts) if size(list(each)) <= limit)
    largest = max(option.divergence for part in parts for option in part)
    assert loss(allocate(parts, limit)) <= best * (1 + RELATIVE_GAP) + 1e-6 * largest


@pytest.mark.parametrize("choose", [allocate, allocate_evenly])
@settings(deadline=None, max_examples=60)
@given(parts=problems, share=st.floats(0, 1))
def test_the_limit_holds_with_one_option_for_every_part(
    choose: Choose, parts: list[list[Option]], share: float
) -> None:
    limit = limit_of(parts, share)
    chosen = choose(parts, limit)
    assert size(chosen) <= limit
    assert all(option in part for option, part in zip(chosen, parts, strict=True))


@settings(deadline=None, max_examples=40)
@given(problems)
def test_the_least_possible_limit_is_met(parts: list[list[Option]]) -> None:
    assert size(allocate(parts, least_size(parts))) == least_size(parts)


@settings(deadline=None, max_examples=40)
@given(problems, st.integers(1, 10**6))
def test_a_limit_below_the_least_is_refused(parts: list[list[Option]], missing: int) -> None:
    least = least_size(parts)
    with pytest.raises(UserError, match=f"takes {least:,} bytes at least, and {least - missing:,} are left"):
        allocate(parts, least - missing)


@settings(deadline=None, max_examples=40)
@given(problems)
def test_with_room_for_all_nothing_is_lost_that_can_be_kept(parts: list[list[Option]]) -> None:
    chosen = allocate(parts, sum(max(option.bytes for option in part) for part in parts))
    least = [min(option.divergence for option in part) for part in parts]
    assert loss(chosen) == pytest.approx(sum(least), rel=RELATIVE_GAP, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(problems, st.floats(0, 1))
def test_what_is_larger_and_worse_is_never_chosen(parts: list[list[Option]], share: float) -> None:
    for option, part in zip(allocate(parts, limit_of(parts, share)), parts, strict=True):
        assert not any(other.bytes < option.bytes and other.divergence <= option.divergence for other in part)
        assert not any(other.bytes <= option.bytes and other.divergence < option.divergence for other in part)


@given(st.lists(rough, min_size=1, max_size=12))
def test_not_dominated_keeps_just_the_frontier(part: list[Option]) -> None:
    kept = not_dominated(part)
    pairs = [(option.bytes, option.divergence) for option in kept]
    every = {(option.bytes, option.divergence) for option in part}
    frontier = {(b, d) for b, d in every if not any((x <= b and y <= d) and (x, y) != (b, d) for x, y in every)}
    assert set(pairs) == frontier and len(pairs) == len(frontier)
    assert pairs == sorted(pairs, key=lambda pair: -pair[0])


def test_many_cheap_steps_are_better_than_one_dear_one() -> None:
    """Greedily by loss a byte, the third part's large option would go first."""
    small = [Option(10, 0.0), Option(6, 1.0)]
    large = [Option(100, 0.0), Option(80, 4.0)]
    assert [option.bytes for option in allocate([small, small, large], 112)] == [6, 6, 100]
    assert [option.bytes for option in allocate([small, small, large], 111)] == [10, 10, 80]


def test_limits_hold_to_the_byte_at_a_gigabyte() -> None:
    """A solver's tolerance of 1e-6 would be a thousand bytes."""
    parts = [[Option(300_000_001 + k, 0.0), Option(300_000_000 + k, 1.0)] for k in range(3)]
    for short in range(4):
        chosen = allocate(parts, 900_000_006 - short)
        assert size(chosen) <= 900_000_006 - short and loss(chosen) == short


STEP = 16


def even(widths: list[int]) -> list[list[Option]]:
    """Parts of which nothing is known but how wide they are."""
    curves = [level_curve(STEP * width) for width in widths]
    return [[Option(width, curve.cost(width)) for width in range(curve.dense_width, 0, -STEP)] for curve in curves]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(0, 1))
def test_parts_of_which_nothing_is_known_are_lowered_together(widths: list[int], share: float) -> None:
    parts = even(widths)
    limit = limit_of(parts, share)
    chosen = allocate_evenly(parts, limit)
    best = min(loss(list(each)) for each in itertools.product(*parts) if size(list(each)) <= limit)
    assert limit - STEP < size(chosen) <= limit
    assert loss(chosen) == pytest.approx(best)


def test_of_equal_parts_the_first_take_one_step_more() -> None:
    chosen = allocate_evenly(even([4, 4, 4, 4]), 4 * 4 * STEP - 6 * STEP)
    assert [option.bytes // STEP for option in chosen] == [2, 2, 3, 3]


def test_an_even_choice_refuses_a_limit_below_the_least() -> None:
    with pytest.raises(UserError, match="takes 32 bytes at least, and 31 are left"):
        allocate_evenly(even([3, 2]), 31)


def test_many_equal_parts_are_no_search() -> None:
    """As blocks are: of them, an integer program tries one choice after the other that is as good."""
    chosen = allocate_evenly(even([96] * 32), 32 * 461)
    assert {option.bytes for option in chosen} == {448, 464} and size(chosen) == 32 * 461 // STEP * STEP


def test_tiny_divergences_still_count() -> None:
    parts = [[Option(2, 0.0), Option(1, 1e-9)], [Option(2, 0.0), Option(1, 3e-9)]]
    assert [option.bytes for option in allocate(parts, 3)] == [1, 2]


def test_no_bytes_at_all() -> None:
    assert allocate([[Option(0, 2.0), Option(5, 0.0)]], 0) == [Option(0, 2.0)]
