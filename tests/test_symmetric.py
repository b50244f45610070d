"""Products of which half is computed, against all of them."""

from __future__ import annotations

import pytest
import torch

from edgeflex_tflite.symmetric import NARROWEST, STRIPES, gram, quadratic

WIDTHS = [1, 7, NARROWEST, NARROWEST + 1, 3 * NARROWEST - 5, STRIPES * NARROWEST, STRIPES * (NARROWEST + 3) - 1]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("width", WIDTHS)
def test_gram_matrix(width: int) -> None:
    x = normal(5, width)
    torch.testing.assert_close(gram(x), x.T @ x)


@pytest.mark.parametrize("width", WIDTHS)
def test_quadratic_forms_of_rows(width: int) -> None:
    x, matrix = normal(4, width), normal(width, width, seed=1)
    matrix = matrix + matrix.T
    torch.testing.assert_close(quadratic(x, matrix), (x @ matrix @ x.T).diagonal())


def test_a_matrix_for_each_of_several() -> None:
    width = NARROWEST + 2
    x, matrices = normal(3, 4, width), normal(3, width, width, seed=1)
    matrices = matrices + matrices.mT
    expected = torch.stack([quadratic(rows, matrix) for rows, matrix in zip(x, matrices, strict=True)])
    torch.testing.assert_close(quadratic(x, matrices), expected)


def test_nothing_is_changed() -> None:
    x, matrix = torch.ones(2, 300), torch.ones(300, 300)
    assert quadratic(x, matrix).tolist() == [90000, 90000]
    gram(x)
    assert torch.equal(x, torch.ones(2, 300)) and torch.equal(matrix, torch.ones(300, 300))
