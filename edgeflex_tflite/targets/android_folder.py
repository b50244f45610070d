"""A private folder on the device that is gone at the end, and with it whatever still runs from it."""

from __future__ import annotations

import secrets
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.adb import Adb, Output
from edgeflex_tflite.targets.adb_errors import AdbError, program_error

PARENT = "/data/local/tmp"
"""The one place where Android lets adb put and start programs."""


class DeviceFolder:
    """Use with `with`. What the device refuses to delete at the end is told:

    in `leftover` after a run that went well, in the message of a `UserError`, and on stderr after Ctrl-C.
    """

    def __init__(self, adb: Adb) -> None:
        self._adb = adb
        self.path = f"{PARENT}/edgeflex-{secrets.token_hex(6)}"
        self.leftover = ""

    def __enter__(self) -> DeviceFolder:
        """Make it.

        Raises:
            AdbError: The device does not let us.
        """
        try:
            done = self._adb.shell(["mkdir", self.path], doing=f"making {self.path}")
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        if done.code:
            raise AdbError(f"The device does not let adb write to {PARENT}: {done.text.strip()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Remove it.

        Raises:
            UserError: `error` with a word on what is left on the device.
        """
        try:
            self._remove()
        except AdbError as failed:
            self.leftover = self._left(str(failed))
        except KeyboardInterrupt:
            print(f"warning: {self._left('interrupted')}", file=sys.stderr)
            raise
        if self.leftover and isinstance(error, UserError):
            raise type(error)(f"{error} Besides, {self.leftover}") from error
        if self.leftover and error is not None:
            print(f"warning: {self.leftover}", file=sys.stderr)

    def _left(self, why: str) -> str:
        return f"{self.path} was not deleted on {self._adb.serial}, delete it by hand: {why}"

    def file(self, name: str) -> str:
        """Path on the device."""
        return f"{self.path}/{name}"

    def push(self, local: Path, name: str) -> str:
        """Copy a file into it.

        Returns:
            Its path on the device.

        Raises:
            AdbError: It failed.
        """
        self._adb.push(local, self.file(name))
        return self.file(name)

    def pull(self, name: str, local: Path) -> bool:
        """Copy a file out of it, if it is there.

        Raises:
            AdbError: It failed.
        """
        if self._adb.shell(["ls", self.file(name)], doing=f"looking for {name}").code:
            return False
        self._adb.pull(self.file(name), local)
        return True

    def run(self, program: str, arguments: Sequence[str], *, timeout_secs: float) -> Output:
        """Run a program that was pushed, with its own folder for libraries.

        Returns:
            What it left, if it ended by itself with whatever code.

        Raises:
            AdbError: The device cannot start it, a signal ended it, it takes too long, or the connection broke.
        """
        command = shlex.join([self.file(program), *arguments])
        script = (
            f"cd {self.path}; chmod 755 {shlex.quote(program)}; export LD_LIBRARY_PATH={self.path}; "
            f"echo $$ > pid; exec {command}"
        )
        done = self._adb.shell(["sh", "-c", script], timeout_secs=timeout_secs, doing=f"running {program}")
        error = program_error(program, done.code, done.text)
        if error:
            raise error
        return done

    def _remove(self) -> None:
        """Also stops what runs on after a time-out or Ctrl-C; its number may belong to another program by now."""
        self._adb.remove(
            self.path,
            first=f"p=$(cat {self.path}/pid 2>/dev/null)\n"
            f'if [ -n "$p" ] && grep -q {self.path} /proc/$p/cmdline 2>/dev/null; then kill -9 $p; fi',
        )
