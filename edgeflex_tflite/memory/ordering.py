"""The order in which the C++ runtime meets buffers that its own rules call equal.

LiteRT collects each op's tensors in a `std::unordered_set<int32_t>` and sorts them with `std::sort`, so ties
(same size, same first op) fall as GNU's libstdc++ makes them fall: by its hash table's node order and by its
introsort. Both are deterministic and reproduced here; on another C++ library ties may fall differently, which
moves equal buffers but seldom changes an arena's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
Less = Callable[[T, T], bool]

_BUCKET_COUNTS = (13, 29, 59, 127, 257, 541, 1109, 2357, 5087, 10273, 20753, 42043, 85229, 172933, 351061)
"""Sizes that a growing libstdc++ hash table takes one after the other."""

_SORT_THRESHOLD = 16
"""Ranges up to this length are left to the final insertion sort."""


def hash_set_order(values: Iterable[int]) -> list[int]:
    """Iteration order of a libstdc++ `unordered_set<int>` after inserting the values one by one."""
    order: list[int] = []
    counts = iter(_BUCKET_COUNTS)
    buckets = 1
    seen: set[int] = set()
    for value in values:
        if value in seen:
            continue
        seen.add(value)
        if len(seen) > buckets or buckets == 1:
            buckets = next(counts)
            order = _chain(order, buckets)
        _link(order, value, buckets)
    return order


def _chain(values: list[int], buckets: int) -> list[int]:
    order: list[int] = []
    for value in values:
        _link(order, value, buckets)
    return order


def _link(order: list[int], value: int, buckets: int) -> None:
    """A node goes to the front of its bucket's run, or of the whole list when the bucket is empty."""
    bucket = value % buckets
    order.insert(next((i for i, other in enumerate(order) if other % buckets == bucket), 0), value)


def introsort(items: list[T], less: Less[T]) -> list[T]:
    """Sort as libstdc++'s `std::sort`: the same result as a stable sort but for the order of equal items."""
    array = list(items)
    _sort_range(array, 0, len(array), 2 * max(len(array), 1).bit_length() - 2, less)
    head = min(len(array), _SORT_THRESHOLD)
    for i in range(1, len(array)):
        _insert(array, i, less, guarded=i < head)
    return array


def _sort_range(array: list[T], first: int, last: int, depth: int, less: Less[T]) -> None:
    while last - first > _SORT_THRESHOLD:
        if depth == 0:
            _heap_sort(array, first, last, less)
            return
        depth -= 1
        cut = _partition(array, first, last, less)
        _sort_range(array, cut, last, depth, less)
        last = cut


def _partition(array: list[T], first: int, last: int, less: Less[T]) -> int:
    """Split around the median of the second, middle and last item, which moves to the front."""
    median = _median(array, first + 1, first + (last - first) // 2, last - 1, less)
    array[first], array[median] = array[median], array[first]
    pivot, low, high = array[first], first + 1, last
    while True:
        while less(array[low], pivot):
            low += 1
        high -= 1
        while less(pivot, array[high]):
            high -= 1
        if low >= high:
            return low
        array[low], array[high] = array[high], array[low]
        low += 1


def _median(array: list[T], a: int, b: int, c: int, less: Less[T]) -> int:
    if less(array[a], array[b]):
        if less(array[b], array[c]):
            return b
        return c if less(array[a], array[c]) else a
    if less(array[a], array[c]):
        return a
    return c if less(array[b], array[c]) else b


def _insert(array: list[T], i: int, less: Less[T], guarded: bool) -> None:
    """Move an item in front of all that come after it in order."""
    item = array[i]
    while (i > 0 or not guarded) and less(item, array[i - 1]):
        array[i] = array[i - 1]
        i -= 1
    array[i] = item


def _heap_sort(array: list[T], first: int, last: int, less: Less[T]) -> None:
    heap = array[first:last]
    for parent in range((len(heap) - 2) // 2, -1, -1):
        _sift(heap, parent, len(heap), heap[parent], less)
    for end in range(len(heap) - 1, 0, -1):
        item, heap[end] = heap[end], heap[0]
        _sift(heap, 0, end, item, less)
    array[first:last] = heap


def _sift(heap: list[T], hole: int, length: int, item: T, less: Less[T]) -> None:
    """Let the hole fall to a leaf along the larger children, then lift the item from there."""
    top, child = hole, hole
    while child < (length - 1) // 2:
        child = 2 * (child + 1)
        if less(heap[child], heap[child - 1]):
            child -= 1
        heap[hole] = heap[child]
        hole = child
    if length % 2 == 0 and child == (length - 2) // 2:
        child = 2 * child + 1
        heap[hole] = heap[child]
        hole = child
    while hole > top and less(heap[(hole - 1) // 2], item):
        heap[hole] = heap[(hole - 1) // 2]
        hole = (hole - 1) // 2
    heap[hole] = item
