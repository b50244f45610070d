"""A fake device for tests: its folder, its state file and an `adb` on the PATH that reads them."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

SERIAL = "R5CT1234567"
USUAL = [[SERIAL, "device", "usb:1-4 product:o1s model:SM_G991B device:o1s transport_id:1"]]

PROPERTIES = {
    "ro.product.manufacturer": "samsung",
    "ro.product.model": "SM-G991B",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a,armeabi",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.manufacturer": "Samsung",
    "ro.soc.model": "Exynos 2100",
    "ro.build.version.release": "13",
    "ro.build.version.sdk": "33",
}

DF = """Filesystem     1K-blocks      Used Available Use% Mounted on
/dev/block/dm-9 112345678  62345678  {free_kb}  56% /data/user/0
"""

THERMAL = """IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
	Temperature{{mValue=99.9, mType=0, mName=OLD, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
	Temperature{{mValue={cpu}, mType=0, mName=AP, mStatus={status}}}
	Temperature{{mValue=31.5, mType=2, mName=BAT, mStatus=0}}
	Temperature{{mValue=33.0, mType=3, mName=SKIN, mStatus=0}}
	Temperature{{mValue=-99.9, mType=6, mName=PA, mStatus=0}}
Current cooling devices from HAL:
	CoolingDevice{{mValue=0, mType=2, mName=TYPE_CPU}}
"""


class FakePhone:
    """The folder `root` is the device's file system; `configure` changes how its adb behaves."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "device"
        self.state_file = folder / "state.json"
        self._state: dict = {"root": str(self.root), "devices": USUAL}
        for name in ("data/local/tmp", "system/bin", "sys"):
            (self.root / name).mkdir(parents=True)
        self.configure()
        self.properties(PROPERTIES)
        self.program("df", f"cat <<'END'\n{DF.format(free_kb=49_000_000)}END")
        self.thermal(0, 41.2)
        self.program("dumpsys", "cat $ROOT/thermal.txt")
        for policy, cpus, top in ((0, "0 1 2 3", 2210000), (4, "4 5 6", 2808000)):
            self._policy(policy, cpus, top)

    def configure(self, **changes: object) -> None:
        """Entries of the state file; see `fake_adb`."""
        self._state |= changes
        self.state_file.write_text(json.dumps(self._state))

    def program(self, name: str, script: str) -> None:
        """A program in the device's /system/bin."""
        path = self.root / "system" / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def properties(self, values: Mapping[str, str]) -> None:
        """What getprop tells."""
        cases = "\n".join(f"{key}) echo {shlex.quote(value)};;" for key, value in values.items())
        self.program("getprop", f'case "$1" in\n{cases}\n*) echo;;\nesac')

    def thermal(self, status: int, cpu: float) -> None:
        """What `dumpsys thermalservice` tells."""
        (self.root / "thermal.txt").write_text(THERMAL.format(status=status, cpu=cpu))

    def left(self) -> list[str]:
        """What lies in /data/local/tmp."""
        return sorted(path.name for path in (self.root / "data/local/tmp").iterdir())

    def _policy(self, number: int, cpus: str, top_khz: int) -> None:
        folder = self.root / f"sys/devices/system/cpu/cpufreq/policy{number}"
        folder.mkdir(parents=True)
        for name, value in {
            "related_cpus": cpus,
            "scaling_governor": "energy_step",
            "scaling_min_freq": "400000",
            "scaling_cur_freq": str(top_khz // 2),
            "scaling_max_freq": str(top_khz),
        }.items():
            (folder / name).write_text(f"{value}\n")


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePhone]:
    """A device, with its adb first on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = Path(__file__).with_name("fake_adb.py")
    (folder / "adb").write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S {shlex.quote(str(script))} "$@"\n'
    )
    (folder / "adb").chmod(0o755)
    fake = FakePhone(tmp_path)
    monkeypatch.setenv("FAKE_ADB_STATE", str(fake.state_file))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    yield fake
