"""Hand-written .tflite files of a few ops, for rules that no converted model happens to meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

DTYPES = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT64": np.int64, "INT32": np.int32, "INT16": np.int16,
    "INT8": np.int8, "UINT8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip


@dataclass
class Tiny:
    """A model built tensor by tensor and op by op; graphs of one file share their buffers and codes."""

    tensors: list[schema.TensorT] = field(default_factory=list)
    buffers: list[schema.BufferT] = field(default_factory=lambda: [schema.BufferT()])
    operators: list[schema.OperatorT] = field(default_factory=list)
    codes: list[schema.OperatorCodeT] = field(default_factory=list)

    def callee(self) -> Tiny:
        """A further graph of the same file."""
        return Tiny(buffers=self.buffers, codes=self.codes)

    def tensor(self, *shape: int, dtype: str = "FLOAT32", variable: bool = False, scales: Sequence[float] = ()) -> int:
        """Add a computed tensor, or a variable; gives its index."""
        tensor = schema.TensorT()
        tensor.name = f"t{len(self.tensors)}".encode()
        tensor.shape = list(shape)
        tensor.type = getattr(schema.TensorType, dtype)
        tensor.isVariable = variable
        tensor.quantization = schema.QuantizationParametersT()
        if scales:
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = [0] * len(scales)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, value: Any, dtype: str = "FLOAT32", scales: Sequence[float] = ()) -> int:
        """Add a constant; gives its index."""
        array = np.asarray(value, DTYPES[dtype])
        index = self.tensor(*array.shape, dtype=dtype, scales=scales)
        self.store(index, array.tobytes())
        return index

    def packed(self, *shape: int, dtype: str = "INT4", scales: Sequence[float] = (1.0,)) -> int:
        """Add a constant of zeros of a type below a byte; gives its index."""
        index = self.tensor(*shape, dtype=dtype, scales=scales)
        bits = {"INT4": 4, "INT2": 2}[dtype]
        self.store(index, bytes((int(np.prod(shape)) * bits + 7) // 8))
        return index

    def sparse(self, *shape: int, dtype: str = "INT8", scales: Sequence[float] = ()) -> int:
        """Add a constant matrix with one element in each row, stored by rows; gives its index."""
        rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
        rows.format, rows.denseSize = schema.DimensionType.DENSE, shape[0]
        columns.format = schema.DimensionType.SPARSE_CSR
        segments, indices = schema.Uint8VectorT(), schema.Uint8VectorT()
        segments.values, indices.values = list(range(shape[0] + 1)), [0] * shape[0]
        kind = schema.SparseIndexVector.Uint8Vector
        columns.arraySegmentsType, columns.arraySegments = kind, segments
        columns.arrayIndicesType, columns.arrayIndices = kind, indices
        index = self.tensor(*shape, dtype=dtype, scales=scales)
        sparsity = schema.SparsityParametersT()
        sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]
        self.tensors[index].sparsity = sparsity
        self.store(index, np.zeros(shape[0], DTYPES[dtype]).tobytes())
        return index

    def store(self, index: int, content: bytes) -> None:
        """Give a tensor its bytes."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content, np.uint8)
        self.buffers.append(buffer)
        self.tensors[index].buffer = len(self.buffers) - 1

    def op(self, op: str, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> None:
        """Add an op; `options` are the fields of its builtin options, `table` their name when it is not the op's.

        A "CUSTOM" op has its name in `custom_code`.
        """
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, op)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = options.pop("version", 1)
        if "custom_code" in options:
            code.customCode = options.pop("custom_code").encode()
        self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.codes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        table = options.pop("table", None)
        if table is not None:
            content = getattr(schema, table + "T")()
            for key, value in options.items():
                assert hasattr(content, key), key
                setattr(content, key, value)
            if hasattr(schema.BuiltinOptions, table):
                operator.builtinOptionsType, operator.builtinOptions = getattr(schema.BuiltinOptions, table), content
            else:
                operator.builtinOptions2Type, operator.builtinOptions2 = getattr(schema.BuiltinOptions2, table), content
        self.operators.append(operator)

    def graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> schema.SubGraphT:
        """The finished graph."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        graph.name = b"graph"
        return graph

    def build(self, inputs: Sequence[int], outputs: Sequence[int], *callees: schema.SubGraphT) -> bytes:
        """The flatbuffer, with this graph in front."""
        model = schema.ModelT()
        model.version, model.subgraphs = 3, [self.graph(inputs, outputs), *callees]
        model.buffers, model.operatorCodes = self.buffers, self.codes
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
