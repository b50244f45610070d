"""What a measurement is asked to be: for how long, and with what runtime."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from edgeflex_tflite.errors import UserError

RUNTIMES = ("ai_edge_litert", "tflite_runtime", "tensorflow")
APIS = ("interpreter", "compiled_model")
DELEGATES = ("xnnpack", "none", "gpu", "nnapi", "external")
"""What may run the ops by name; the last three on Android alone."""


@dataclass(frozen=True)
class Protocol:
    """When a file has been measured long enough.

    Attributes:
        warmup_runs: Inferences that are thrown away before the first round.
        min_runs: At least so many timed inferences of each file, over all rounds.
        min_secs: At least so many seconds of timed inferences of each file, over all rounds.
        rounds: Turns that each file gets: A B C, A B C, ...
        sustained_mins: Instead of rounds, so many minutes without a pause for each file, to show heat and throttling.
    """

    warmup_runs: int = 5
    min_runs: int = 50
    min_secs: float = 2.0
    rounds: int = 5
    sustained_mins: float = 0.0

    def check(self) -> None:
        """Raises UserError for a figure out of range."""
        least = {"warmup_runs": 0, "min_runs": 1, "min_secs": 0, "rounds": 1, "sustained_mins": 0}
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value >= least[field.name] and math.isfinite(value)):
                raise UserError(f"{field.name} is {value}: give {least[field.name]} or more")


@dataclass(frozen=True)
class RuntimeConfig:
    """What runs the file.

    Attributes:
        runtime: One of `RUNTIMES`.
        api: One of `APIS`; the second is ai_edge_litert's.
        delegate: "xnnpack", "none", or the path of a delegate's library.
        delegate_options: What the delegate's library is told.
        num_threads: Threads of the interpreter.
        weight_cache: File for XNNPACK's packed weights, or None.
        signature: Name of the signature that is run; None: the primary graph.
    """

    runtime: str = "ai_edge_litert"
    api: str = "interpreter"
    delegate: str = "xnnpack"
    delegate_options: tuple[tuple[str, str], ...] = ()
    num_threads: int = 1
    weight_cache: str | None = None
    signature: str | None = None
