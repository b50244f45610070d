"""A .tflite flatbuffer as plain data: tensors, ops and graphs, without copying a single weight."""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table
from numpy.typing import NDArray

from edgeflex_tflite.errors import UserError

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


def load_graphs(model: bytes | str | Path) -> tuple[Graph, ...]:
    """All subgraphs of a model, the primary one first; see `load_file`."""
    return load_file(model).graphs


def load_file(model: bytes | str | Path) -> Model:
    """A model as plain data.

    A file is mapped, not read: weights are only referenced.

    Raises:
        UserError: There is no such file, or it is not a .tflite flatbuffer.
    """
    buffer, origin = _open(model)
    if len(buffer) < 8 or buffer[4:8] != b"TFL3":
        raise UserError(f"{origin} is not a .tflite flatbuffer (no TFL3 mark): give a file that LiteRT can load.")
    try:
        return _parse(buffer)
    except (struct.error, IndexError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{origin} is a damaged .tflite flatbuffer ({error}): convert or download it again.") from error


def _open(model: bytes | str | Path) -> tuple[memoryview, str]:
    if isinstance(model, (bytes, bytearray, memoryview)):
        return memoryview(model), "The model"
    path = Path(model)
    if not path.is_file():
        raise UserError(f"There is no file {path}: give the path of a .tflite file.")
    if path.stat().st_size == 0:
        return memoryview(b""), str(path)
    try:
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)), str(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give a .tflite file that can.") from error


def _parse(buffer: memoryview) -> Model:
    root = schema.Model.GetRootAs(buffer)
    if root.SubgraphsLength() == 0:
        raise ValueError("it has no subgraph")
    constants = [_constant(root.Buffers(i), buffer) for i in range(root.BuffersLength())]
    codes = [_op_code(root.OperatorCodes(i)) for i in range(root.OperatorCodesLength())]
    return Model(
        graphs=tuple(_graph(i, root.Subgraphs(i), constants, codes) for i in range(root.SubgraphsLength())),
        signatures=tuple(_signature(root.SignatureDefs(i)) for i in range(root.SignatureDefsLength())),
        description=_text(root.Description()),
        metadata=tuple(_text(root.Metadata(i).Name()) for i in range(root.MetadataLength())),
        file_bytes=len(buffer),
    )


def _signature(table: Any) -> Signature:
    return Signature(
        name=_text(table.SignatureKey()),
        graph=table.SubgraphIndex(),
        inputs=_tensor_map(table.InputsLength(), table.Inputs),
        outputs=_tensor_map(table.OutputsLength(), table.Outputs),
    )


def _tensor_map(length: int, item: Any) -> dict[str, int]:
    return {_text(item(i).Name()): item(i).TensorIndex() for i in range(length)}


def _constant(table: Any, buffer: memoryview) -> memoryview | None:
    """A buffer's bytes, inside the flatbuffer or behind it; None when it holds none."""
    if not table.DataIsNone():
        return _part(buffer, table._tab.Vector(table._tab.Offset(4)), table.DataLength())
    if table.Offset() > 1:
        return _part(buffer, table.Offset(), table.Size())
    return None


def _part(buffer: memoryview, start: int, length: int) -> memoryview:
    if start + length > len(buffer):
        raise ValueError("its weights are cut off")
    return buffer[start : start + length]


def _graph(index: int, table: Any, constants: list[memoryview | None], codes: list[tuple[str, int, bool]]) -> Graph:
    tensors = tuple(_tensor(i, table.Tensors(i), constants) for i in range(table.TensorsLength()))
    ops = tuple(_op(i, table.Operators(i), codes) for i in range(table.OperatorsLength()))
    inputs = _ints(table.InputsLength(), table.Inputs)
    outputs = _ints(table.OutputsLength(), table.Outputs)
    used = {*inputs, *outputs}.union(*(op.inputs + op.outputs for op in ops))
    if used and not OPTIONAL <= min(used) <= max(used) < len(tensors):
        raise ValueError(f"graph {index} uses tensors that it does not have")
    return Graph(index, _text(table.Name()), tensors, ops, inputs, outputs)


def _tensor(index: int, table: Any, constants: list[memoryview | None]) -> Tensor:
    shape = _ints(table.ShapeLength(), table.Shape)
    if min(shape, default=0) < 0:
        raise ValueError(f"tensor {index} has the shape {list(shape)}")
    tensor = Tensor(
        index=index,
        name=_text(table.Name()),
        dtype=_names("TensorType")[table.Type()],
        shape=shape,
        shape_signature=_ints(table.ShapeSignatureLength(), table.ShapeSignature) or shape,
        is_variable=table.IsVariable(),
        buffer=table.Buffer(),
        data=constants[table.Buffer()] if table.Buffer() else None,
        quantization=_quantization(table.Quantization()),
        sparse_ledger_bytes=_ledger_bytes(table.Sparsity()),
    )
    if tensor.data is None or tensor.is_sparse or len(tensor.data) >= tensor.bytes:
        return tensor
    if not tensor.data:  # old converters write empty buffers for tensors that are computed
        return replace(tensor, data=None)
    raise ValueError(f"tensor {index} has {len(tensor.data)} of its {tensor.bytes} bytes")


def _quantization(table: Any) -> Quantization | None:
    if table is None:
        return None
    block_size = 0
    if table.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization:
        details = schema.BlockwiseQuantization()
        details.Init(table.Details().Bytes, table.Details().Pos)
        block_size = details.BlockSize()
    if not table.ScaleLength() and not block_size:
        return None
    zero_points = table.ZeroPointAsNumpy() if table.ZeroPointLength() else np.zeros(0, np.int64)
    scales = table.ScaleAsNumpy() if table.ScaleLength() else np.zeros(0, np.float32)
    return Quantization(scales, zero_points, table.QuantizedDimension(), block_size)


def _op(index: int, table: Any, codes: list[tuple[str, int, bool]]) -> Op:
    options = schema.BuiltinOptionsCreator(table.BuiltinOptionsType(), table.BuiltinOptions())
    if options is None:
        options = schema.BuiltinOptions2Creator(table.BuiltinOptions2Type(), table.BuiltinOptions2())
    name, version, is_custom = codes[table.OpcodeIndex()]
    return Op(
        index=index,
        name=name,
        version=version,
        inputs=_ints(table.InputsLength(), table.Inputs),
        outputs=_ints(table.OutputsLength(), table.Outputs),
        intermediates=_ints(table.IntermediatesLength(), table.Intermediates),
        options={} if options is None else vars(options),
        custom_options=bytes(_ints(table.CustomOptionsLength(), table.CustomOptions)),
        is_custom=is_custom,
    )


def _op_code(code: Any) -> tuple[str, int, bool]:
    """Name, version, and whether it is a custom one."""
    builtin = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    name = _names("BuiltinOperator").get(builtin, f"BUILTIN_{builtin}")
    is_custom = name == "CUSTOM"
    return _text(code.CustomCode()) if is_custom else name, code.Version(), is_custom


def _ledger_bytes(sparsity: Any) -> int | None:
    """Row counts and column indices of the second dimension's CSR index."""
    if sparsity is None:
        return None
    if sparsity.DimMetadataLength() < 2:
        return 0
    rows = sparsity.DimMetadata(1)
    return _index_count(rows.ArrayIndices()) + _index_count(rows.ArraySegments()) - 1


def _index_count(vector: Any) -> int:
    """Elements of an Int32Vector, Uint16Vector or Uint8Vector table (one field, a vector)."""
    if vector is None:
        return 0
    table = Table(vector.Bytes, vector.Pos)
    offset = table.Offset(4)
    return table.VectorLen(offset) if offset else 0


@cache
def _names(enum: str) -> dict[int, str]:
    return {value: name for name, value in vars(getattr(schema, enum)).items() if isinstance(value, int)}


def _ints(length: int, item: Any) -> tuple[int, ...]:
    return tuple(int(item(i)) for i in range(length))


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode("utf-8", "replace")
