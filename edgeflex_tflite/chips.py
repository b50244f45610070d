"""The chips that a file can be written for, by name."""

from __future__ import annotations

CPU = "cpu"
EDGETPU = "edgetpu"
ETHOS_U = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512",
    "ethos-u85-128", "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)  # fmt: skip
"""Those that Arm's Vela 5.2 knows."""
VENDORS = ("google_tensor", "intel_openvino", "mediatek", "qualcomm", "samsung")
"""Those that LiteRT compiles for ahead of time, with the vendor's own SDK; their targets are VENDOR:CHIP."""

INTEGER = "int8_full"
"""The precision that all of them take."""
OF_VENDORS = ("fp32", "fp16", "int8_static", INTEGER)
"""Precisions in which nothing is quantized at run time, which phone NPUs do not do."""


def is_known(target: str) -> bool:
    """Whether `target` has the name of a chip; which chips a vendor has is not known here."""
    vendor, colon, chip = target.partition(":")
    return target in (CPU, EDGETPU, *ETHOS_U) or bool(vendor in VENDORS and colon and chip)


def takes(target: str, precision: str) -> bool:
    """Whether the target can compute files of a precision."""
    if target == CPU:
        return True
    return precision in (OF_VENDORS if ":" in target else (INTEGER,))
