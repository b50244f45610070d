"""A session in a fresh process, called over a pipe."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any

import edgeflex_tflite
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.config import RuntimeConfig
from edgeflex_tflite.targets.session import Round, Start

_PATIENCE_SECS = 10


class Apart:
    """A `Session` that shares no memory with this process; a crash there is an error here.

    Raises (from every call):
        UserError: What the session raises, or the process died.
    """

    def __init__(self, path: str, config: RuntimeConfig, seed: int) -> None:
        self._path = path
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "edgeflex_tflite.targets.serve", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdout=self._said,
                stderr=self._said,
                env=_environment(),
            )
        self._pipe.send((path, config, seed))

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.wait()
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
        code = self._process.wait(_PATIENCE_SECS)
        if code == -signal.SIGKILL:
            return "the process was killed: most likely the machine ran out of memory; measure fewer files in one call"
        self._said.seek(0)
        last = (self._said.read().decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        how = f"crashed with {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        return f"the runtime {how}, so the file or the delegate is at fault; it said: {last}"


def _environment() -> dict[str, str]:
    """This process's, with this very package on the path."""
    home = str(Path(edgeflex_tflite.__file__).parent.parent)
    rest = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([home, rest] if rest else [home])}
