"""What a kernel asks for beside its inputs and outputs, and what decides it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeflex_tflite.graph import OPTIONAL, Graph, Op, Tensor, tensor_bytes
from edgeflex_tflite.memory.homes import Home


@dataclass(frozen=True)
class Temporary:
    """One scratch tensor of a kernel.

    Attributes:
        role: What the kernel uses it for.
        bytes: Size.
        home: ARENA for the time of its op, PERSISTENT for good, otherwise not planned.
    """

    role: str
    bytes: int
    home: Home = Home.ARENA


@dataclass(frozen=True)
class Setting:
    """What a rule may look at.

    Attributes:
        graph: The op's graph.
        op: The op.
        homes: Home of each tensor of the graph when the op is prepared.
        num_threads: Threads of the interpreter.
    """

    graph: Graph
    op: Op
    homes: Sequence[Home]
    num_threads: int

    def input(self, position: int) -> Tensor:
        """The tensor at an input position."""
        return self.graph.tensors[self.op.inputs[position]]

    def output(self, position: int = 0) -> Tensor:
        """The tensor at an output position."""
        return self.graph.tensors[self.op.outputs[position]]

    def has(self, position: int) -> bool:
        """Whether an optional input is there."""
        return position < len(self.op.inputs) and self.op.inputs[position] != OPTIONAL

    def home(self, position: int) -> Home:
        """Home of the tensor at an input position."""
        return self.homes[self.op.inputs[position]]


@dataclass(frozen=True)
class Rule:
    """How one op type uses scratch tensors.

    Attributes:
        temporaries: Gives the scratch tensors of one op.
        reserved: Tensor indices the kernel takes whether it uses them or not; None means one for each.
        at_load: The indices are taken when the file is loaded, before any op is prepared.
    """

    temporaries: Callable[[Setting], list[Temporary]]
    reserved: int | None = None
    at_load: bool = False


def scratch(role: str, dtype: str, *shape: int, home: Home = Home.ARENA) -> Temporary:
    return Temporary(role, tensor_bytes(dtype, shape), home)


def is_hybrid(data: Tensor, weights: Tensor, types: tuple[str, ...] = ("UINT8", "INT8")) -> bool:
    """Float activations with integer weights: activations are quantized on the fly."""
    return data.dtype == "FLOAT32" and weights.dtype in types
