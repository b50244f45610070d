"""Running a vendor's command-line tool: bounded in time, and with nothing of it left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.errors import UserError


@dataclass(frozen=True)
class ToolRun:
    """How a tool ended.

    Attributes:
        code: Its exit code; negative: minus the signal that ended it; None: it was stopped for taking too long.
        output: What it wrote to standard output and standard error, as it came.
    """

    code: int | None
    output: str

    @property
    def ending(self) -> str:
        """The exit code in words, e.g. "exit code 1" or "SIGSEGV"."""
        if self.code is None:
            return "it took too long"
        return f"exit code {self.code}" if self.code >= 0 else signal.Signals(-self.code).name

    @property
    def last_line(self) -> str:
        """The last line that says something."""
        return next((line.strip() for line in reversed(self.output.splitlines()) if line.strip()), "nothing")


def find_tool(name: str, given: str | Path | None, beside: Sequence[Path] = ()) -> str | None:
    """The path of an executable: the one that was given, or the first in the folders `beside` and on PATH.

    Raises:
        UserError: What was given is not an executable.
    """
    if given is not None:
        found = shutil.which(str(given))
        if found is None:
            raise UserError(f"{given} is not an executable: give the path of {name}")
        return found
    return next((found for folder in (*map(str, beside), None) if (found := shutil.which(name, path=folder))), None)


def run_tool(command: Sequence[str | Path], folder: Path, timeout_s: float) -> ToolRun:
    """Run a tool in a folder; when the time is over, it and all that it started are killed."""
    with subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            return ToolRun(None, output)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return ToolRun(process.returncode, output)
