"""From a .tflite flatbuffer to plain data, without copying a single weight."""

from __future__ import annotations

import mmap
import struct
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.graph import (
    OPTIONAL,
    Graph,
    Model,
    Op,
    Quantization,
    Signature,
    Tensor,
)


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
