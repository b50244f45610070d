"""A .tflite file as plain data: tensors, ops and graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPTIONAL = -1
"""The tensor index that stands for an input or output that is not there."""

UNSIZED_DTYPES = frozenset({"STRING", "RESOURCE", "VARIANT"})
"""Types whose bytes are only known at run time; the runtime gives them memory of their own."""

PACKED_DTYPES = frozenset({"INT4", "INT2", "UINT4"})
"""Types of which several share a byte."""

_BITS = {
    "FLOAT64": 64, "FLOAT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT8_E4M3FN": 8, "FLOAT8_E5M2": 8,
    "INT64": 64, "INT32": 32, "INT16": 16, "INT8": 8, "INT4": 4, "INT2": 2,
    "UINT64": 64, "UINT32": 32, "UINT16": 16, "UINT8": 8, "UINT4": 4,
    "BOOL": 8, "COMPLEX64": 64, "COMPLEX128": 128,
}  # fmt: skip


def tensor_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of a dense tensor; types below a byte are packed (`tflite/util.cc`, BytesRequired).

    Raises:
        KeyError: The type has no fixed size.
    """
    return (math.prod(shape) * _BITS[dtype] + 7) // 8


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a tensor's integers stand for real numbers: real = scale * (integer - zero point).

    Attributes:
        scales: `float32 [n]`; one for the whole tensor, or one for each slice along `axis`. Empty for blockwise
            scales, which are a tensor of their own.
        zero_points: `int64 [n]`, or empty for zeros.
        axis: Dimension along which the scales differ.
        block_size: Elements that share a scale where scales are blockwise, else 0.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int = 0
    block_size: int = 0

    @property
    def scales_differ(self) -> bool:
        """The scales are not all the same number."""
        return len(np.unique(self.scales)) > 1

    @property
    def granularity(self) -> str:
        """ "per-tensor", "per-channel" or "blockwise"."""
        if self.block_size:
            return "blockwise"
        return "per-channel" if len(self.scales) > 1 else "per-tensor"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a graph.

    Attributes:
        index: Position in its graph.
        name: Name in the file.
        dtype: Name of the TensorType, e.g. "FLOAT32".
        shape: Sizes in elements; () is a scalar.
        shape_signature: The same with -1 for each dimension that the file leaves open.
        is_variable: State that outlives an inference.
        buffer: Index of the file's buffer, 0 for none.
        data: The constant's bytes inside the file, or None for a tensor that is computed.
        quantization: Scales and zero points; None for a tensor without.
        sparse_ledger_bytes: Bytes of the row ledger that a sparse FULLY_CONNECTED keeps; None when dense.
    """

    index: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    shape_signature: tuple[int, ...] = ()
    is_variable: bool = False
    buffer: int = 0
    data: memoryview | None = field(default=None, repr=False, compare=False)
    quantization: Quantization | None = field(default=None, repr=False, compare=False)
    sparse_ledger_bytes: int | None = None

    @property
    def bytes(self) -> int:
        """Bytes that the runtime books for it; 0 for types without a fixed size."""
        return 0 if self.dtype in UNSIZED_DTYPES else tensor_bytes(self.dtype, self.shape)

    @property
    def unknown_shape(self) -> bool:
        """The file leaves a dimension open."""
        return -1 in self.shape_signature

    @property
    def elements(self) -> int:
        """Numbers that it stands for."""
        return math.prod(self.shape)

    @property
    def is_constant(self) -> bool:
        """Its values are in the file."""
        return self.data is not None

    @property
    def is_sparse(self) -> bool:
        """Its values are stored without the zeros."""
        return self.sparse_ledger_bytes is not None


@dataclass(frozen=True)
class Op:
    """One operator.

    Attributes:
        index: Position in the execution order.
        name: Name of the builtin operator, or the custom code.
        inputs: Tensor indices, -1 for an absent one.
        outputs: Tensor indices, -1 for an absent one.
        version: Version of the operator that the file asks for.
        intermediates: Tensor indices that only carry quantization ranges.
        options: The builtin options by the schema's field names.
        custom_options: A custom operator's own bytes.
        is_custom: The name is a custom code: no operator of the runtime, whatever it is called.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    version: int = 1
    intermediates: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    custom_options: bytes = b""
    is_custom: bool = False


@dataclass(frozen=True)
class Graph:
    """One subgraph.

    Attributes:
        index: Position in the file.
        name: Name in the file.
        tensors: All tensors.
        ops: All operators in execution order.
        inputs: Tensor indices.
        outputs: Tensor indices.
        borrowed: Inputs that lie in the memory of the graph that runs this one.
    """

    index: int
    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    borrowed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Signature:
    """A named way to run a graph.

    Attributes:
        name: Its key.
        graph: Position of the graph that it runs.
        inputs: `{name: tensor index}`.
        outputs: `{name: tensor index}`.
    """

    name: str
    graph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True)
class Model:
    """A whole file.

    Attributes:
        graphs: All subgraphs, the primary one first.
        signatures: Named ways to run them.
        description: What the converter wrote about itself.
        metadata: Names of the metadata entries.
        file_bytes: Length of the file.
    """

    graphs: tuple[Graph, ...]
    signatures: tuple[Signature, ...]
    description: str
    metadata: tuple[str, ...]
    file_bytes: int
