"""An op with what a delegate sees of it while it decides."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.graph import OPTIONAL, Graph, Op, Tensor

_INTEGERS: dict[str, type[np.integer]] = {"INT32": np.int32, "INT64": np.int64}


@dataclass(frozen=True)
class Variable:
    """A resource of a graph, as far as its ops were looked at.

    Attributes:
        handle: Index of the VAR_HANDLE op that names it, None before that op.
        value: Index of a tensor that is read from it or assigned to it by a delegated op.
    """

    handle: int | None = None
    value: int | None = None


@dataclass(frozen=True)
class Site:
    """One op of a graph.

    Attributes:
        graph: Its graph.
        op: The op.
        unpacked: Tensors that are constants once a delegate has unpacked them.
        halves: `{FLOAT32 tensor: the constant FLOAT16 tensor behind it}` where XNNPACK reads the latter itself.
        variables: Resources by tensor index.
    """

    graph: Graph
    op: Op
    unpacked: Set[int] = frozenset()
    halves: Mapping[int, int] = field(default_factory=dict)
    variables: Mapping[int, Variable] = field(default_factory=dict)

    def input(self, position: int) -> Tensor | None:
        """An input; None if the op does not have it."""
        return self._tensor(self.op.inputs, position)

    def output(self, position: int) -> Tensor | None:
        """An output; None if the op does not have it."""
        return self._tensor(self.op.outputs, position)

    @property
    def inputs(self) -> list[Tensor]:
        """All inputs that are there."""
        return [self.graph.tensors[i] for i in self.op.inputs if i != OPTIONAL]

    @property
    def outputs(self) -> list[Tensor]:
        """All outputs that are there."""
        return [self.graph.tensors[i] for i in self.op.outputs if i != OPTIONAL]

    def find(self, place: str) -> list[Tensor]:
        """The tensors at a place such as "input 1", "inputs" or "output 0"."""
        if place in ("inputs", "outputs"):
            return self.inputs if place == "inputs" else self.outputs
        side, position = place.split()
        tensor = self.input(int(position)) if side == "input" else self.output(int(position))
        return [] if tensor is None else [tensor]

    def integers(self, position: int) -> NDArray[np.int64]:
        """The values of a constant integer input, flat; none if it is computed or not there."""
        tensor = self.input(position)
        if tensor is None or tensor.data is None or tensor.dtype not in _INTEGERS:
            return np.zeros(0, np.int64)
        return np.frombuffer(tensor.data, _INTEGERS[tensor.dtype]).astype(np.int64)

    def is_static(self, tensor: Tensor, how: str) -> bool:
        """Its values are in the "file", or, where "unpacked" will do, are unpacked from there by the delegate."""
        return tensor.is_constant or (how == "unpacked" and tensor.index in self.unpacked)

    def _tensor(self, indices: tuple[int, ...], position: int) -> Tensor | None:
        if position >= len(indices) or indices[position] == OPTIONAL:
            return None
        return self.graph.tensors[indices[position]]
