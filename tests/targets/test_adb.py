"""The adb wrapper against a stand-in that runs as a process: every failure is an error of its own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets import adb
from edgeflex_tflite.targets.adb import Adb, choose, devices, find_adb
from edgeflex_tflite.targets.adb_errors import (
    AdbError,
    AdbMissingError,
    DeviceLostError,
    DeviceTimeoutError,
    DeviceUnavailableError,
    OutOfMemoryError,
    ProgramCrashedError,
    SeveralDevicesError,
    StorageFullError,
    WrongBinaryError,
    program_error,
)
from tests.targets.phone import SERIAL, USUAL, FakePhone, phone

__all__ = ["phone"]  # the fixture
TMP = "/data/local/tmp"


@pytest.fixture
def device(phone: FakePhone) -> Adb:
    return Adb(find_adb(), SERIAL)


def test_no_adb_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AdbMissingError, match="install the Android platform tools"):
        choose()


def test_adb_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "adb").write_text("#!/bin/sh\n")
    with pytest.raises(AdbMissingError, match="is not executable"):
        choose(str(tmp_path / "adb"))


def test_adb_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "adb").write_bytes(b"\x00\x01")
    (tmp_path / "adb").chmod(0o755)
    with pytest.raises(AdbMissingError, match="cannot be run"):
        choose(str(tmp_path / "adb"))


def test_adbs_server_does_not_start(phone: FakePhone) -> None:
    phone.configure(broken={"devices": "* failed to start daemon\nerror: cannot connect to daemon"})
    with pytest.raises(AdbMissingError, match="kill-server"):
        choose()


def test_the_only_device(phone: FakePhone) -> None:
    assert choose() == adb.Device(SERIAL, "device", "SM G991B")


def test_no_device(phone: FakePhone) -> None:
    phone.configure(devices=[])
    with pytest.raises(DeviceUnavailableError, match=r"No Android device is connected.*USB debugging"):
        choose()


@pytest.mark.parametrize(
    ("state", "meaning"),
    [
        ("unauthorized", "accept the question about USB debugging"),
        ("authorizing", "still being authorized"),
        ("offline", "is offline: plug it in again"),
        ("recovery", "start Android"),
        ("no permissions (user in plugdev group; are your udev rules wrong?); see [http://x]", "add a udev rule"),
        ("host", 'calls its state "host"'),
    ],
)
def test_device_that_is_not_ready(phone: FakePhone, state: str, meaning: str) -> None:
    phone.configure(devices=[[SERIAL, state, "usb:1-4"]])
    with pytest.raises(DeviceUnavailableError, match=meaning):
        choose()


def test_no_permissions_is_one_state(phone: FakePhone) -> None:
    phone.configure(devices=[["????????????", "no permissions (udev requires plugdev group)", ""]])
    assert [device.state for device in devices()] == ["no permissions (udev requires plugdev group)"]


def test_several_devices_are_listed_with_their_models(phone: FakePhone) -> None:
    phone.configure(devices=[*USUAL, ["emulator-5554", "device", "product:sdk model:Pixel_6 device:emu"]])
    with pytest.raises(SeveralDevicesError, match=rf"{SERIAL} \(SM G991B\), emulator-5554 \(Pixel 6\)"):
        choose()


def test_one_ready_among_several(phone: FakePhone) -> None:
    phone.configure(devices=[["OTHER", "unauthorized", ""], *USUAL])
    assert choose().serial == SERIAL


def test_serial_chooses(phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    phone.configure(devices=[*USUAL, ["SECOND", "device", "model:Two"], ["THIRD", "device", "model:Three"]])
    monkeypatch.setenv("ANDROID_SERIAL", "SECOND")
    assert choose().serial == "SECOND"
    assert choose(serial="THIRD").serial == "THIRD"


def test_unknown_serial_lists_the_known(phone: FakePhone) -> None:
    with pytest.raises(DeviceUnavailableError, match=f"no device NOPE. Connected: {SERIAL}"):
        choose(serial="NOPE")


@pytest.mark.parametrize("old", [False, True])
def test_exit_code_and_output(phone: FakePhone, device: Adb, old: bool) -> None:
    phone.configure(old=old)
    done = device.shell("echo out; echo err >&2; (exit 3)")
    assert done.code == 3
    assert sorted(done.text.split()) == ["err", "out"]
    assert "\r" not in done.text
    assert done.stderr == ("" if old else "err\n")


def test_words_are_quoted(device: Adb) -> None:
    assert device.shell(["echo", "a  b", "$HOME; false"]).stdout == "a  b $HOME; false\n"


def test_push_pull_remove(phone: FakePhone, device: Adb, tmp_path: Path) -> None:
    (tmp_path / "a file").write_bytes(b"\x00\xff")
    assert device.shell(["mkdir", f"{TMP}/x"]).code == 0
    device.push(tmp_path / "a file", f"{TMP}/x/f")
    device.pull(f"{TMP}/x/f", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"\x00\xff"
    device.remove(f"{TMP}/x")
    assert phone.left() == []


def test_remove_that_fails_is_an_error(phone: FakePhone, device: Adb) -> None:
    device.shell(["mkdir", f"{TMP}/x"])
    phone.program("rm", "echo 'rm: x: Permission denied' >&2; exit 1")
    with pytest.raises(AdbError, match="Permission denied"):
        device.remove(f"{TMP}/x")


def test_remove_that_does_nothing_is_an_error(phone: FakePhone, device: Adb) -> None:
    device.shell(["mkdir", f"{TMP}/x"])
    phone.program("rm", "exit 0")
    with pytest.raises(AdbError, match=f"{TMP}/x"):
        device.remove(f"{TMP}/x")


def test_storage_full_on_push(phone: FakePhone, device: Adb, tmp_path: Path) -> None:
    phone.configure(
        broken={"push": f"[ 12%] {TMP}/f\r[ 40%] {TMP}/f\nadb: error: failed to copy 'f' to '{TMP}/f': "
                "remote write failed: No space left on device"}
    )  # fmt: skip
    (tmp_path / "f").write_bytes(b"x")
    with pytest.raises(StorageFullError, match="free some space") as raised:
        device.push(tmp_path / "f", f"{TMP}/f")
    assert "40%" not in str(raised.value)


def test_pull_of_nothing(device: Adb, tmp_path: Path) -> None:
    with pytest.raises(AdbError, match="No such file"):
        device.pull(f"{TMP}/nothing", tmp_path / "x")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (f"error: device '{SERIAL}' not found", DeviceLostError),
        ("error: closed", DeviceLostError),
        ("error: device offline", DeviceLostError),
        ("error: protocol fault (couldn't read status): Connection reset by peer", DeviceLostError),
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", DeviceUnavailableError),
        ("error: insufficient permissions for device: user in plugdev group", DeviceUnavailableError),
        ("adb: more than one device/emulator", SeveralDevicesError),
        ("error: something new", AdbError),
    ],
)
def test_adb_fails_in_the_middle(phone: FakePhone, device: Adb, words: str, kind: type) -> None:
    phone.configure(broken={"uname": words})
    with pytest.raises(AdbError) as raised:
        device.shell("uname")
    assert type(raised.value) is kind
    assert "uname" in str(raised.value)


def test_connection_that_ends_without_a_word(phone: FakePhone, device: Adb) -> None:
    with pytest.raises(DeviceLostError, match="check the cable"):
        device.shell("echo begun; kill -9 $$")


def test_time_out(phone: FakePhone, device: Adb) -> None:
    phone.configure(hang="uname")
    begin = time.monotonic()
    with pytest.raises(DeviceTimeoutError, match=r"asking after 0\.5 s"):
        device.shell("uname", timeout_secs=0.5, doing="asking")
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("sh -c 'kill -SEGV $$'", ProgramCrashedError, "SIGSEGV"),
        ("sh -c 'echo FATAL: boom >&2; kill -ABRT $$'", ProgramCrashedError, "SIGABRT.*FATAL: boom"),
        ("sh -c 'kill -ILL $$'", ProgramCrashedError, "SIGILL"),
        ("sh -c 'kill -KILL $$'", OutOfMemoryError, "memory runs out"),
        ("echo 'not executable: 64-bit ELF file' >&2; (exit 1)", WrongBinaryError, "arm64-v8a"),
        ("echo 'sh: ./b: Exec format error' >&2; (exit 126)", WrongBinaryError, "Exec format error"),
        ("/data/local/tmp/nothing", WrongBinaryError, "cannot start b"),
        ('echo \'CANNOT LINK EXECUTABLE "./b": library "libx.so" not found\' >&2; (exit 1)', WrongBinaryError, "libx"),
        ("echo 'Segmentation fault'; (exit 1)", ProgramCrashedError, "SIGSEGV"),
        ("echo 'Killed'; (exit 1)", OutOfMemoryError, "close apps"),
    ],
)
def test_how_a_program_ends(device: Adb, command: str, kind: type, words: str) -> None:
    done = device.shell(command)
    error = program_error("b", done.code, done.text)
    assert type(error) is kind
    with pytest.raises(UserError, match=words):
        raise error


@pytest.mark.parametrize("command", ["echo Killed", "echo 'ERROR: Aborted by x'; (exit 1)"])
def test_a_program_that_ends_by_itself_did_not_crash(device: Adb, command: str) -> None:
    done = device.shell(command)
    assert program_error("b", done.code, done.text) is None
