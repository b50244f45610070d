"""A Coral Edge TPU, on its board or over USB, through libedgetpu."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.targets.config import RuntimeConfig

COMPILED_OP = "edgetpu-custom-op"
"""The operator that edgetpu_compiler leaves in place of what the Edge TPU runs."""


def config(base: RuntimeConfig, device: str | None) -> RuntimeConfig:
    """The same runtime with the Edge TPU's delegate.

    Args:
        base: Its delegate is the path or name of libedgetpu.
        device: As libedgetpu names it: "usb", "usb:0", "pci:1"; None for the first one.
    """
    return replace(base, delegate_options=(("device", device),) if device else ())


def check(files: Sequence[str], config: RuntimeConfig) -> None:
    """Everything that is missing before anything runs.

    Raises:
        UserError: A file is not compiled for the Edge TPU, or libedgetpu is not installed.
    """
    for file in files:
        if not any(op.name == COMPILED_OP for graph in load_graphs(file) for op in graph.ops):
            raise UserError(
                f"{file} is not compiled for the Edge TPU (it has no {COMPILED_OP}): run edgetpu_compiler on an INT8 "
                "file, and give the file that it writes; python -m edgeflex_tflite.analyze forecasts what it will map"
            )
    if config.api != "interpreter":
        raise UserError("the Edge TPU is reached by a delegate, which --api=interpreter takes")
    try:
        ctypes.CDLL(config.delegate)
    except OSError as error:
        raise UserError(
            f"the Edge TPU runtime cannot be loaded ({error}): install libedgetpu1-std, or name it by --edgetpu_library"
        ) from error
