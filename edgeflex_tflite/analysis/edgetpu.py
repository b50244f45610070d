"""What Coral's compiler would map onto an Edge TPU, from the file alone and by what is documented.

A forecast, not a measurement: the compiler is closed. What it is documented and known to do is data, in `edgetpu.json`,
with the source of each row; the checks that the rows name are in `edgetpu_limits.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

from edgeflex_tflite.analysis.edgetpu_limits import LIMITS, common_reasons
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import OPTIONAL, Graph, Op

AFTER_CPU = "the file has one Edge TPU part, and it ended before"
REFUSED = "the compiler refuses the file"
QUANTIZE_FULLY = "convert with --precision=int8_full (preset edgetpu)"


@dataclass(frozen=True)
class OpForecast:
    """What becomes of one operator.

    Attributes:
        index: Position in the execution order.
        name: Name of the operator.
        supported: It meets every documented rule by itself.
        mapped: It runs on the Edge TPU in the compiler's default mode.
        reasons: Why it is not mapped; empty when it is.
        caution: What the documents leave open about an operator that meets the rules.
    """

    index: int
    name: str
    supported: bool
    mapped: bool
    reasons: tuple[str, ...]
    caution: str = ""


@dataclass(frozen=True)
class EdgeTpuForecast:
    """What becomes of a file.

    Attributes:
        ops: One entry an operator, in execution order.
        refusals: Why the compiler would give no file at all; empty when it would.
        parts: Edge TPU parts in the default mode: 1 or 0.
        parts_with_all: Edge TPU parts with the compiler's experimental `-a` (`--enable_multiple_subgraphs`).
        runtime: Oldest Edge TPU runtime that has every mapped operator; None where all have it.
        weight_bytes: Constants of the mapped operators, as they lie in the file.
        cached_bytes: At most so many of them stay in the chip's memory; the documents give its size roughly.
        streamed_bytes: (least, most) of them that are sent anew for every inference. How long that takes is not
            documented and not estimated.
    """

    ops: tuple[OpForecast, ...]
    refusals: tuple[str, ...]
    parts: int
    parts_with_all: int
    runtime: int | None
    weight_bytes: int
    cached_bytes: int
    streamed_bytes: tuple[int, int]

    @property
    def mapped(self) -> int:
        """Operators that run on the Edge TPU."""
        return sum(op.mapped for op in self.ops)

    @property
    def obstacles(self) -> tuple[tuple[str, int], ...]:
        """(Reason, operators that do not meet the rules because of it, among others), the most frequent first."""
        return tuple(Counter(why for op in self.ops if not op.supported for why in op.reasons).most_common())

    @property
    def verdict(self) -> str:
        """One line: how much maps, what stands in the way, what to do, and where the weights lie."""
        count = f"{self.mapped} of {len(self.ops)} ops map"
        if self.refusals:
            besides = f"; besides, {self._obstacle}" if self.obstacles else ""
            return f"{count}: {REFUSED}: {'; '.join(self.refusals)}{besides}."
        if self.mapped == len(self.ops):
            return f"All {len(self.ops)} ops map; {self._cache}."
        return f"{count}: {self._obstacle}{f'; {self._cache}' if self.mapped else ''}."

    @property
    def _obstacle(self) -> str:
        """The most frequent one, and what to do where a recipe can."""
        reason, count = self.obstacles[0]
        remedy = f"; {QUANTIZE_FULLY}" if "8-bit" in reason else ""
        return f"{reason} ({count} ops){remedy}"

    @property
    def _cache(self) -> str:
        size, total = f"{self.weight_bytes / 1e6:.1f} MB of weights", f"{rules()['cache']['most_bytes'] // 2**20} MB"
        least, most = self.streamed_bytes
        if not most:
            return f"{size} fit the {total} cache"
        if not least:
            return f"{size} may not all fit the {total} cache, which the executable shares"
        return f"{size} do not fit the {total} cache: at least {least / 1e6:.1f} MB are sent anew for every inference"


@cache
def rules() -> dict[str, Any]:
    """The documented rules: `edgetpu.json`."""
    content: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text())
    return content


def forecast(graph: Graph) -> EdgeTpuForecast:
    """What Edge TPU compiler 16.0, the newest, would make of a file's primary graph.

    Raises:
        UserError: The file has been compiled for the Edge TPU already.
    """
    if any(op.name == "edgetpu-custom-op" for op in graph.ops):
        raise UserError("the file is compiled for the Edge TPU already: give the one that it was made from")
    refusals = tuple(_refusals(graph))
    reasons = [tuple(_own_reasons(op, graph)) for op in graph.ops]
    parts = _parts(graph, reasons)
    mapped = [not refusals and part == 0 for part in parts]
    weights = _weight_bytes(graph, mapped)
    cache = rules()["cache"]
    return EdgeTpuForecast(
        ops=tuple(map(_op_forecast, graph.ops, reasons, mapped, repeat(REFUSED if refusals else AFTER_CPU))),
        refusals=refusals,
        parts=int(any(mapped)),
        parts_with_all=0 if refusals else len({part for part in parts if part >= 0 and part % 2 == 0}),
        runtime=max(_runtimes(graph, mapped), default=None),
        weight_bytes=weights,
        cached_bytes=min(weights, cache["most_bytes"]),
        streamed_bytes=(max(0, weights - cache["most_bytes"]), max(0, weights - cache["least_bytes"])),
    )


def _refusals(graph: Graph) -> Iterator[str]:
    """What makes the compiler give up on the whole file: it must first load it with its own, old TensorFlow Lite."""
    newest = rules()["newest_tflite"]
    for name, version in sorted({(op.name, op.version) for op in graph.ops}):
        known = rules()["readable"].get(name, 0)
        if not known:
            yield f"it does not know {name} (newer than TensorFlow Lite {newest}, or custom)"
        elif version > known:
            yield f"it reads {name} up to version {known}, the file has {version}"
    if any(tensor.unknown_shape for tensor in graph.tensors):
        yield "a tensor's size is open until run time: convert for one batch size"


def _row(op: Op) -> dict[str, Any]:
    row: dict[str, Any] = rules()["supported"].get(op.name, {})
    return row


def _op_forecast(op: Op, own: tuple[str, ...], mapped: bool, otherwise: str) -> OpForecast:
    """`otherwise`: why an operator that meets every rule is not mapped all the same."""
    reasons = () if mapped else own or (otherwise,)
    return OpForecast(op.index, op.name, not own, mapped, reasons, _row(op).get("caution", ""))


def _own_reasons(op: Op, graph: Graph) -> Iterator[str]:
    """Why the operator cannot be mapped wherever it stands; none when nothing documented is against it."""
    yield from common_reasons(op, graph)
    if not _row(op):
        yield f"{op.name} is not among the supported operations"
    for name in _row(op).get("limits", ()):
        if reason := LIMITS[name](op, graph):
            yield reason


def _parts(graph: Graph, reasons: list[tuple[str, ...]]) -> list[int]:
    """The part in which each operator runs: even on the Edge TPU, odd on the CPU, each after those that it needs.

    Part 0 is the only one that the compiler makes by default: what depends on an operator of the CPU stays there too.
    A QUANTIZE of the graph's float inputs comes before part 0.
    """
    made_in: dict[int, int] = {}
    parts: list[int] = []
    for op, reason in zip(graph.ops, reasons, strict=True):
        kind = 1 if reason else 0
        part = -1 if op.name == "QUANTIZE" and reason and set(op.inputs) <= set(graph.inputs) else kind
        for needed in (made_in[index] for index in op.inputs if index in made_in):
            part = max(part, needed if needed % 2 == kind else needed + 1)
        made_in |= dict.fromkeys(op.outputs, part)
        parts.append(part)
    return parts


def _weight_bytes(graph: Graph, mapped: list[bool]) -> int:
    """Constants of the mapped operators; those that share a buffer count once."""
    used = {index for op, on in zip(graph.ops, mapped, strict=True) if on for index in op.inputs if index != OPTIONAL}
    constants = {graph.tensors[i].buffer: graph.tensors[i].bytes for i in used if graph.tensors[i].is_constant}
    return sum(constants.values())


def _runtimes(graph: Graph, mapped: list[bool]) -> Iterator[int]:
    for op, on in zip(graph.ops, mapped, strict=True):
        if on and _row(op)["runtime"] != "all":
            yield _row(op)["runtime"]
