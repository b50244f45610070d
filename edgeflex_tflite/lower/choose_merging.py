"""How many tokens a file merges, found by measuring the files of several counts: the fewest that are fast enough here,
or the most that keep its accuracy.

Latency falls, and what is lost grows, with the pairs that are merged in each block; so both halve in on the count at
which a condition changes.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeflex_tflite.artifacts import Merging
from edgeflex_tflite.errors import VerificationError


def fewest_fast_enough(measured_ms: Callable[[int], float], target_ms: float, least: int, most: int) -> Merging:
    """The smallest count whose file meets a latency target.

    Args:
        measured_ms: latency of the file that merges so many pairs of tokens a block.
        target_ms: for it.
        least: count to begin with, which is enough where its file is fast enough.
        most: count beyond which nothing changes.

    Raises:
        VerificationError: no count is enough; says what the fastest file takes.
    """
    tried: dict[int, float] = {}

    def holds(count: int) -> bool:
        tried[count] = measured_ms(count)
        return tried[count] <= target_ms

    least = min(least, most)
    if holds(least):
        return Merging(least, tuple(tried.items()))
    if least == most or not holds(most):
        fastest = min(tried, key=tried.__getitem__)
        raise VerificationError(
            f"the file takes {tried[least]:.2f} ms on this machine and {tried[fastest]:.2f} ms with {fastest} pairs of "
            f"tokens merged in each block: latency_target_ms {target_ms:g} is out of reach by merging alone; give a "
            "smaller budget, a faster precision, more threads, or a smaller model"
        )
    _, enough = _halved(holds, least, most)
    return Merging(enough, tuple(tried.items()))


def most_accurate_enough(lost_points: Callable[[int], float], allowed: float, least: int, most: int) -> Merging:
    """The largest count whose file loses no more than is allowed, as far as loss grows with the count.

    Args:
        lost_points: of top-1, percentage points that the file loses which merges so many pairs of tokens a block.
        allowed: of them.
        least: count to begin with.
        most: count beyond which nothing changes.

    Raises:
        VerificationError: the file of `least` loses more.
    """
    tried: dict[int, float] = {}

    def is_too_much(count: int) -> bool:
        tried[count] = lost_points(count)
        return tried[count] > allowed

    least = min(least, most)
    if is_too_much(least):
        merged = f"with {least} pairs of tokens merged in each block" if least else "with all its tokens"
        raise VerificationError(
            f"the file loses {tried[least]:.2f} points of top-1 {merged}, more than the {allowed:g} of "
            "max_accuracy_drop: nothing is left to give for fewer tokens; prune less, allow a larger budget, or keep "
            "more sites in FP16 or FP32"
        )
    kept = most if least == most or not is_too_much(most) else _halved(is_too_much, least, most)[0]
    return Merging(kept, drops=tuple(tried.items()))


def _halved(holds: Callable[[int], bool], without: int, having: int) -> tuple[int, int]:
    """Two counts in a row, of which the second one holds, between one that does not and one that does."""
    while having - without > 1:
        middle = (without + having) // 2
        if holds(middle):
            having = middle
        else:
            without = middle
    return without, having
