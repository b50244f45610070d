"""Accuracy, intervals and paired differences, against figures worked out by hand or by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from edgeflex_tflite.verify.accuracy import accuracy, collect_logits, paired_drop, proportion


def test_top1_and_top5() -> None:
    logits = np.array([[9, 8, 7, 6, 5, 4], [0, 1, 2, 3, 4, 5]], dtype=np.float32)
    found = accuracy(logits, np.array([0, 0]))
    assert (found.top1.hits, found.top1.percent) == (1, 50.0)
    assert found.top5 is not None and found.top5.hits == 1


def test_no_top5_below_six_classes() -> None:
    assert accuracy(np.eye(5, dtype=np.float32), np.arange(5)).top5 is None


def test_wilson_interval() -> None:
    """8 of 10: the textbook interval is 49.0 % to 94.3 %."""
    found = proportion(np.array([True] * 8 + [False] * 2))
    assert (found.low_percent, found.high_percent) == (pytest.approx(49.02, abs=0.01), pytest.approx(94.33, abs=0.01))


def test_interval_of_a_perfect_score_is_not_a_point() -> None:
    found = proportion(np.ones(50, dtype=bool))
    assert found.high_percent == 100 and 90 < found.low_percent < 97


def test_paired_drop_counts_only_images_that_differ() -> None:
    before = np.array([True] * 90 + [False] * 10)
    after = np.array([True] * 87 + [False] * 3 + [True] * 1 + [False] * 9)
    drop, low, high = paired_drop(before, after)
    assert drop == pytest.approx(2.0)
    assert low < 0 < drop < high < 7


def test_equal_models_drop_nothing() -> None:
    hits = np.random.default_rng(0).random(100) < 0.8
    assert paired_drop(hits, hits) == (0.0, 0.0, 0.0)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng, covered, runs = np.random.default_rng(0), 0, 400
    for _ in range(runs):
        before = rng.random(500) < 0.8
        after = np.where(rng.random(500) < 0.1, rng.random(500) < 0.5, before)
        truth = 100 * (0.8 - (0.9 * 0.8 + 0.1 * 0.5))
        _, low, high = paired_drop(before, after)
        covered += low <= truth <= high
    assert 0.92 <= covered / runs <= 0.98


def test_logits_come_in_the_order_of_the_batches() -> None:
    batches = [(np.full((2, 3, 4, 4), k, np.uint8), np.array([k, k])) for k in range(3)]
    logits, labels = collect_logits(lambda x: x.reshape(len(x), -1)[:, :2].astype(np.float32), batches)
    np.testing.assert_array_equal(labels, [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(logits[:, 0], labels)
