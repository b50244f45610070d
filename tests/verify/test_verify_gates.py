"""Silent failures are errors, and what only looks like one is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.verify.gates import check_outputs
from edgeflex_tflite.verify.parity import check_parity

NONE = np.zeros(40, dtype=np.int64)


@pytest.fixture
def logits() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)


def test_good_outputs_pass(logits: NDArray[np.float32]) -> None:
    assert check_outputs(logits + np.float32(0.1), logits, NONE) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(logits: NDArray[np.float32], value: float) -> None:
    broken = logits.copy()
    broken[3, 4] = value
    with pytest.raises(VerificationError, match="NaN or infinity on 1 of 40 images"):
        check_outputs(broken, logits, NONE)


def test_one_class_for_everything(logits: NDArray[np.float32]) -> None:
    constant = logits.copy()
    constant[:, 7] = 100
    with pytest.raises(VerificationError, match="class 7 for every image"):
        check_outputs(constant, logits, NONE)


def test_one_class_is_right_where_the_model_says_so_too(logits: NDArray[np.float32]) -> None:
    constant = logits.copy()
    constant[:, 7] = 100
    assert check_outputs(constant, constant, NONE) is None


def test_saturation(logits: NDArray[np.float32]) -> None:
    one_at_the_end, two_at_the_end = np.full(40, 1), np.full(40, 2)
    assert check_outputs(logits, logits, one_at_the_end) is None
    with pytest.raises(VerificationError, match="saturates on 100% of the images"):
        check_outputs(logits, logits, two_at_the_end)


def test_parity_reports_its_figures(logits: NDArray[np.float32]) -> None:
    off = logits.copy()
    off[0, 0] += 1e-4
    parity = check_parity(off, logits)
    assert parity.max_abs_difference == pytest.approx(1e-4, rel=0.01)
    assert parity.max_relative_difference == pytest.approx(1e-4 / np.abs(logits[0]).max(), rel=0.01)


@pytest.mark.parametrize("error", [1.0, np.nan])
def test_parity_has_a_bound(logits: NDArray[np.float32], error: float) -> None:
    off = logits.copy()
    off[5, 5] += error
    with pytest.raises(VerificationError, match="differs from the torch model"):
        check_parity(off, logits)
