"""Which points nothing beats: no other one is smaller and as accurate, or more accurate and as small."""

from __future__ import annotations

from collections.abc import Sequence

from edgeflex_tflite.sweeping.outcome import Outcome


def pareto_front(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Points of least memory for their accuracy, the smallest first; equals are all in it."""
    made = [(each, each.memory_bytes, each.top1_percent) for each in outcomes if each.state == "made"]
    known = [(each, memory, top1) for each, memory, top1 in made if memory is not None and top1 is not None]
    front = [
        (each, memory, top1)
        for each, memory, top1 in known
        if not any(
            other_memory <= memory and other_top1 >= top1 and (other_memory, other_top1) != (memory, top1)
            for _, other_memory, other_top1 in known
        )
    ]
    return [each for each, *_ in sorted(front, key=lambda found: found[1:])]
