"""The fewest merged tokens with which a file is fast enough, found by measuring each candidate on this machine."""

from __future__ import annotations

from collections.abc import Callable

from edgeflex_tflite.artifacts import Merging
from edgeflex_tflite.errors import VerificationError


def fit_latency(measured_ms: Callable[[int], float], target_ms: float, least: int, most: int) -> Merging:
    """Halve in on the smallest count whose file meets the target.

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
    while most - least > 1:
        middle = (least + most) // 2
        if holds(middle):
            most = middle
        else:
            least = middle
    return Merging(most, tuple(tried.items()))
