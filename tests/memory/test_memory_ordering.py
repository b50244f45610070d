"""The runtime's order of equal buffers: answers of GNU's libstdc++, compiled and run once."""

from __future__ import annotations

import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.memory.ordering import hash_set_order, introsort


def order_of(keys: list[int]) -> list[int]:
    return [i for i, _ in introsort(list(enumerate(keys)), lambda a, b: a[1] < b[1])]


def median_of_three_killer(n: int) -> list[int]:
    """Keys on which quicksort with a median of three goes astray, so that the heap has to finish."""
    half, keys = n // 2, [0] * n
    for i in range(1, half + 1):
        if i % 2:
            keys[i - 1], keys[i] = i, half + i
        keys[half + i - 1] = 2 * i
    return keys


def test_hash_set_of_few_is_read_backwards_by_bucket() -> None:
    assert hash_set_order([5, 18, 31, 2, 15, 44, 7]) == [7, 15, 2, 44, 31, 18, 5]


def test_hash_set_that_grew() -> None:
    values = [3, 16, 29, 42, 1, 14, 27, 40, 2, 15, 28, 41, 4, 17, 30]
    assert hash_set_order(values) == [17, 3, 16, 29, 42, 30, 1, 14, 27, 40, 2, 15, 28, 41, 4]


def test_introsort_orders_ties_as_the_runtime() -> None:
    assert order_of([7 * i % 10 for i in range(40)]) == [
        0, 30, 10, 20, 3, 33, 23, 13, 36, 6, 26, 16, 39, 29, 19, 9, 32, 12, 22, 2,
        15, 5, 35, 25, 38, 28, 8, 18, 21, 11, 31, 1, 14, 34, 4, 24, 7, 27, 37, 17,
    ]  # fmt: skip


def test_introsort_finishes_bad_input_with_a_heap() -> None:
    order = order_of([key // 8 for key in median_of_three_killer(288)])
    assert order[:12] == [0, 2, 146, 4, 145, 6, 144, 147, 148, 149, 150, 14]
    assert zlib.crc32(np.array(order, "<i4").tobytes()) == 1847907313


@given(st.lists(st.integers(0, 500), max_size=120))
def test_hash_set_keeps_each_value_once(values: list[int]) -> None:
    assert sorted(hash_set_order(values)) == sorted(set(values))


@given(st.lists(st.integers(0, 40), max_size=300))
def test_introsort_sorts(keys: list[int]) -> None:
    order = order_of(keys)
    assert [keys[i] for i in order] == sorted(keys)
    assert sorted(order) == list(range(len(keys)))
