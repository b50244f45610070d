"""What can go wrong between this computer and an Android device, each with what to do about it."""

from __future__ import annotations

from edgeflex_tflite.errors import UserError


class AdbError(UserError):
    """adb, the cable or the device."""


class AdbMissingError(AdbError):
    """There is no adb to run."""


class DeviceUnavailableError(AdbError):
    """No device, or one that does not let us in."""


class SeveralDevicesError(AdbError):
    """More than one device and no serial."""


class DeviceLostError(AdbError):
    """The connection broke in the middle."""


class StorageFullError(AdbError):
    """The file does not fit on the device."""


class WrongBinaryError(AdbError):
    """The device cannot start the program: other processor, or not a program."""


class ProgramCrashedError(AdbError):
    """A signal ended the program."""


class OutOfMemoryError(ProgramCrashedError):
    """The system killed the program, which it does when memory runs out."""


class DeviceTimeoutError(AdbError):
    """No end within the time allowed."""


_STATES = {
    "unauthorized": "has not allowed this computer: unlock it and accept the question about USB debugging",
    "authorizing": "is still being authorized: unlock it, accept the question about USB debugging and try again",
    "offline": "is offline: plug it in again, or restart adb with `adb kill-server`",
    "connecting": "is still connecting: try again in a moment",
    "recovery": "is in recovery mode: start Android",
    "sideload": "is in sideload mode: start Android",
    "bootloader": "is in its bootloader: start Android",
    "no permissions": "may not be opened by this user: add a udev rule for it (on Debian the package "
    "android-sdk-platform-tools-common has them), then plug it in again",
}


def not_ready(serial: str, state: str) -> DeviceUnavailableError:
    """For a device that `adb devices` lists in another state than "device"."""
    for known, meaning in _STATES.items():
        if state.startswith(known):
            return DeviceUnavailableError(f"The device {serial} {meaning}. adb says: {state}.")
    return DeviceUnavailableError(
        f'The device {serial} is not usable: adb calls its state "{state}", it has to be "device".'
    )


_TRANSPORT = (
    ("no space left on device", StorageFullError, "The device's storage is full: free some space on it"),
    (
        "device unauthorized",
        DeviceUnavailableError,
        "The device has not allowed this computer: accept USB debugging on it",
    ),
    ("insufficient permissions", DeviceUnavailableError, "This user may not open the device: add a udev rule for it"),
    ("no permissions", DeviceUnavailableError, "This user may not open the device: add a udev rule for it"),
    ("more than one device", SeveralDevicesError, "Several devices are connected: give a serial"),
    ("cannot connect to daemon", AdbMissingError, "adb's server does not start: try `adb kill-server`"),
    ("failed to start daemon", AdbMissingError, "adb's server does not start: try `adb kill-server`"),
    ("cannot bind", AdbMissingError, "adb's server does not start: is another one running on its port"),
    ("no devices/emulators found", DeviceLostError, "The device is gone: check the cable"),
    ("device not found", DeviceLostError, "The device is gone: check the cable"),
    ("device offline", DeviceLostError, "The device went offline: plug it in again"),
    ("' not found", DeviceLostError, "The device is gone: check the cable"),
    ("protocol fault", DeviceLostError, "The connection to the device broke: check the cable"),
    ("error: closed", DeviceLostError, "The connection to the device broke: check the cable"),
    ("connection reset", DeviceLostError, "The connection to the device broke: check the cable"),
    ("broken pipe", DeviceLostError, "The connection to the device broke: check the cable"),
    (": eof", DeviceLostError, "The connection to the device broke: check the cable"),
)


def transport_error(doing: str, words: str) -> AdbError:
    """For an adb command that failed.

    Args:
        doing: What was being done, e.g. "copying model.tflite to the device".
        words: What adb printed.
    """
    low = words.lower()
    for mark, kind, meaning in _TRANSPORT:
        if mark in low:
            return kind(f"{meaning}. It happened while {doing}; adb says: {last_words(words)}")
    return AdbError(f"adb failed while {doing}: {last_words(words) or 'it gave no reason'}")


_NOT_EXECUTABLE = (
    "not executable:",
    "exec format error",
    "cannot link executable",
    "unexpected e_machine",
    "bad elf magic",
    "not a dynamic executable",
    "syntax error",
)
_SIGNALS = {
    4: "an instruction that the processor does not have (SIGILL)",
    6: "it aborted (SIGABRT)",
    7: "a bad memory access (SIGBUS)",
    8: "an arithmetic fault (SIGFPE)",
    11: "a bad memory access (SIGSEGV)",
}
_SHELL_WORDS = {"segmentation fault": 11, "illegal instruction": 4, "bus error": 7, "aborted": 6, "killed": 9}
"""What the shell prints last, on a line of its own, for a program that a signal ended."""


def program_error(program: str, code: int, words: str) -> AdbError | None:
    """For a program that ran on the device and did not end by itself; None where it did end by itself.

    Args:
        program: Its name.
        code: Its exit code, as the device's shell tells it: 128 + n for signal n.
        words: Everything that it and the shell printed.
    """
    if not code:
        return None
    low, tail = words.lower(), last_words(words) or "none"
    if code in {126, 127} or any(mark in low for mark in _NOT_EXECUTABLE):
        return WrongBinaryError(
            f"The device cannot start {program}: use one that was built for its processor (arm64-v8a on most phones). "
            f"The device says: {tail}"
        )
    signal = code - 128 if code > 128 else _signal_of(last_words(low, lines=1))
    if signal == 9:
        return OutOfMemoryError(
            f"The system killed {program} (SIGKILL), which Android does when memory runs out: close apps on the "
            f"device or take a smaller model. Last words: {tail}"
        )
    if signal:
        meaning = _SIGNALS.get(signal, f"signal {signal}")
        return ProgramCrashedError(
            f"{program} crashed: {meaning}. Another build of it, or another delegate, may run this model. "
            f"Last words: {tail}"
        )
    return None


def _signal_of(shells_words: str) -> int:
    """0 where the shell says nothing of a signal."""
    return next((number for text, number in _SHELL_WORDS.items() if shells_words.startswith(text)), 0)


def last_words(text: str, lines: int = 3) -> str:
    """The last lines that are not empty, on one line."""
    return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-lines:])
