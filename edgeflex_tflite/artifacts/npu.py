"""What the compiler of an NPU makes of a file."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class OnCpu:
    """Operators that do not run on the NPU.

    Attributes:
        op: their name.
        reason: why not, in the compiler's or the documents' words.
        count: how many there are.
    """

    op: str
    reason: str
    count: int


@dataclasses.dataclass(frozen=True)
class Figure:
    """A number that the compiler gives."""

    what: str
    value: float
    unit: str


@dataclasses.dataclass(frozen=True)
class NpuReport:
    """What becomes of the written file on its target.

    Attributes:
        target: as in the recipe.
        source: who says so, e.g. "Vela 5.2.0", or that it is a forecast.
        compiled: name of the compiled file in the bundle; None where no compiler was run.
        npu_ops, cpu_ops: operators, as `source` counts them.
        on_cpu: those of the CPU, the most frequent first.
        figures: what else `source` says. Times and cycles are its estimates, not measurements.
        notes: sentences that a reader has to know.
    """

    target: str
    source: str
    compiled: str | None
    npu_ops: int
    cpu_ops: int
    on_cpu: tuple[OnCpu, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the operators that run on the NPU, 0 to 1."""
        return self.npu_ops / max(self.npu_ops + self.cpu_ops, 1)

    @property
    def verdict(self) -> str:
        """One line."""
        ops = self.npu_ops + self.cpu_ops
        return f"{self.npu_ops} of {ops} operators ({self.share:.0%}) on {self.target}, says {self.source}"
