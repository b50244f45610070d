"""Pieces of work at once give what they give one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from edgeflex_tflite.side_by_side import each


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order(threads: int) -> None:
    late = threading.Event()

    def work(item: int) -> int:
        if item == 0 and threads > 1:
            assert late.wait(10)  # the first is finished after the second
        if item == 1:
            late.set()
        return item * item

    assert list(each(work, range(20))) == [item * item for item in range(20)]


def test_as_many_at_a_time_as_torch_has_threads(threads: int) -> None:
    together = threading.Barrier(threads)

    def work(_: int) -> int:
        together.wait(10)
        return torch.get_num_threads()

    assert list(each(work, range(2 * threads))) == [1] * 2 * threads
    assert torch.get_num_threads() == threads


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    matrix = torch.randn(300, 500, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(list(each(lambda turn: (matrix * turn) @ matrix.T, range(1, 5))))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_items_are_taken_a_few_ahead(threads: int) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = each(lambda item: item, items())
    next(results)
    assert len(taken) <= threads + 1


def test_an_error_ends_it(threads: int) -> None:
    done = []

    def work(item: int) -> None:
        if item == 2:
            raise ValueError("item 2")
        done.append(item)

    with pytest.raises(ValueError, match="item 2"):
        list(each(work, range(1000)))
    assert len(done) <= 2 + 2 * threads
    assert torch.get_num_threads() == threads


def test_work_inside_of_work(threads: int) -> None:
    assert list(each(lambda outer: sum(each(lambda item: item * outer, range(4))), range(3))) == [0, 6, 12]


def test_no_gradients(threads: int) -> None:
    weight = torch.ones(3, requires_grad=True)
    (found,) = each(lambda x: weight * x, [2.0])
    assert not found.requires_grad
    found += 1  # an ordinary tensor, where the caller is not in inference mode
    with torch.inference_mode():
        (inside,) = each(lambda x: weight * x, [2.0])
    assert inside.is_inference()
