"""Which ops of a graph XNNPACK takes, by the rules in `cpu_kernels.json`.

The delegate looks at the ops one by one in execution order, before any tensor has memory and before shapes are
computed: it goes by the shapes of the file, and only values in the file are constants to it. That the interpreter's
default delegate takes INT8 and UINT8, variables and tensors of changing size, and refuses computed weights, was seen;
none of the rules asks for the machine (`xnnpack_delegate.cc`, source read).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from edgeflex_tflite.analysis import xnnpack_conditions, xnnpack_windows
from edgeflex_tflite.analysis.xnnpack_site import Site, Variable
from edgeflex_tflite.analysis.xnnpack_tensors import kind_fault, shape_fault
from edgeflex_tflite.graph import OPTIONAL, Graph, Op, Tensor

_GEMMS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
_SPARSE_DTYPES = ("FLOAT32", "FLOAT16", "INT8")


@dataclass(frozen=True)
class Refusal:
    """Why XNNPACK does not take an op.

    Attributes:
        rule: The part of the table's row that is not met, such as "type of input 1" or a condition's name.
        reason: The same for people, about this op.
    """

    rule: str
    reason: str


@cache
def kernel_table() -> Mapping[str, Any]:
    """The content of `cpu_kernels.json`."""
    return json.loads(resources.files(__package__).joinpath("cpu_kernels.json").read_text())


@cache
def xnnpack_rows() -> Mapping[str, Mapping[str, Any]]:
    """`{op: its row}`."""
    return {op: row for row in kernel_table()["xnnpack"] for op in row["ops"]}


def refused_ops(graph: Graph) -> dict[int, Refusal]:
    """The ops that stay with the built-in kernels, and why."""
    return _Delegate(graph).run()


def refusal(site: Site) -> Refusal | None:
    """Why XNNPACK does not take one op by itself; None if it does."""
    row = xnnpack_rows().get(site.op.name)
    if row is None:
        return Refusal("op", f"XNNPACK has no {site.op.name}")
    for rule, reason in _faults(site, row):
        if reason:
            return Refusal(rule, reason)
    return None


def _faults(site: Site, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for side, tensors in (("inputs", site.op.inputs), ("outputs", site.op.outputs)):
        fewest, most = row[side]
        fits = fewest <= len(tensors) <= most
        yield f"number of {side}", "" if fits else f"has {len(tensors)} {side}, not {fewest} to {most}"
        absent = OPTIONAL in tensors[:fewest]
        yield f"number of {side}", f"one of its {side} is left out" if absent else ""
    for demand in row["tensors"]:
        yield from _tensor_faults(site, demand)
    for condition in row["conditions"]:
        name, *arguments = [condition] if isinstance(condition, str) else condition
        module = xnnpack_windows if hasattr(xnnpack_windows, name) else xnnpack_conditions
        yield condition_name(condition), getattr(module, name)(site, *arguments)


def condition_name(condition: str | Sequence[Any]) -> str:
    """The name that a refusal's `rule` has for a row's condition."""
    if isinstance(condition, str):
        return condition
    return " ".join([condition[0], *(c for c in condition[1:] if isinstance(c, str))])


def _tensor_faults(site: Site, demand: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    place = demand["of"]
    for tensor in site.find(place):
        kinds, axis = kernel_table()["types"].get(demand.get("type"), ()), _axis(site, tensor, demand.get("axis"))
        yield f"shape of {place}", _about(place, shape_fault(tensor, demand.get("rank"), demand.get("filled", False)))
        yield f"type of {place}", _about(place, kind_fault(tensor, kinds, axis) if kinds else "")
        how = demand.get("static")
        fault = "is computed, not a constant" if how and not site.is_static(tensor, how) else ""
        yield f"constant {place}", _about(place, fault)


def _about(place: str, fault: str) -> str:
    return f"{place} {fault}" if fault else ""


def _axis(site: Site, tensor: Tensor, axis: int | str | None) -> int | None:
    if axis != "matmul columns":
        return axis if isinstance(axis, int) else None
    return len(tensor.shape) - (2 if site.op.options.get("adjY") else 1)


class _Delegate:
    """One walk over a graph, as XNNPACK's delegate takes it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.refused: dict[int, Refusal] = {}
        self.unpackers: dict[int, int] = {}
        self.halves: dict[int, int] = {}
        self.variables: dict[int, Variable] = {}
        self.readers: dict[int, list[Op]] = {}
        for op in graph.ops:
            for index in op.inputs:
                self.readers.setdefault(index, []).append(op)

    def run(self) -> dict[int, Refusal]:
        for op in self.graph.ops:
            if self._unpacks(op):
                self._note_unpacker(op)
            elif op.name == "VAR_HANDLE":
                self.variables[op.outputs[0]] = Variable(handle=op.index)
            else:
                self._judge(op)
        for variable in self.variables.values():
            if variable.handle is not None and variable.value is None:
                unused = Refusal("value", "XNNPACK takes no op that reads or assigns its resource")
                self.refused[variable.handle] = unused
        return self.refused

    def _judge(self, op: Op) -> None:
        site = Site(self.graph, op, self.unpackers.keys(), self.halves, self.variables)
        found = refusal(site)
        if found is not None:
            self.refused[op.index] = found
            for index in op.inputs:
                if index in self.unpackers:
                    reader = Refusal("reader", f"op {op.index} ({op.name}), which XNNPACK does not take, reads it")
                    self.refused[self.unpackers[index]] = reader
        elif op.name in ("READ_VARIABLE", "ASSIGN_VARIABLE"):
            known = self.variables[op.inputs[0]]
            value = op.outputs[0] if op.outputs else op.inputs[1]
            self.variables[op.inputs[0]] = replace(known, value=value if known.value is None else known.value)

    def _unpacks(self, op: Op) -> bool:
        """The delegate itself computes this op's output while it is created."""
        one_each = len(op.inputs) == len(op.outputs) == 1 and OPTIONAL not in (*op.inputs, *op.outputs)
        if not one_each or op.name not in ("DEQUANTIZE", "DENSIFY"):
            return False
        source, target = self.graph.tensors[op.inputs[0]], self.graph.tensors[op.outputs[0]]
        if op.name == "DENSIFY":
            same = source.dtype == target.dtype and source.dtype in _SPARSE_DTYPES
            return source.is_constant and source.is_sparse and same
        known = source.is_constant or source.index in self.unpackers
        readable = source.dtype == "FLOAT16" or (source.dtype == "INT8" and source.quantization is not None)
        return known and readable and not source.is_sparse and target.dtype == "FLOAT32"

    def _note_unpacker(self, op: Op) -> None:
        source, target = op.inputs[0], op.outputs[0]
        self.unpackers[target] = op.index
        readers = self.readers.get(target, ())
        weights_only = all(reader.name in _GEMMS and reader.inputs[0] != target for reader in readers)
        if self.graph.tensors[source].dtype == "FLOAT16" and weights_only:
            self.halves[target] = source
