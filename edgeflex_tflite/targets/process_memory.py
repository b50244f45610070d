"""Memory of this process as the Linux kernel and the C library count it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_KIBIBYTE = 1024


class _Mallinfo2(ctypes.Structure):
    """glibc's `struct mallinfo2` (2.33 and later)."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


@dataclass(frozen=True)
class Resident:
    """Resident memory of the process, in bytes.

    Attributes:
        peak_bytes: Largest total since `reset_peak`.
        anonymous_bytes: Now, backed by no file.
        file_bytes: Now, pages of mapped files.
    """

    peak_bytes: int
    anonymous_bytes: int
    file_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.anonymous_bytes + self.file_bytes


def resident() -> Resident | None:
    """What `/proc/self/status` says; None where there is no such file."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    peak, anonymous, file, shared = (
        int(fields[name].split()[0]) * _KIBIBYTE for name in ("VmHWM", "RssAnon", "RssFile", "RssShmem")
    )
    return Resident(peak, anonymous, file + shared)


def reset_peak() -> bool:
    """Begin the peak anew; False where the system does not let us."""
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True


def heap_bytes() -> int | None:
    """Bytes that are allocated by malloc now, mapped blocks included; None without glibc's mallinfo2."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        return None
    library.mallinfo2.restype = _Mallinfo2
    info = library.mallinfo2()
    return info.uordblks + info.hblkhd
