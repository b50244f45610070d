"""The arithmetic of the page."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Page

GOLDEN = [3.0, -4.0, 2.0]


def call(page: Page, function: str, *arguments: object) -> Any:
    """A function of numbers.js."""
    script = f"async (given) => (await import('./numbers.js')).{function}(...given)"
    return page.evaluate(script, list(arguments))


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75, 1])
def test_quantiles_are_numpys(ready_page: Page, share: float) -> None:
    for count in (1, 4, 7):
        times = np.random.default_rng(count).exponential(10, count)
        assert call(ready_page, "quantile", times.tolist(), share) == pytest.approx(np.quantile(times, share))


def test_shares_add_up_and_keep_their_ratios(ready_page: Page) -> None:
    shares = call(ready_page, "softmax", [1000, 1001, 999])
    assert sum(shares) == pytest.approx(1)
    assert shares[1] / shares[0] == pytest.approx(np.e)
    assert call(ready_page, "largest", shares, 2) == [1, 0]


@pytest.mark.parametrize(
    ("answer", "limits", "passed"),
    [
        ([3.0, -4.0, 2.0], (0.0, 1.0), True),
        ([3.0, -4.04, 2.0], (0.011, 0.9), True),
        ([3.0, -4.04, 2.0], (0.009, 0.9), False),
        ([4.0, -3.0, 2.0], (0.3, 0.99), False),
        ([2.0, -4.0, 3.0], (1.0, 0.9), False),
        ([3.0, float("nan"), 2.0], (1.0, -1.0), False),
    ],
    ids=["the same", "near", "too far", "another direction", "another class", "not a number"],
)
def test_an_answer_passes_by_difference_cosine_and_class(
    ready_page: Page, answer: list[float], limits: tuple[float, float], passed: bool
) -> None:
    tolerance = dict(zip(("relative_difference", "cosine"), limits, strict=True))
    assert call(ready_page, "compare", answer, GOLDEN, tolerance)["passed"] is passed


def test_the_difference_is_of_the_largest_golden_logit(ready_page: Page) -> None:
    found = call(ready_page, "compare", [3.0, -4.0, 2.4], GOLDEN, {"relative_difference": 1, "cosine": 0})
    assert found["difference"] == pytest.approx(0.1)
    expected = np.dot(GOLDEN, [3.0, -4.0, 2.4]) / np.linalg.norm(GOLDEN) / np.linalg.norm([3.0, -4.0, 2.4])
    assert found["cosine"] == pytest.approx(expected)
    assert found["sameTop1"]
