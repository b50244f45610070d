"""Reading and writing `.tflite` files as objects, and naming their tensors after the model's sites."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

INLINE_LIMIT_BYTES = 1_000_000_000
"""Below this the weights stay inside the flatbuffer, as old runtimes need. Packing them takes memory for three times
their size, and from 2 GB on there is no room for them inside."""
BUFFER_ALIGNMENT_BYTES = 64

ASSEMBLY = "model"
"""The site of all that belongs to no module: the assembly of tokens, and constants that several modules share."""

CHUNK = "_chunk"
"""In a chunked block, between a module's name and the number of its piece."""
PIECE = re.compile(rf"{CHUNK}\d+$")

OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


def read(path: Path) -> Any:
    """The file as a mutable `ModelT`; weight buffers stay mapped to the file."""
    return flatbuffer_utils.read_model(str(path))


def operators(model: Any, graph: int = 0) -> Iterator[tuple[str, Any]]:
    """(operator name, operator) of a subgraph, in order of execution."""
    for operator in model.subgraphs[graph].operators:
        code = model.operatorCodes[operator.opcodeIndex]
        yield OPERATOR_NAMES[flatbuffer_utils.get_builtin_code_from_operator_code(code)], operator


def write(model: Any, path: Path) -> None:
    """Write a `ModelT`; beyond `INLINE_LIMIT_BYTES` the weights go behind the flatbuffer, as the format provides."""
    total = 0
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.asarray(memoryview(buffer.data))  # anything else is packed byte by byte
            total += len(buffer.data)
    if total < INLINE_LIMIT_BYTES:
        path.write_bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    else:
        _write_with_trailing_buffers(model, path)


def _write_with_trailing_buffers(model: Any, path: Path) -> None:
    trailing = {i: b.data for i, b in enumerate(model.buffers) if b.data is not None and len(b.data) >= 1024}
    for index in trailing:
        model.buffers[index].data = None
        model.buffers[index].offset = model.buffers[index].size = 1  # reserves room for the real values
    packed = flatbuffer_utils.convert_object_to_bytearray(model)
    root = schema.Model.GetRootAs(packed, 0)
    position = _aligned(len(packed))
    for index, data in trailing.items():
        flatbuffer_utils.update_packed_buffer(root.Buffers(index), offset=position, size=len(data))
        position = _aligned(position + len(data))
    with path.open("wb") as file:
        file.write(packed)
        for data in trailing.values():
            file.seek(_aligned(file.tell()))
            file.write(memoryview(data))
        file.truncate(position)


def _aligned(offset: int) -> int:
    return -(-offset // BUFFER_ALIGNMENT_BYTES) * BUFFER_ALIGNMENT_BYTES


def name_tensors_by_site(model: Any, sites: Iterable[str]) -> None:
    """Rename every tensor to `site;n`, in place, so that a site's operators can be found by name.

    litert-torch names a tensor by the path of torch modules that made it, `pkg.Outer/pkg.Block_0/pkg.Linear_fc1;1`;
    where several were merged, the first one counts. The pieces of a chunked block have the name of the whole, and what
    is no site itself that of the site around it.
    """
    known = {_attributes(site): site for site in sites}
    graph = model.subgraphs[0]
    found = [_site_of(tensor.name.decode(), known) for tensor in graph.tensors]
    for _, operator in operators(model):
        for output in set(operator.outputs) & set(graph.outputs):  # named after the signature, not after a module
            found[output] = found[operator.inputs[1]]
    taken: Counter[str] = Counter()
    for tensor, site in zip(graph.tensors, found, strict=True):
        name = site or ASSEMBLY
        tensor.name = f"{name};{taken[name]}".encode()
        taken[name] += 1


def _attributes(site: str) -> tuple[str, ...]:
    return tuple(part for part in site.split(".") if part != "blocks")


def _site_of(name: str, known: dict[tuple[str, ...], str]) -> str | None:
    path = name.split(";", maxsplit=1)[0].split("/")[1:]
    attributes = (part.rsplit(".", 1)[-1].partition("_")[2] for part in path)
    site = tuple(PIECE.sub("", attribute) for attribute in attributes)
    return next((known[site[:end]] for end in range(len(site), 0, -1) if site[:end] in known), None)


def site_of_operator(model: Any, index: int, graph: int = 0) -> str:
    """The site that an operator of a subgraph is named after."""
    subgraph = model.subgraphs[graph]
    return str(subgraph.tensors[subgraph.operators[index].outputs[0]].name.decode().split(";")[0])


class StoredWeight(NamedTuple):
    """The weight of a linear or a convolution, as a file has it.

    Attributes:
        dtype: TFLite's name of its type.
        shape: output channels first.
        scales: how many there are.
        block: weights that share a scale where scales are blockwise, else 0.
    """

    dtype: str
    shape: tuple[int, ...]
    scales: int
    block: int


def stored_weights(model: Any, sites: Iterable[str], index: int = 0) -> dict[str, StoredWeight]:
    """What the weights of each site really are in a file, as its subgraph `index` reads them.

    Returns:
        One for every convolution or fully connected operator that is named after a site. A weight that is stored in
        another type and converted by DEQUANTIZE counts as stored.
    """
    graph = model.subgraphs[index]
    made_by = {operator.outputs[0]: (name, operator) for name, operator in operators(model, index)}
    wanted, found = set(sites), {}
    for name, operator in operators(model, index):
        site = graph.tensors[operator.outputs[0]].name.decode().split(";")[0]
        if name not in ("FULLY_CONNECTED", "CONV_2D") or site not in wanted:
            continue
        weight = operator.inputs[1]
        if weight in made_by and made_by[weight][0] == "DEQUANTIZE":
            weight = made_by[weight][1].inputs[0]
        tensor = graph.tensors[weight]
        scales, block = _scales(graph, tensor.quantization)
        found[site] = StoredWeight(flatbuffer_utils.type_to_name(tensor.type), tuple(tensor.shape), scales, block)
    return found


def _scales(graph: Any, quantization: Any) -> tuple[int, int]:
    """How many there are, and how many weights share one where they are blockwise."""
    if quantization is None:
        return 0, 0
    if quantization.detailsType == schema.QuantizationDetails.BlockwiseQuantization:
        details = quantization.details
        return int(np.prod(graph.tensors[details.scales].shape)), details.blockSize
    return (0 if quantization.scale is None else len(np.atleast_1d(quantization.scale))), 0
