"""Pieces of work at once: on a ViT's matrices a second thread brings torch next to nothing, a second piece does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` of every item, in their order, without gradients.

    As many items are worked on at a time as torch has threads, each by one thread, so the bits of a result do not
    depend on how many there are. Inside of a piece of work, this does one item after the other.

    Args:
        work: changes nothing that another item's reads.
        items: taken as they are needed, a few ahead of the results.
    """
    threads = torch.get_num_threads()
    without_gradients = torch.inference_mode() if torch.is_inference_mode_enabled() else torch.no_grad()
    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads, "side-by-side", torch.set_num_threads, (1,))
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(without_gradients(work), item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)
