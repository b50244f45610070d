"""Calibration and evaluation never share an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.data import (
    Data,
    Preprocessing,
    content_hash,
    data_fingerprint,
    draw_calibration,
    draw_evaluation,
    make_data,
    open_source,
)
from edgeflex_tflite.data.arrays import ArraySource
from edgeflex_tflite.errors import UserError

PLAIN = Preprocessing(4, 4, "nearest", 1.0, "center", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def of_contents(contents: list[int], labels: list[int] | None = None, name: str = "made") -> ArraySource:
    """Images that are alike where their number in `contents` is; no class names."""
    pixels = np.repeat(np.array(contents, dtype=np.uint8), 48).reshape(-1, 4, 4, 3)
    classes = [content % 3 for content in contents] if labels is None else labels
    return ArraySource(name, name, np.array(classes, dtype=np.int64), None, pixels)


def make(data: ArraySource, calibration: ArraySource | None = None, **options: Any) -> Data:
    given_options = {"calibration_samples": 3, "eval_samples": None, "seed": 0, "batch_size": 4} | options
    return make_data(data, calibration, PLAIN, **given_options)


def contents_of(pixels: torch.Tensor) -> list[int]:
    return pixels[:, 0, 0, 0].tolist()


def evaluated(made: Data) -> list[int]:
    return [content for pixels, _ in made.evaluation for content in contents_of(pixels)]


CONTENTS = st.lists(st.integers(0, 12), min_size=1, max_size=30)
LABELLED = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=30)
OPTIONS = st.fixed_dictionaries(
    {
        "calibration_samples": st.integers(1, 8),
        "eval_samples": st.none() | st.integers(1, 12),
        "seed": st.integers(0, 99),
    }
)


@settings(deadline=None)
@given(LABELLED, st.none() | CONTENTS, OPTIONS)
def test_no_image_is_in_both(data: list[tuple[int, int]], other: list[int] | None, options: dict[str, Any]) -> None:
    contents, labels = (list(column) for column in zip(*data, strict=True))
    calibration = None if other is None else of_contents(other, name="other")
    samples, wanted = options["calibration_samples"], options["eval_samples"]
    try:
        made = make(of_contents(contents, labels), calibration, **options)
    except UserError as error:
        assert reason_to_refuse(len(set(other or contents)), samples, wanted) in str(error)
        return
    calibrated, rest = contents_of(made.calibration.pixels), evaluated(made)
    assert len(calibrated) == len(set(calibrated)) == samples
    assert set(calibrated).isdisjoint(rest)
    assert [contents[index] for index in made.evaluation.indices] == rest
    assert [(other or contents)[index] for index in made.calibration.indices] == calibrated
    assert len(set(made.evaluation.indices.tolist())) == len(made.evaluation) == len(rest)
    if wanted is None:
        assert rest == [content for content in contents if content not in calibrated]
        assert made.evaluation.left_out == len(data) - len(rest)
    else:
        assert len(rest) == wanted


def reason_to_refuse(different: int, samples: int, wanted: int | None) -> str:
    """Part of the message that must come: calibration is drawn before evaluation."""
    if different < samples:
        return f"has {different} images that differ, but calibration asks for {samples}"
    return f"but evaluation asks for {wanted or 1}; ask for fewer"


@settings(deadline=None)
@given(CONTENTS, st.integers(1, 5), st.integers(0, 99))
def test_refused_only_where_too_few_are_left(data: list[int], samples: int, seed: int) -> None:
    different = set(data)
    if len(different) <= samples:
        with pytest.raises(UserError):
            make(of_contents(data), calibration_samples=samples, seed=seed)
    else:
        make(of_contents(data), calibration_samples=samples, seed=seed)


def test_batches() -> None:
    made = make(of_contents(list(range(30)), [number % 3 for number in range(30)]), calibration_samples=5)
    first, second = list(made.evaluation), list(made.evaluation)
    assert [len(labels) for _, labels in first] == [4] * 6 + [1]
    assert sum(len(labels) for _, labels in first) == len(made.evaluation) == 25
    for (pixels, labels), (again, labels_again) in zip(first, second, strict=True):
        assert (pixels.dtype, tuple(pixels.shape[1:]), labels.dtype) == (torch.uint8, (3, 4, 4), torch.int64)
        assert torch.equal(pixels, again)
        assert torch.equal(labels, labels_again)
        assert labels.tolist() == [content % 3 for content in contents_of(pixels)]


def test_calibration_set() -> None:
    made = make(of_contents(list(range(30)), [number % 3 for number in range(30)]), calibration_samples=6)
    calibration = made.calibration
    assert (calibration.pixels.dtype, tuple(calibration.pixels.shape)) == (torch.uint8, (6, 3, 4, 4))
    assert calibration.labels.dtype == torch.int64
    assert calibration.labels.tolist() == [content % 3 for content in contents_of(calibration.pixels)]
    assert Counter(calibration.labels.tolist()) == {0: 2, 1: 2, 2: 2}
    assert calibration.hashes == tuple(map(content_hash, calibration.pixels))
    assert (calibration.source, len(calibration)) == ("made", 6)
    assert made.evaluation.excluded == set(calibration.hashes)


def test_evaluation_subset_is_balanced() -> None:
    made = make(of_contents(list(range(60)), [number % 3 for number in range(60)]), eval_samples=12)
    assert Counter(made.evaluation.labels.tolist()) == {0: 4, 1: 4, 2: 4}


def test_calibration_stays_balanced_beside_copies() -> None:
    contents = [0] * 10 + [1, 2, 3, 4] + [10, 11, 12, 13, 14, 15]
    made = make(of_contents(contents, [0] * 14 + [1] * 6), calibration_samples=8)
    assert Counter(made.calibration.labels.tolist()) == {0: 4, 1: 4}


def test_own_calibration_source() -> None:
    made = make(of_contents([1, 2, 3, 2, 4]), of_contents([2, 4, 9], name="other"), calibration_samples=3)
    assert evaluated(made) == [1, 3]
    assert (made.calibration.source, made.evaluation.left_out) == ("other", 3)


def test_images_passed_over_while_drawing_are_counted() -> None:
    data = of_contents([7] * 10 + [1], [0] * 11)
    made = make(data, of_contents([7], name="other"), calibration_samples=1, eval_samples=1, seed=1)
    assert evaluated(made) == [1]
    asked = made.evaluation.left_out
    assert 0 < asked <= 10


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_arguments_give_the_same_sets(workers: int) -> None:
    data = of_contents([number % 40 for number in range(60)])
    for wanted in (None, 10):
        one, two = make(data, eval_samples=wanted), make(data, eval_samples=wanted, workers=workers)
        assert one.calibration.fingerprint == two.calibration.fingerprint
        assert one.evaluation.fingerprint == two.evaluation.fingerprint
        assert evaluated(one) == evaluated(two)
        other = make(data, eval_samples=wanted, seed=1)
        assert one.calibration.fingerprint != other.calibration.fingerprint
        assert one.evaluation.fingerprint != other.evaluation.fingerprint


def test_evaluation_subset_does_not_follow_the_calibration_size() -> None:
    data = of_contents(list(range(100)))
    one, two = (make(data, eval_samples=20, calibration_samples=samples) for samples in (3, 10))
    assert len(set(evaluated(one)) & set(evaluated(two))) >= 20 - 10


def test_several_calibration_draws_can_share_their_evaluation_images() -> None:
    source = of_contents(list(range(30)))
    draws = [draw_calibration(source, PLAIN, 3, seed) for seed in range(3)]
    assert len({drawn.fingerprint for drawn in draws}) == 3
    excluded = frozenset().union(*(drawn.hashes for drawn in draws))
    found = draw_evaluation(source, PLAIN, excluded, 10, seed=0)
    assert len(found) == 10 and excluded.isdisjoint(found.hashes)
    with pytest.raises(UserError, match=f"besides the {len(excluded)} that calibration has"):
        draw_evaluation(source, PLAIN, excluded, 30, seed=0)


def test_too_few_by_both_numbers() -> None:
    with pytest.raises(UserError, match=r"'made' has 2 images that differ, but calibration asks for 3; ask for fewer"):
        make(of_contents([1, 1, 2, 2]))
    with pytest.raises(UserError, match=r"has 2 images besides the 3 that calibration has, but evaluation asks for 4"):
        make(of_contents([1, 2, 3, 4, 5]), eval_samples=4)
    with pytest.raises(UserError, match=r"has 0 images besides the 6 that calibration has, but evaluation asks for 1"):
        make(of_contents([1, 2, 3, 3, 3, 3]))


@pytest.mark.parametrize("option", ["calibration_samples", "eval_samples"])
def test_nothing_asked_for(option: str) -> None:
    with pytest.raises(UserError, match=r"cannot work on 0 images; ask for 1 or more"):
        make(of_contents([1, 2, 3, 4, 5]), **{option: 0})


def test_a_changed_image_is_noticed() -> None:
    data = of_contents(list(range(20)))
    evaluation = make(data).evaluation
    list(evaluation)
    data.pixels[evaluation.indices[6]] = 200
    with pytest.raises(UserError, match=r"'made' changed while it was in use"):
        list(evaluation)


def test_an_overlap_cannot_be_iterated() -> None:
    made = make(of_contents(list(range(20))))
    sneaked = replace(made.evaluation, excluded=frozenset(made.evaluation.hashes[6:7]))
    with pytest.raises(AssertionError, match="an evaluation image is a calibration image"):
        list(sneaked)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_image_is_named_before_any_work(tmp_path: Any, class_folders: Callable, workers: int) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 6})
    (root / "cat" / "4.png").write_bytes(b"no image")
    options = {"calibration_samples": 1, "eval_samples": None, "seed": 0, "workers": workers}
    with pytest.raises(UserError) as caught:
        make_data(open_source(str(root)), None, PLAIN, **options)
    assert "image cat/4.png cannot be decoded" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_iterating_leaves_the_callers_random_numbers_alone() -> None:
    evaluation = make(of_contents(list(range(20)))).evaluation
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(evaluation)
    assert torch.equal(torch.rand(3), expected)


def test_evaluation_holds_one_batch_at_a_time() -> None:
    data = of_contents(list(range(40)))
    evaluation = make(data).evaluation
    asked: list[int] = []

    class Counting(ArraySource):
        def image(self, index: int) -> Any:
            asked.append(index)
            return super().image(index)

    counting = Counting(data.spec, data.name, data.labels, data.class_names, data.pixels)
    batches = iter(replace(evaluation, source=counting))
    next(batches)
    assert len(asked) == evaluation.batch_size


def test_content_is_pixels_and_shape() -> None:
    pixels = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    assert content_hash(pixels) == content_hash(pixels.clone())
    assert content_hash(pixels) == content_hash(pixels.transpose(1, 2).contiguous().transpose(1, 2))
    assert content_hash(pixels) != content_hash(pixels.view(3, 2, 8))
    assert content_hash(pixels) != content_hash(pixels + 1)


def test_fingerprint_is_contents_and_labels_in_order() -> None:
    prints = {
        data_fingerprint(hashes, labels)
        for hashes, labels in [(["a", "b"], [0, 1]), (["b", "a"], [0, 1]), (["a", "b"], [1, 0]), (["a"], [0])]
    }
    assert len(prints) == 4
    assert data_fingerprint(["a", "b"], np.array([0, 1])) in prints
