"""What an Android device says of itself: what it is, how fast its processor may run, how hot it is, what is free."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.targets.adb import Adb

_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
"""What Android calls its thermal status 0, 1, 2, ..."""

_SENSORS = {0: "CPU", 1: "GPU", 2: "battery", 3: "skin", 9: "NPU"}
"""The types of `android.os.Temperature` that say something about a benchmark."""

_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.cpu.abilist",
    "ro.product.cpu.abi",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.hardware",
    "ro.build.version.release",
    "ro.build.version.sdk",
)
_CLOCK = """for p in /sys/devices/system/cpu/cpufreq/policy*; do
echo "$(cat $p/related_cpus);$(cat $p/scaling_min_freq);$(cat $p/scaling_max_freq);$(cat $p/scaling_governor)"
done 2>/dev/null"""
_ZONES = """for z in /sys/class/thermal/thermal_zone*; do echo "$(cat $z/type);$(cat $z/temp)"; done 2>/dev/null"""


@dataclass(frozen=True)
class DeviceFacts:
    """What does not change while a file is measured.

    Attributes:
        name: Manufacturer and model.
        system: Version of Android.
        cpu: The chip's name.
        abis: Processor interfaces that the device runs, the best first, e.g. "arm64-v8a".
    """

    name: str
    system: str
    cpu: str | NotMeasured
    abis: tuple[str, ...]


@dataclass(frozen=True)
class Heat:
    """How hot the device is.

    Attributes:
        status: Android's thermal status, 0 (none) to 6 (shutdown); None before Android 10.
        temperatures: The hottest sensor of each kind, in degrees Celsius.
    """

    status: int | None
    temperatures: dict[str, float]

    def __str__(self) -> str:
        status = "not told by this Android" if self.status is None else f"{self.status} ({status_name(self.status)})"
        sensors = ", ".join(f"{name} {value:.1f} C" for name, value in self.temperatures.items())
        return f"thermal status {status}; {sensors or 'temperatures not readable'}"


def status_name(status: int) -> str:
    """What Android calls it."""
    return _STATUS[status] if 0 <= status < len(_STATUS) else "unknown"


def read_facts(adb: Adb) -> DeviceFacts:
    """From the system's properties.

    Raises:
        AdbError: The device does not answer.
    """
    told = _properties(adb)
    return DeviceFacts(
        name=" ".join(filter(None, (told["ro.product.manufacturer"], told["ro.product.model"]))) or adb.serial,
        system=f"Android {told['ro.build.version.release'] or '?'} (API {told['ro.build.version.sdk'] or '?'})",
        cpu=_chip(told),
        abis=tuple(filter(None, (told["ro.product.cpu.abilist"] or told["ro.product.cpu.abi"]).split(","))),
    )


def _chip(told: dict[str, str]) -> str | NotMeasured:
    """Since Android 12 the chip has a property; before, the board's name is the best there is."""
    chip = f"{told['ro.soc.manufacturer']} {told['ro.soc.model']}".strip()
    board = chip or told["ro.board.platform"] or told["ro.hardware"]
    return board or NotMeasured("the device has no property that names its chip")


def _properties(adb: Adb) -> dict[str, str]:
    """All of `_PROPERTIES`; "" for those that the device does not have."""
    asked = "\n".join(f'echo "$(getprop {name})"' for name in _PROPERTIES)
    lines = adb.shell(asked, doing="reading the device's properties").stdout.splitlines()
    return dict(zip_longest(_PROPERTIES, (line.strip() for line in lines[: len(_PROPERTIES)]), fillvalue=""))


def read_clock(adb: Adb) -> str | NotMeasured:
    """Of each group of processors: the frequencies that it may use now, and the governor that chooses.

    Raises:
        AdbError: The device does not answer.
    """
    groups = list(_clock_groups(adb.shell(_CLOCK, doing="reading the clock").stdout))
    return "; ".join(groups) or NotMeasured("/sys/devices/system/cpu/cpufreq is not readable on this device")


def _clock_groups(text: str) -> Iterator[str]:
    for line in text.splitlines():
        cells = line.split(";")
        if len(cells) == 4 and cells[1].isdigit() and cells[2].isdigit():
            low, high = (int(cell) / 1e6 for cell in cells[1:3])
            yield f"cpu {','.join(cells[0].split())}: {low:.2f}-{high:.2f} GHz {cells[3]}"


def read_heat(adb: Adb) -> Heat:
    """From the thermal service of Android 10 and later, else from the kernel's thermal zones.

    Raises:
        AdbError: The device does not answer.
    """
    text = adb.shell(["dumpsys", "thermalservice"], doing="reading the temperatures").stdout
    status = re.search(r"Thermal Status: (\d+)", text)
    temperatures = _of_sensors(text)
    if not temperatures:
        temperatures = _of_zones(adb.shell(_ZONES, doing="reading the temperatures").stdout)
    return Heat(int(status[1]) if status else None, temperatures)


def _of_sensors(text: str) -> dict[str, float]:
    """Those read now; the cached ones before them may be old."""
    now = text.rpartition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    found = re.findall(r"Temperature\{mValue=(-?[\d.]+), mType=(-?\d+)", now)
    values = [(_SENSORS[int(kind)], float(value)) for value, kind in found if int(kind) in _SENSORS]
    return _hottest(values)


def _of_zones(text: str) -> dict[str, float]:
    """Thousandths of a degree; some old kernels give whole degrees."""
    rows = (line.rpartition(";") for line in text.splitlines())
    values = [float(value) for _, _, value in rows if re.fullmatch(r"-?\d+", value)]
    return _hottest([("hottest zone", value / 1000 if abs(value) >= 1000 else value) for value in values])


def _hottest(values: list[tuple[str, float]]) -> dict[str, float]:
    """Sensors that are switched off tell values that no device has, or 0."""
    real = [(name, value) for name, value in values if value and -40 < value < 150]
    return dict(sorted(real, key=lambda pair: pair[1]))


def read_free_bytes(adb: Adb, folder: str) -> int | NotMeasured:
    """Free storage for files in `folder`.

    Raises:
        AdbError: The device does not answer.
    """
    lines = adb.shell(["df", "-k", folder], doing="reading the free storage").stdout.splitlines()
    header = lines[0].split() if lines else []
    if "Available" not in header or len(lines) < 2:
        return NotMeasured("the device's df does not tell what is free")
    cells = " ".join(lines[1:]).split()
    free = cells[header.index("Available")] if len(cells) > header.index("Available") else ""
    return int(free) * 1024 if free.isdigit() else NotMeasured("the device's df does not tell what is free")
