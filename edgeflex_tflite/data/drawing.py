"""Class-balanced drawing of images by seed."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def draw_balanced(
    labels: NDArray[np.int64], count: int, seed: int, accept: Callable[[int], bool] = lambda index: True
) -> NDArray[np.int64]:
    """Draw up to `count` different places of `labels`, each from the class that was drawn least so far.

    So each class is drawn as often as the others for as long as it has places left, and a smaller draw with the same
    seed is the beginning of a larger one. `accept` is asked about each place at most once.

    Args:
        labels: int64 `[N]`.
        count: places wanted; fewer come back where `accept` refuses too many.
        seed: decides the order within a class, and which classes come first.
        accept: whether a place may be drawn.

    Returns:
        int64 `[n]`, `n <= count`, in the order drawn.
    """
    rng = np.random.default_rng(seed)
    places = {label: iter(rng.permutation(np.flatnonzero(labels == label))) for label in np.unique(labels)}
    drawn: list[int] = []
    turns = [(0, rng.random(), label) for label in places]
    heapq.heapify(turns)
    while turns and len(drawn) < count:
        times, _, label = heapq.heappop(turns)
        place = next(filter(accept, map(int, places[label])), None)
        if place is not None:
            drawn.append(place)
            heapq.heappush(turns, (times + 1, rng.random(), label))
    return np.array(drawn, dtype=np.int64)
