"""The plain `adb` command: devices, files and programs, with every failure as an error of its own."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.targets.adb_errors import (
    AdbMissingError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnavailableError,
    SeveralDevicesError,
    last_words,
    not_ready,
    transport_error,
)

SHORT_SECS = 30.0
"""For what only asks the device something."""

COPY_SECS = 600.0
"""For copying one file."""

_EXIT_MARK = "edgeflex-exit-code="
_DEVICE_LINE = re.compile(r"^(?P<serial>\S+)\s+(?P<state>no permissions.*|\S+)(?:\s+(?P<details>.*))?$")


@dataclass(frozen=True)
class Device:
    """A line of `adb devices -l`.

    Attributes:
        serial: Its name for `adb -s`.
        state: "device" when it can be used, else what adb says.
        model: Its model as adb lists it, or "".
    """

    serial: str
    state: str
    model: str = ""

    def __str__(self) -> str:
        return f"{self.serial} ({self.model or self.state})"


@dataclass(frozen=True)
class Output:
    """What a command on the device left.

    Attributes:
        code: Exit code; 128 + n for signal n.
        stdout, stderr: Its streams. Before Android 7 both arrive in `stdout`.
    """

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """Both streams."""
        return f"{self.stdout}\n{self.stderr}" if self.stderr else self.stdout


def find_adb(executable: str = "adb") -> str:
    """The path of adb.

    Raises:
        AdbMissingError: There is none, or it is not executable.
    """
    found = shutil.which(executable)
    if found:
        return found
    if Path(executable).is_file():
        raise AdbMissingError(
            f"{executable} is not executable: give the adb of the Android platform tools, or chmod +x it."
        )
    raise AdbMissingError(
        f"There is no {executable!r} on this computer: install the Android platform tools "
        "(apt install adb, or https://developer.android.com/tools/releases/platform-tools), or give its path."
    )


def devices(executable: str = "adb") -> tuple[Device, ...]:
    """All devices that adb knows, usable or not.

    Raises:
        AdbError: adb is missing or its server does not start.
    """
    done = _run([find_adb(executable), "devices", "-l"], SHORT_SECS, "listing the devices")
    if done.returncode:
        raise transport_error("listing the devices", done.stderr or done.stdout)
    lines = done.stdout.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("List of devices")), -1)
    matches = (_DEVICE_LINE.match(line.strip()) for line in lines[begin + 1 :] if not line.startswith("*"))
    return tuple(_device(match) for match in matches if match)


def _device(match: re.Match[str]) -> Device:
    details = dict(pair.split(":", 1) for pair in (match["details"] or "").split() if ":" in pair)
    return Device(match["serial"], match["state"], details.get("model", "").replace("_", " "))


def choose(executable: str = "adb", serial: str | None = None) -> Device:
    """The device with this serial, or with ANDROID_SERIAL as adb itself does it, or the only one.

    Raises:
        SeveralDevicesError: More than one, and no serial.
        DeviceUnavailableError: None, none with this serial, or it is not ready.
        AdbError: adb is missing or its server does not start.
    """
    present = devices(executable)
    serial = serial or os.environ.get("ANDROID_SERIAL")
    listed = ", ".join(map(str, present))
    if not present:
        raise DeviceUnavailableError(
            "No Android device is connected: plug one in and switch on USB debugging in its developer options; "
            "`adb devices` has to list it."
        )
    if serial:
        found = [device for device in present if device.serial == serial]
        if not found:
            raise DeviceUnavailableError(f"There is no device {serial}. Connected: {listed}.")
    else:
        found = [device for device in present if device.state == "device"] or list(present)
        if len(found) > 1:
            raise SeveralDevicesError(
                f"Several devices are connected: {', '.join(map(str, found))}. Give one's serial."
            )
    if found[0].state != "device":
        raise not_ready(found[0].serial, found[0].state)
    return found[0]


@dataclass(frozen=True)
class Adb:
    """One device.

    Attributes:
        executable: Path of adb.
        serial: The device.
    """

    executable: str
    serial: str

    def shell(self, command: str | Sequence[str], *, timeout_secs: float = SHORT_SECS, doing: str = "") -> Output:
        """Run a command in the device's shell.

        The shell itself is asked for the exit code: adb passes it on only since Android 7.

        Args:
            command: A line for the shell, or words that are quoted for it.
            timeout_secs: Time until `DeviceTimeoutError`; the command may still run on the device then.
            doing: For error messages, e.g. "reading the temperatures".

        Raises:
            DeviceLostError: The connection broke before the command ended.
            DeviceTimeoutError: It took too long.
            AdbError: adb failed otherwise.
        """
        line = command if isinstance(command, str) else shlex.join(command)
        doing = doing or f"running {line.split()[0]} on the device"
        done = self._adb(["shell", f"{line}\necho {_EXIT_MARK}$?"], timeout_secs, doing)
        before, mark, code = done.stdout.rpartition(_EXIT_MARK)
        if mark and code.strip().isdigit():
            return Output(int(code), before, done.stderr)
        own = "\n".join(line for line in done.stderr.splitlines() if line.startswith(("adb: ", "error: ", "* ")))
        if own:
            raise transport_error(doing, own)
        raise DeviceLostError(
            f"The connection to the device broke while {doing}: check the cable. "
            f"Last words: {last_words(done.stderr or done.stdout) or 'none'}"
        )

    def push(self, local: Path, remote: str) -> None:
        """Copy a file to the device.

        Raises:
            StorageFullError: It does not fit.
            AdbError: It failed otherwise.
        """
        self._copy(["push", str(local), remote], f"copying {local.name} to the device")

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file from the device.

        Raises:
            AdbError: It failed.
        """
        self._copy(["pull", remote, str(local)], f"copying {remote} from the device")

    def remove(self, folder: str, *, first: str = "") -> None:
        """Delete a folder of the device and all in it.

        Args:
            folder: Its path.
            first: A line for the shell, to run before.

        Raises:
            AdbError: It failed, or something is left.
        """
        doing, name = f"deleting {folder} on the device", shlex.quote(folder)
        done = self.shell(f"{first}\nrm -rf {name} && ! ls -d {name} 2>/dev/null", doing=doing)
        if done.code:
            raise transport_error(doing, done.text)

    def _copy(self, arguments: Sequence[str], doing: str) -> None:
        done = self._adb(arguments, COPY_SECS, doing)
        words = f"{done.stdout}\n{done.stderr}"
        if done.returncode or "failed to copy" in words:  # old adb says 0 all the same
            raise transport_error(doing, _without_progress(words))

    def _adb(self, arguments: Sequence[str], timeout_secs: float, doing: str) -> subprocess.CompletedProcess[str]:
        return _run([self.executable, "-s", self.serial, *arguments], timeout_secs, doing)


def _run(command: Sequence[str], timeout_secs: float, doing: str) -> subprocess.CompletedProcess[str]:
    """In a session of its own, so that Ctrl-C reaches this process alone, which then cleans up."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_secs,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceTimeoutError(
            f"Still not done with {doing} after {timeout_secs:g} s: is it awake and free, or is more time needed?"
        ) from error
    except OSError as error:
        raise AdbMissingError(
            f"{command[0]} cannot be run ({error}): give the adb of the Android platform tools."
        ) from error
    streams = [stream.decode("utf-8", "replace").replace("\r\n", "\n") for stream in (done.stdout, done.stderr)]
    return subprocess.CompletedProcess(done.args, done.returncode, *streams)


def _without_progress(words: str) -> str:
    return "\n".join(line for line in re.split(r"[\r\n]+", words) if not re.match(r"\[ *\d+%\]", line))
