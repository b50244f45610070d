"""A stand-in for `adb` that runs as a process of its own, with a device whose files lie in a folder.

It speaks the command line of the real one as far as it is used: `devices -l`, `get-state`, and with `-s SERIAL`
`shell`, `push` and `pull`. A shell command runs in the real `sh`, with the device's /data, /sys and /proc/meminfo
led into the folder, so exit codes, signals and running processes are real ones. `FAKE_ADB_STATE` names a JSON file:

    root        the folder that is the device's file system
    devices     [[serial, state, details], ...], a line of `adb devices -l` each
    old         a device before Android 7: every shell command "succeeds", stderr arrives in stdout, lines end in CR LF
    broken      {"push" or "pull" or "devices" or a part of a shell command: what adb says on stderr before it fails}
    hang        a part of a shell command that then never ends
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path


class Phone:
    """The device's side."""

    def __init__(self, root: Path, old: bool, broken: dict[str, str], hang: str) -> None:
        self.root, self.old, self.broken, self.hang = root, old, broken, hang

    def local(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def fail_if_broken(self, what: str) -> None:
        for part, words in self.broken.items():
            if part in what:
                print(words, file=sys.stderr)
                sys.exit(1)

    def shell(self, line: str) -> int:
        self.fail_if_broken(line)
        if self.hang and self.hang in line:
            time.sleep(60)
        for folder in ("/data/", "/sys/"):
            line = line.replace(folder, f"{self.root}{folder}")
        path = f"{self.root}/system/bin:/usr/bin:/bin"
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT if self.old else subprocess.PIPE}
        done = subprocess.run(["sh", "-c", line], env={"PATH": path, "ROOT": str(self.root)}, check=False, **streams)
        out, err = (self._device_paths(stream or b"") for stream in (done.stdout, done.stderr))
        sys.stdout.buffer.write(out.replace(b"\n", b"\r\n") if self.old else out)
        sys.stderr.buffer.write(err)
        return 0 if self.old else done.returncode

    def push(self, local: str, remote: str) -> int:
        self.fail_if_broken("push")
        if not self.local(remote).parent.is_dir():
            print(f"adb: error: failed to copy '{local}' to '{remote}': remote No such file", file=sys.stderr)
            return 1
        shutil.copyfile(local, self.local(remote))
        print(f"{local}: 1 file pushed, 0 skipped. 30.1 MB/s (123 bytes in 0.001s)")
        return 0

    def pull(self, remote: str, local: str) -> int:
        self.fail_if_broken("pull")
        if not self.local(remote).is_file():
            print(f"adb: error: failed to stat remote object '{remote}': No such file or directory", file=sys.stderr)
            return 1
        shutil.copyfile(self.local(remote), local)
        print(f"{remote}: 1 file pulled, 0 skipped.")
        return 0

    def _device_paths(self, stream: bytes) -> bytes:
        return stream.replace(str(self.root).encode(), b"")


def main(arguments: list[str]) -> int:
    state = json.loads(Path(os.environ["FAKE_ADB_STATE"]).read_text())
    phone = Phone(Path(state["root"]), state.get("old", False), state.get("broken", {}), state.get("hang", ""))
    serials = {serial: state for serial, state, _ in state["devices"]}
    serial = next(iter(serials), "")
    if arguments[:1] == ["-s"]:
        serial, arguments = arguments[1], arguments[2:]
    if arguments[0] == "devices":
        phone.fail_if_broken("devices")
        print("List of devices attached")
        for row in state["devices"]:
            print("{:<22} {} {}".format(*row))
        print()
        return 0
    if serials.get(serial) != "device":
        why = f"device '{serial}' not found" if serial not in serials else f"device {serials[serial]}"
        print(f"error: {why}", file=sys.stderr)
        return 1
    if arguments[0] == "get-state":
        print(serials[serial])
        return 0
    return {"shell": lambda *words: phone.shell(" ".join(words)), "push": phone.push, "pull": phone.pull}[arguments[0]](
        *arguments[1:]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
