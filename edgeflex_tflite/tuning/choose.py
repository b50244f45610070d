"""Which candidate is the fastest, asked in three races of which each starts where the last one ended.

The first is between precisions of all linears, the second between the winner and the winner with one kind of linear in
float, the third between what those gave together and each of them. Whoever is first in a race stays unless another one
was faster in every round of it, so that noise does not choose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from edgeflex_tflite.targets.measurement import Ratio

KINDS = {
    "Q, K, V": r"\.attn\.[qkv]$",
    "proj": r"\.attn\.proj$",
    "fc1": r"\.mlp\.(fc1|gate)$",
    "fc2": r"\.mlp\.fc2$",
}
"""Linears of a block that have one shape, as regular expressions over site names."""


@dataclass(frozen=True)
class Candidate:
    """Precisions of the linears.

    Attributes:
        precision: as in `Recipe.precision`.
        kept: kinds of linears in FP32, of `KINDS`.
    """

    precision: str
    kept: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.precision}, {' and '.join(self.kept)} in FP32" if self.kept else self.precision

    @property
    def fp32_sites(self) -> str:
        """Regular expression over the sites that stay in FP32; empty: none."""
        return "|".join(KINDS[kind] for kind in self.kept)


@dataclass(frozen=True)
class Choice:
    """What was measured, and what it says.

    Attributes:
        chosen: the fastest candidate.
        ratios: of every challenger's latency over that of the one it challenged, in order of the races.
    """

    chosen: Candidate
    ratios: tuple[Ratio, ...]


Race = Callable[[Sequence[Candidate]], Sequence[Ratio]]
"""Measures candidates in turn; gives the ratio of each but the first over the first."""


def fastest(race: Race, precisions: Sequence[str]) -> Choice:
    """Find the fastest candidate.

    Args:
        race: measures.
        precisions: the first one stays unless another is faster.
    """
    found: list[Ratio] = []

    def faster(first: Candidate, challengers: Sequence[Candidate]) -> list[Candidate]:
        """Challengers that were faster in every round, the fastest first."""
        if not challengers:
            return []
        ratios = list(race([first, *challengers]))
        found.extend(ratios)
        winners = [pair for pair in zip(challengers, ratios, strict=True) if pair[1].high < 1]
        return [candidate for candidate, _ in sorted(winners, key=lambda pair: pair[1].median)]

    first, *others = map(Candidate, precisions)
    base = next(iter(faster(first, others)), first)
    if base.precision == "fp32":
        return Choice(base, tuple(found))
    single = faster(base, [replace(base, kept=(kind,)) for kind in KINDS])
    best = next(iter(single), base)
    if len(single) > 1:
        together = replace(base, kept=tuple(kind for kind in KINDS if (kind,) in {each.kept for each in single}))
        best = next(iter(faster(best, [together])), best)
    return Choice(best, tuple(found))
