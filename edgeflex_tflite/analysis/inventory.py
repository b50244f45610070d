"""What is in a file: operators, weights by type, what goes in and out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from edgeflex_tflite.graph import Graph, Model, Tensor

NO_SCALES = "not quantized"


@dataclass(frozen=True)
class OpCount:
    """How often an operator occurs.

    Attributes:
        name: Builtin name or custom code.
        version: That the file asks for.
        count: In all subgraphs.
    """

    name: str
    version: int
    count: int


@dataclass(frozen=True)
class WeightGroup:
    """Constants of one kind, each buffer counted once.

    Attributes:
        dtype: TFLite's name of the type.
        granularity: "per-tensor", "per-channel", "blockwise" or "not quantized".
        sparse: Stored without the zeros.
        tensors: How many.
        bytes: In the file.
        elements: Numbers that they stand for, zeros that are not stored included.
    """

    dtype: str
    granularity: str
    sparse: bool
    tensors: int
    bytes: int
    elements: int


@dataclass(frozen=True)
class Port:
    """An input or output of a subgraph.

    Attributes:
        name: In the file.
        dtype: TFLite's name of the type.
        shape: Elements; -1 where the file leaves a dimension open.
        scale: real = scale * (integer - zero_point); None without quantization, or with several scales.
        zero_point: See `scale`.
        granularity: As in `WeightGroup`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None
    granularity: str


@dataclass(frozen=True)
class GraphInventory:
    """One subgraph.

    Attributes:
        index: Position in the file.
        name: In the file.
        ops: Number of operators.
        tensors: Number of tensors.
        inputs: What goes in.
        outputs: What comes out.
    """

    index: int
    name: str
    ops: int
    tensors: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Inventory:
    """A whole file.

    Attributes:
        file_bytes: Its length.
        description: What its converter wrote about itself.
        metadata: Names of metadata entries.
        signatures: `{name: subgraph}`.
        graphs: All subgraphs.
        ops: All operators, the most frequent first.
        weights: All constants, the largest group first.
    """

    file_bytes: int
    description: str
    metadata: tuple[str, ...]
    signatures: Mapping[str, int]
    graphs: tuple[GraphInventory, ...]
    ops: tuple[OpCount, ...]
    weights: tuple[WeightGroup, ...]

    @property
    def weights_bytes(self) -> int:
        """Of all constants."""
        return sum(group.bytes for group in self.weights)


def take_inventory(model: Model) -> Inventory:
    """Count what a file holds."""
    ops = Counter((op.name, op.version) for graph in model.graphs for op in graph.ops)
    return Inventory(
        file_bytes=model.file_bytes,
        description=model.description,
        metadata=model.metadata,
        signatures={signature.name: signature.graph for signature in model.signatures},
        graphs=tuple(_graph(graph) for graph in model.graphs),
        ops=tuple(OpCount(name, version, count) for (name, version), count in ops.most_common()),
        weights=_weights(model),
    )


def granularity(tensor: Tensor) -> str:
    """How fine a tensor's scales are."""
    return NO_SCALES if tensor.quantization is None else tensor.quantization.granularity


def _graph(graph: Graph) -> GraphInventory:
    return GraphInventory(
        index=graph.index,
        name=graph.name,
        ops=len(graph.ops),
        tensors=len(graph.tensors),
        inputs=tuple(_port(graph.tensors[i]) for i in graph.inputs),
        outputs=tuple(_port(graph.tensors[i]) for i in graph.outputs),
    )


def _port(tensor: Tensor) -> Port:
    found = tensor.quantization
    scale = zero = None
    if found is not None and len(found.scales) == 1:
        scale = float(found.scales[0])
        zero = int(found.zero_points[0]) if len(found.zero_points) else 0
    return Port(tensor.name, tensor.dtype, tensor.shape_signature, scale, zero, granularity(tensor))


def _weights(model: Model) -> tuple[WeightGroup, ...]:
    constants = {t.buffer: t for graph in model.graphs for t in graph.tensors if t.data is not None}
    groups: dict[tuple[str, str, bool], list[Tensor]] = defaultdict(list)
    for tensor in constants.values():
        groups[tensor.dtype, granularity(tensor), tensor.is_sparse].append(tensor)
    made = [
        WeightGroup(dtype, fine, sparse, len(kept), sum(map(_bytes, kept)), sum(t.elements for t in kept))
        for (dtype, fine, sparse), kept in groups.items()
    ]
    return tuple(sorted(made, key=lambda group: -group.bytes))


def _bytes(tensor: Tensor) -> int:
    return 0 if tensor.data is None else len(tensor.data)
