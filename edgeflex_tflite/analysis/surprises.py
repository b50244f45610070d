"""What will fail or surprise whoever deploys a file, found without running it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeflex_tflite.analysis.kernels import Kernel, Placement
from edgeflex_tflite.analysis.macs import Arithmetic, MacCount
from edgeflex_tflite.analysis.versions import newer_than
from edgeflex_tflite.graph import OPTIONAL, Graph, Model, Op, Tensor
from edgeflex_tflite.memory import ArenaPlan

MOST_RANK = 4
"""GPU delegates and most NPUs take no more dimensions."""
INTEGER_GRAPH = 0.5
"""Share of MACs in integer arithmetic, activations included, above which a graph is meant to be an integer one."""
SLOW_SHARE = 0.01
"""Share of MACs in reference kernels that is worth a word."""
MOST_NAMED = 5
FLATBUFFER_LIMIT_BYTES = 2**31 - 1

_EIGHT_BIT = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}
_RESCALES = frozenset({"QUANTIZE", "CONCATENATION"})
"""Ops that pass values on and may change their scale."""
_COPIES = frozenset(
    {
        "RESHAPE", "TRANSPOSE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "PACK", "UNPACK", "SQUEEZE",
        "EXPAND_DIMS", "GATHER", "GATHER_ND", "TILE", "MAX_POOL_2D", "PAD", "MIRROR_PAD", "BROADCAST_TO",
        "SPACE_TO_DEPTH", "DEPTH_TO_SPACE", "REVERSE_V2", "REDUCE_MAX", "REDUCE_MIN",
    }
)  # fmt: skip
"""Ops whose kernels move integers and look at no scale."""
_CLIP_STEPS = 1.0
"""A range may end so many steps of the output short of the input's: the rounding of its ends."""
_FLOATS = frozenset({"FLOAT32", "FLOAT16"})


@dataclass(frozen=True)
class Surprise:
    """One finding.

    Attributes:
        kind: A short name that stays the same, for programs: "rank", "op-version", "fp16-computes-in-fp32", ...
        graph: Position of the subgraph.
        ops: Indices of the ops concerned; empty when it is the file.
        text: What it is, what it does, and what helps.
    """

    kind: str
    graph: int
    ops: tuple[int, ...]
    text: str


def find_surprises(
    model: Model,
    macs: Sequence[MacCount],
    plans: Sequence[ArenaPlan],
    placements: Sequence[Placement],
    runtime: str | None = None,
) -> tuple[Surprise, ...]:
    """Look at every subgraph.

    Args:
        model: The file.
        macs: Of each subgraph.
        plans: Of each subgraph.
        placements: Of each subgraph.
        runtime: A TensorFlow Lite release that the file has to run on, e.g. "2.13.0".

    Raises:
        UserError: `runtime` is no release.
    """
    found = list(_of_file(model, runtime))
    for graph, count, plan, placement in zip(model.graphs, macs, plans, placements, strict=True):
        for look in (
            _rank,
            _custom_ops,
            _open_shapes,
            _half_floats,
            _dequantized_weights,
            _per_channel,
            _saturation,
            _scale_mismatch,
        ):
            found += look(graph)
        found += _beyond_the_plan(graph, plan)
        found += _holes(graph, count)
        found += _slow_kernels(graph, count, placement)
    return tuple(found)


def _of_file(model: Model, runtime: str | None) -> Iterator[Surprise]:
    newer = newer_than(model.graphs, runtime) if runtime else ()
    if newer:
        text = f"TensorFlow Lite {runtime} does not run {_some(newer)}: update the runtime, or convert for it"
        yield Surprise("op-version", 0, (), text)
    if model.file_bytes > FLATBUFFER_LIMIT_BYTES:
        text = (
            "the file is above 2 GiB, which only runtimes read that know weights behind the flatbuffer (2024 and later)"
        )
        yield Surprise("file-size", 0, (), text)


def _rank(graph: Graph) -> Iterator[Surprise]:
    ops = [op for op in graph.ops if any(len(t.shape) > MOST_RANK for t in _computed(graph, op))]
    if ops:
        most = max(len(t.shape) for op in ops for t in _computed(graph, op))
        text = f"{len(ops)} ops ({_names(ops)}) have tensors of up to {most} dimensions: GPU delegates and NPUs take 4"
        yield _surprise("rank", graph, ops, text)


def _custom_ops(graph: Graph) -> Iterator[Surprise]:
    ops = [op for op in graph.ops if op.is_custom]
    if ops:
        needs = "the Select TF ops library" if all(op.name.startswith("Flex") for op in ops) else "their own kernels"
        yield _surprise("custom-op", graph, ops, f"{_names(ops)}: not builtin, the program has to bring {needs}")


def _open_shapes(graph: Graph) -> Iterator[Surprise]:
    names = [graph.tensors[i].name for i in graph.inputs if graph.tensors[i].unknown_shape]
    if names:
        text = (
            f"inputs {_some(names)} leave a dimension open: the arena holds for the shape in the file only, and Edge "
            "TPU and NPU compilers refuse it"
        )
        yield Surprise("open-shape", graph.index, (), text)


def _half_floats(graph: Graph) -> Iterator[Surprise]:
    ops = [
        op
        for op in graph.ops
        if op.name == "DEQUANTIZE" and _input(graph, op).dtype == "FLOAT16" and _input(graph, op).is_constant
    ]
    if ops:
        stored = sum(_input(graph, op).bytes for op in ops)
        text = (
            f"{len(ops)} FP16 weights ({stored / 1e6:.2f} MB) are expanded to FP32 when the model is loaded, and CPUs "
            "compute in FP32: the file is smaller, memory and time are not; a GPU delegate does run them in FP16"
        )
        yield _surprise("fp16-computes-in-fp32", graph, ops, text)


def _dequantized_weights(graph: Graph) -> Iterator[Surprise]:
    ops = [
        op
        for op in graph.ops
        if op.name == "DEQUANTIZE" and _input(graph, op).is_constant and _input(graph, op).dtype != "FLOAT16"
    ]
    if ops:
        size = sum(graph.tensors[op.outputs[0]].bytes for op in ops)
        text = (
            f"{len(ops)} DEQUANTIZE of integer weights stay at run time: weight-only quantization, with "
            f"{size / 1e6:.2f} MB of FP32 in memory; dynamic-range quantization keeps the integers"
        )
        yield _surprise("dequantized-weights", graph, ops, text)


def _per_channel(graph: Graph) -> Iterator[Surprise]:
    ops = [op for op in graph.ops if op.name == "FULLY_CONNECTED" and _is_integer(graph, op) and _channels(graph, op)]
    if ops:
        text = (
            f"{len(ops)} integer FULLY_CONNECTED have one weight scale for each output channel: kernels before "
            "TensorFlow Lite 2.17, the Edge TPU compiler and some NPUs ask for one scale for the whole tensor"
        )
        yield _surprise("per-channel-linear", graph, ops, text)
    odd = [op for op in graph.ops if any(_several_scales(t) for t in _computed(graph, op))]
    if odd:
        text = f"{_names(odd)}: activations with several scales, which no kernel takes"
        yield _surprise("per-channel-activation", graph, odd, text)


def _saturation(graph: Graph) -> Iterator[Surprise]:
    found = [(op, share) for op in graph.ops if op.name in _RESCALES for share in _clipped(graph, op) if share > 0]
    if found:
        op, share = max(found, key=lambda item: item[1])
        ops = [op for op, _ in found]
        text = (
            f"{len(ops)} ops ({_names(ops)}) pass values on to a narrower range, op {op.index} by {share:.0%} of it: "
            "values beyond are clipped; calibrate on more images, or with min and max instead of averages"
        )
        yield _surprise("saturation", graph, ops, text)


def _scale_mismatch(graph: Graph) -> Iterator[Surprise]:
    ops = [op for op in graph.ops if op.name in _COPIES and len(_scales(graph, op)) > 1]
    if ops:
        text = (
            f"{len(ops)} ops ({_names(ops)}) move integers between tensors of different scales: the values change, or "
            "the kernel refuses; quantize both sides alike"
        )
        yield _surprise("scale-mismatch", graph, ops, text)


def _scales(graph: Graph, op: Op) -> set[tuple[float, float, float]]:
    """All different ranges among an op's computed quantized tensors."""
    return {found for tensor in _computed(graph, op) if (found := _range(tensor)) is not None}


def _beyond_the_plan(graph: Graph, plan: ArenaPlan) -> Iterator[Surprise]:
    names = {tensor.name for tensor in graph.tensors}
    unsized = [name for name in plan.dynamic_tensors if name in names]  # scratch tensors of kernels are no matter
    waiting = graph.ops[plan.planned_ops :]
    if unsized or waiting:
        what = f"{len(unsized)} tensors ({_some(unsized)})" if unsized else f"what op {plan.planned_ops - 1} gives"
        rest = f" nor what is behind op {plan.planned_ops - 1}, {len(waiting)} ops" if waiting else ""
        text = f"size and memory of {what} come while the model runs: the planned arena does not count them{rest}"
        yield _surprise("dynamic-tensors", graph, waiting, text)
    if plan.unmodelled_ops:
        names_of = _some(plan.unmodelled_ops)
        text = f"the scratch memory of {names_of} is not known: the runtime's arena may be larger than planned"
        yield Surprise("unplanned-scratch", graph.index, (), text)


def _holes(graph: Graph, count: MacCount) -> Iterator[Surprise]:
    if count.shares.get(Arithmetic.INTEGER, 0.0) < INTEGER_GRAPH:
        return
    ops = [
        op
        for op in graph.ops
        if op.name not in ("QUANTIZE", "DEQUANTIZE") and any(t.dtype in _FLOATS for t in _computed(graph, op))
    ]
    if ops:
        borders = sum(op.name in ("QUANTIZE", "DEQUANTIZE") for op in graph.ops)
        text = (
            f"{len(ops)} ops of this integer graph compute in float ({_names(ops)}), behind {borders} QUANTIZE and "
            "DEQUANTIZE: integer-only hardware stops there; quantize them, or use ops that have integer kernels"
        )
        yield _surprise("float-hole", graph, ops, text)


def _slow_kernels(graph: Graph, count: MacCount, placement: Placement) -> Iterator[Surprise]:
    slow = {place.op for place in placement.ops if place.kernel is Kernel.REFERENCE}
    macs = sum(op.macs for op in count.ops if op.op in slow)
    if count.total and macs / count.total > SLOW_SHARE:
        ops = [graph.ops[op.op] for op in count.ops if op.op in slow]
        text = (
            f"{len(ops)} ops ({_names(ops)}) with {macs / count.total:.0%} of the MACs run in reference kernels, plain "
            "loops, on CPUs: keep them in float there"
        )
        yield _surprise("reference-kernel", graph, ops, text)


def _clipped(graph: Graph, op: Op) -> Iterator[float]:
    """For each output, how much of the widest input's range lies outside its own, as a share of the input's."""
    inputs = [_range(graph.tensors[i]) for i in op.inputs if i != OPTIONAL and not graph.tensors[i].is_constant]
    known = [found for found in inputs if found is not None]
    for index in op.outputs:
        target = _range(graph.tensors[index]) if index != OPTIONAL else None
        if target is None or not known:
            continue
        low, high, step = target
        beyond = max(max(low - step * _CLIP_STEPS - a, 0) + max(b - high - step * _CLIP_STEPS, 0) for a, b, _ in known)
        widest = max(b - a for a, b, _ in known)
        yield beyond / widest if widest else 0.0


def _range(tensor: Tensor) -> tuple[float, float, float] | None:
    """Smallest and largest real value of an 8- or 16-bit tensor with one scale, and the step between values."""
    found = tensor.quantization
    if found is None or tensor.dtype not in _EIGHT_BIT or len(found.scales) != 1:
        return None
    low, high = _EIGHT_BIT[tensor.dtype]
    scale = float(found.scales[0])
    zero = int(found.zero_points[0]) if len(found.zero_points) else 0
    return scale * (low - zero), scale * (high - zero), scale


def _computed(graph: Graph, op: Op) -> list[Tensor]:
    tensors = (graph.tensors[i] for i in (*op.inputs, *op.outputs) if i != OPTIONAL)
    return [tensor for tensor in tensors if not tensor.is_constant]


def _input(graph: Graph, op: Op) -> Tensor:
    return graph.tensors[op.inputs[0]]


def _is_integer(graph: Graph, op: Op) -> bool:
    return _input(graph, op).dtype in _EIGHT_BIT


def _channels(graph: Graph, op: Op) -> bool:
    return _several_scales(graph.tensors[op.inputs[1]])


def _several_scales(tensor: Tensor) -> bool:
    found = tensor.quantization
    return tensor.dtype not in _FLOATS and found is not None and len(found.scales) > 1


def _surprise(kind: str, graph: Graph, ops: Sequence[Op], text: str) -> Surprise:
    return Surprise(kind, graph.index, tuple(op.index for op in ops), text)


def _names(ops: Sequence[Op]) -> str:
    return _some(list(dict.fromkeys(op.name for op in ops)))


def _some(words: Sequence[str]) -> str:
    more = len(words) - MOST_NAMED
    return ", ".join(words[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
