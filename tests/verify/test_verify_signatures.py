"""Signatures are held against the first one."""

from __future__ import annotations

import numpy as np
import pytest

from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.verify import parity
from edgeflex_tflite.verify.runner import dequantized, in_batches, quantized
from edgeflex_tflite.verify.signatures import INTEGER_BOUND, check_signature

LOGITS = np.array([[4.0, -1.0, 0.5], [0.25, -8.0, 1.0]], dtype=np.float32)
INT8 = {"dtype": np.int8, "quantization": (0.5, -10)}


@pytest.mark.parametrize(("integer", "bound"), [(False, parity.BOUND), (True, INTEGER_BOUND)])
def test_what_is_within_the_bound_of_the_largest_logit(integer: bool, bound: float) -> None:
    changed = LOGITS.copy()
    changed[1, 0] += 0.9 * bound * 8
    found = check_signature("batch_4", changed, LOGITS, integer)
    assert found.max_relative_difference == pytest.approx(0.9 * bound, rel=1e-3)
    assert (found.images, found.bound) == (2, bound)
    changed[1, 0] += 0.2 * bound * 8
    with pytest.raises(VerificationError, match=r"signature batch_4 differs from the first one by 1\.1e"):
        check_signature("batch_4", changed, LOGITS, integer)


def test_an_answer_that_is_no_number() -> None:
    changed = LOGITS.copy()
    changed[0, 0] = np.nan
    with pytest.raises(VerificationError, match="batch_4 differs from the first one by nan"):
        check_signature("batch_4", changed, LOGITS, True)


def test_the_first_images_fill_up_the_last_batch() -> None:
    images = [np.full((1, 2), value) for value in range(5)]
    batches = [batch[:, 0].tolist() for batch in in_batches(images, 3)]
    assert batches == [[0, 1, 2], [3, 4, 0]]
    assert [batch[:, 0].tolist() for batch in in_batches(images[:2], 5)] == [[0, 1, 0, 1, 0]]


def test_integers_there_and_back() -> None:
    values = np.array([-200.0, -1.0, 0.3, 200.0], dtype=np.float32)
    stored = quantized(values, INT8)
    assert stored.tolist() == [-128, -12, -9, 127] and stored.dtype == np.int8
    np.testing.assert_allclose(dequantized(stored, INT8), [-59.0, -1.0, 0.5, 68.5])
    floats = {"dtype": np.float32, "quantization": (0.0, 0)}
    assert dequantized(quantized(values, floats), floats) is values
