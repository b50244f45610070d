"""Who makes the points: processes of this machine, or a Ray cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.sweeping.make import Task, make
from edgeflex_tflite.sweeping.outcome import Outcome

if TYPE_CHECKING:
    from types import ModuleType

PATIENCE_SECONDS = 10
LOCAL = "local"
"""As an address: a Ray cluster on this machine, for this sweep alone."""


def on_this_machine(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """Outcomes as they come, from so many processes at a time."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(make, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def on_ray(
    tasks: Sequence[Task], address: str, workers: int, work: Callable[[Task], Outcome] = make
) -> Iterator[Outcome]:
    """Outcomes as they come, from a Ray cluster; a task whose worker is lost goes to another one.

    Args:
        tasks: what to make; the folder that they name is one that all machines of the cluster have.
        address: of the cluster, or `local`.
        workers: at a time, of a local cluster; elsewhere the cluster decides by its processors.
        work: makes one task.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be reached.
    """
    ray = _ray()
    threads, retries = (max(values) for values in zip(*((task.threads, task.retries) for task in tasks), strict=True))
    _connect(ray, address, workers * threads)
    try:
        remote: Any = ray.remote(num_cpus=threads, max_retries=retries)(work)
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            (reference,), _ = ray.wait(list(waiting), num_returns=1)
            yield _outcome(ray, reference, waiting.pop(reference))
    finally:
        ray.shutdown()


def _outcome(ray: ModuleType, reference: Any, task: Task) -> Outcome:
    try:
        found: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        point = task.point
        *_, reason = str(error).strip().splitlines() or [""]
        return Outcome(point.id, point.title, point.varied, "lost", f"{type(error).__name__}: {reason}")
    return found


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray_address needs Ray: pip install 'edgeflex-tflite[sweep]'") from error
    return ray


def _connect(ray: ModuleType, address: str, processors: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        ray.init(address=LOCAL, num_cpus=processors, include_dashboard=False, **options)
        return
    try:
        _knock(address)
        ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"no Ray cluster answers at {address!r}: {str(error).splitlines()[0]}") from error


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS).close()
