"""Races between candidates whose latencies are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeflex_tflite.targets.measurement import Ratio
from edgeflex_tflite.tuning.choose import KINDS, Candidate, fastest

PRECISIONS = ("mixed", "int8_static", "fp32", "int4_dynamic")


def race_with(
    latency: Callable[[Candidate], float], noise: float = 0.0, log: list[list[str]] | None = None
) -> Callable[[Sequence[Candidate]], list[Ratio]]:
    """Rounds that spread by `noise` around the ratio of the true latencies."""

    def race(candidates: Sequence[Candidate]) -> list[Ratio]:
        if log is not None:
            log.append([candidate.name for candidate in candidates])
        first, *others = candidates
        true = [(other, latency(other) / latency(first)) for other in others]
        return [Ratio.of(other.name, first.name, [ratio - noise, ratio, ratio + noise]) for other, ratio in true]

    return race


def latencies(**precisions: float) -> Callable[[Candidate], float]:
    """Of a precision, less 1 for Q, K, V and less 2 for fc2 where they stay in FP32, and more for other kinds."""
    saved = {"Q, K, V": 1.0, "fc2": 2.0, "fc1": -1.0, "proj": -1.0}
    return lambda candidate: precisions[candidate.precision] - sum(saved[kind] for kind in candidate.kept)


def test_what_pays_by_itself_is_raced_together() -> None:
    log: list[list[str]] = []
    choice = fastest(race_with(latencies(mixed=20, int8_static=10, fp32=30, int4_dynamic=40), log=log), PRECISIONS)
    assert choice.chosen == Candidate("int8_static", ("Q, K, V", "fc2"))
    assert log == [
        list(PRECISIONS),
        ["int8_static", *(f"int8_static, {kind} in FP32" for kind in KINDS)],
        ["int8_static, fc2 in FP32", "int8_static, Q, K, V and fc2 in FP32"],
    ]
    assert [ratio.median for ratio in choice.ratios[:3]] == [0.5, 1.5, 2.0]


def test_the_default_stays_within_the_noise() -> None:
    noisy = race_with(latencies(mixed=20, int8_static=19, fp32=30, int4_dynamic=40), noise=0.2)
    assert fastest(noisy, PRECISIONS).chosen == Candidate("mixed")


def test_floats_have_nothing_to_keep_in_float() -> None:
    choice = fastest(race_with(latencies(mixed=20, int8_static=19, fp32=5, int4_dynamic=40)), PRECISIONS)
    assert choice.chosen == Candidate("fp32")
    assert len(choice.ratios) == 3


def test_what_only_pays_alone() -> None:
    def latency(candidate: Candidate) -> float:
        return 10.0 - len(candidate.kept) if len(candidate.kept) < 2 else 12.0

    choice = fastest(race_with(latency), ["mixed"])
    assert len(choice.chosen.kept) == 1
    assert choice.ratios[-1].median > 1


def test_kinds_find_every_linear_of_a_block_once() -> None:
    import re

    from edgeflex_tflite.models.sites import weight_sites
    from edgeflex_tflite.models.translate import to_edge_form
    from tests.conftest import random_vit

    sites = [site for site in weight_sites(to_edge_form(random_vit())) if site.startswith("blocks.")]
    for site in sites:
        assert sum(bool(re.search(regex, site)) for regex in KINDS.values()) == 1, site
    assert Candidate("mixed", ("proj", "fc2")).fp32_sites == r"\.attn\.proj$|\.mlp\.fc2$"
