"""What the vendors' own compilers say of a file, where they are installed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeflex_tflite.analysis.edgetpu_compiler import EdgeTpuCompilation, compile_for_edgetpu
from edgeflex_tflite.analysis.tool import find_tool
from edgeflex_tflite.analysis.vela import EthosUReport, compile_for_ethos_u, vela_command
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.chips import ETHOS_U
from edgeflex_tflite.errors import UserError


@dataclass(frozen=True)
class EthosU:
    """Vela's word on one accelerator.

    Attributes:
        accelerator: Vela's name, e.g. "ethos-u55-256".
        report: What it says, or why there is nothing.
    """

    accelerator: str
    report: EthosUReport | NotMeasured


@dataclass(frozen=True)
class Compilers:
    """All of them.

    Attributes:
        edgetpu: Coral's edgetpu_compiler.
        ethos_u: Arm's Vela, once for each accelerator.
    """

    edgetpu: EdgeTpuCompilation | NotMeasured
    ethos_u: tuple[EthosU, ...]


def check_asked(accelerators: Sequence[str], *, edgetpu_compiler: str | None = None, vela: str | None = None) -> None:
    """Find out before any work whether `ask_compilers` can take these arguments.

    Raises:
        UserError: A given path is no executable, or an accelerator is unknown.
    """
    for name in accelerators:
        if name not in ETHOS_U:
            raise UserError(f"{name} is no Ethos-U that Vela knows: choose one of {', '.join(ETHOS_U)}")
    find_tool("edgetpu_compiler", edgetpu_compiler)
    vela_command(vela)


def ask_compilers(
    model: Path,
    accelerators: Sequence[str],
    *,
    edgetpu_compiler: str | None = None,
    vela: str | None = None,
) -> Compilers:
    """Compile a file with every compiler that is there; the results are thrown away.

    Args:
        model: A .tflite file.
        accelerators: Of the Ethos-U family.
        edgetpu_compiler: Its path; None: the one on PATH.
        vela: Its path; None: the one of this environment, or on PATH.

    Raises:
        UserError: A given path is no executable, or an accelerator is unknown.
    """
    return Compilers(
        edgetpu=compile_for_edgetpu(model, compiler=edgetpu_compiler),
        ethos_u=tuple(EthosU(name, compile_for_ethos_u(model, name, vela=vela)) for name in accelerators),
    )
