"""Where buffers go inside an arena: cases worked out by hand, and what no plan may ever do."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.memory.lifetimes import FOREVER, Lifetime
from edgeflex_tflite.memory.placement import ALIGNMENT_BYTES, Placed, Request, extent_bytes, place, placing_key


def offsets(*sizes_and_lifetimes: tuple[int, int, int]) -> list[int]:
    """Offsets in the order of the requests, which is the order of placement."""
    requests = [Request(i, size, Lifetime(a, b)) for i, (size, a, b) in enumerate(sizes_and_lifetimes)]
    placed = {p.request.tensor: p.offset_bytes for p in place(requests)}
    return [placed[i] for i in range(len(requests))]


def test_buffers_of_different_times_lie_in_the_same_place() -> None:
    assert offsets((100, 0, 1), (90, 2, 3), (80, 4, 5)) == [0, 0, 0]


def test_buffers_of_the_same_time_lie_side_by_side_and_aligned() -> None:
    assert offsets((100, 0, 1), (90, 1, 3), (80, 1, 5)) == [0, 128, 256]


def test_sharing_the_last_op_is_sharing_time() -> None:
    assert offsets((64, 0, 2), (64, 2, 3), (64, 3, 4)) == [0, 64, 0]


def test_smallest_gap_wins() -> None:
    fences = [(64, 0, 9), (128, 0, 0), (64, 0, 9), (64, 0, 0), (64, 0, 9)]
    assert offsets(*fences, (64, 5, 6), (100, 5, 6), (200, 5, 6)) == [0, 64, 192, 256, 320, 256, 64, 384]


def test_gap_behind_an_unaligned_end_counts_as_longer_than_it_is() -> None:
    # Both gaps offer 64 bytes; the first also holds 58 bytes that alignment makes useless.
    fences = [(70, 0, 9), (64, 0, 0), (64, 0, 9), (64, 0, 0), (64, 0, 9)]
    assert offsets(*fences, (64, 5, 6)) == [0, 128, 192, 256, 320, 256]


def test_first_of_two_equal_gaps_wins() -> None:
    fences = [(64, 0, 9), (64, 0, 0), (64, 0, 9), (64, 0, 0), (64, 0, 9)]
    assert offsets(*fences, (64, 5, 6))[-1] == 64


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Request(8, 1, Lifetime(0, FOREVER)), Request(2, 999, Lifetime(0, 5))),
        (Request(2, 1, Lifetime(0, FOREVER)), Request(8, 999, Lifetime(0, FOREVER))),
        (Request(8, 999, Lifetime(1, FOREVER)), Request(2, 998, Lifetime(0, 5))),
        (Request(8, 999, Lifetime(1, 2)), Request(2, 999, Lifetime(2, 5))),
    ],
    ids=["whole run before large", "whole run by index", "large before small", "early before late"],
)
def test_order_of_placement(first: Request, second: Request) -> None:
    assert placing_key(first) < placing_key(second)


lifetimes = st.tuples(st.integers(0, 12), st.integers(0, 12) | st.just(FOREVER)).map(
    lambda ops: Lifetime(min(ops), max(ops))
)
sizes = st.integers(1, 700)


@st.composite
def plans(draw: st.DrawFn) -> list[Placed]:
    drawn = draw(st.lists(st.tuples(sizes, lifetimes), max_size=40))
    requests = [Request(i, size, lifetime) for i, (size, lifetime) in enumerate(drawn)]
    return place(sorted(requests, key=placing_key))


@given(plans())
def test_no_two_buffers_share_time_and_space(plan: list[Placed]) -> None:
    for a, b in combinations(plan, 2):
        apart = a.end_bytes <= b.offset_bytes or b.end_bytes <= a.offset_bytes
        assert apart or not a.request.lifetime.overlaps(b.request.lifetime)


@given(plans())
def test_every_buffer_is_aligned_and_touches_another_one(plan: list[Placed]) -> None:
    ends = {0} | {-(-p.end_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES for p in plan}
    assert all(p.offset_bytes % ALIGNMENT_BYTES == 0 and p.offset_bytes in ends for p in plan)


@given(plans())
def test_arena_is_no_smaller_than_what_is_live_at_once(plan: list[Placed]) -> None:
    live = (sum(p.request.bytes for p in plan if p.request.lifetime.overlaps(Lifetime(op, op))) for op in range(14))
    assert extent_bytes(plan) >= max(live)
