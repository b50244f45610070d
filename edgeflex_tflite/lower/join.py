"""Files of one model as signatures of one file, whose equal constants are stored once.

A flatbuffer's tensors name their constants by the index of a buffer, and nothing keeps tensors of different subgraphs
from naming the same one. Files that were written from the same weights have the same bytes in almost all of their
buffers, whatever the shape of their activations, so the joined file is larger by its graphs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def join(models: Mapping[str, Any]) -> Any:
    """One `ModelT` with all signatures.

    Args:
        models: `{signature: its model}`, each a `ModelT` of one subgraph and one signature. They are taken apart.

    Returns:
        A model whose subgraphs and signatures are in the order of `models`; all else, as its version and metadata, is
        the first one's.
    """
    joined, *others = models.values()
    if not others:
        return joined
    buffers, scales, codes = _Buffers(), _Scales(), _Codes()
    for metadata in joined.metadata or []:
        metadata.buffer = buffers.place(joined.buffers[metadata.buffer])
    for model in models.values():
        (graph,) = model.subgraphs
        for tensor in graph.tensors:
            tensor.buffer = buffers.place(model.buffers[tensor.buffer])
            tensor.quantization = scales.shared(tensor.quantization)
        for operator in graph.operators:
            operator.opcodeIndex = codes.place(model.operatorCodes[operator.opcodeIndex])
    for index, (name, model) in enumerate(models.items()):
        (signature,) = model.signatureDefs
        signature.signatureKey, signature.subgraphIndex = name.encode(), index
        model.subgraphs[0].name = name.encode()
    joined.subgraphs += [model.subgraphs[0] for model in others]
    joined.signatureDefs += [model.signatureDefs[0] for model in others]
    joined.buffers, joined.operatorCodes = buffers.all, codes.all
    return joined


def batch_signature(batch: int) -> str:
    """Name of the signature that takes so many images."""
    return f"batch_{batch}"


class _Buffers:
    """The constants of the joined file, each once; the first buffer is that of all tensors without one."""

    def __init__(self) -> None:
        self.all = [schema.BufferT()]
        self._places: dict[bytes, int] = {}

    def place(self, buffer: Any) -> int:
        """Index of a buffer with the same bytes."""
        if buffer.data is None or not len(buffer.data):
            return 0
        content = sha256(memoryview(buffer.data)).digest()
        if content not in self._places:
            self._places[content] = len(self.all)
            self.all.append(buffer)
        return self._places[content]


class _PackedOnce:
    """A table of a flatbuffer that several others refer to: it is written for the first of them."""

    def __init__(self, table: Any) -> None:
        self._table, self._builder, self._offset = table, None, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802
        """Offset of the table, by the name that the schema's own objects give this."""
        if builder is not self._builder:
            self._builder, self._offset = builder, self._table.Pack(builder)
        return self._offset


class _Scales:
    """The quantization of all tensors, each once: of a narrow linear it is an eighth of the weights."""

    def __init__(self) -> None:
        self._known: dict[bytes, _PackedOnce] = {}

    def shared(self, quantization: Any) -> Any:
        """What stands for the same scales and zero points; None for none."""
        if quantization is None:
            return None
        builder = flatbuffers.Builder(256)
        builder.Finish(quantization.Pack(builder))
        return self._known.setdefault(bytes(builder.Output()), _PackedOnce(quantization))


class _Codes:
    """The operator codes of the joined file, each once."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def place(self, code: Any) -> int:
        """Index of the same code: the same operator of the same version."""
        for index, known in enumerate(self.all):
            if vars(known) == vars(code):
                return index
        self.all.append(code)
        return len(self.all) - 1
