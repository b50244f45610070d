"""A session in a fresh process, called over a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.config import RuntimeConfig
from edgeflex_tflite.targets.session import Round, Session, Start


class Apart:
    """A `Session` that shares no memory with this process; a crash there is an error here.

    Raises (from every call):
        UserError: What the session raises, or the process died.
    """

    def __init__(self, path: str, config: RuntimeConfig, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._path = path
        self._pipe, theirs = context.Pipe()
        self._said = tempfile.NamedTemporaryFile()  # noqa: SIM115
        arguments = (theirs, self._said.name, path, config, seed)
        self._process = context.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.terminate()
        self._process.join()
        self._said.close()

    def start(self) -> Start:
        """`Session.start`"""
        return self._call("start")

    def run(self, min_runs: int, min_secs: float) -> Round:
        """`Session.run`"""
        return self._call("run", min_runs, min_secs)

    def _call(self, name: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((name, arguments))
            result = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise UserError(f"{self._path}: {self._death()}") from error
        if isinstance(result, BaseException):
            raise result
        return result

    def _death(self) -> str:
        self._process.join(5)
        code = self._process.exitcode
        if code == -signal.SIGKILL:
            return "the process was killed: most likely the machine ran out of memory; measure fewer files in one call"
        last = (self._said.read().decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        how = (
            f"crashed with {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"
        )
        return f"the runtime {how}, so the file or the delegate is at fault; it said: {last}"


def _serve(pipe: Connection, log: str, path: str, config: RuntimeConfig, seed: int) -> None:
    """Answer calls until the other end is closed; what native code prints goes to the log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    said = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    session = Session(path, config, seed)
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        try:
            result = getattr(session, name)(*arguments)
        except Exception as error:
            result = error
        pipe.send(result)
