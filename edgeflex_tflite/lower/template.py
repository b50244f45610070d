"""The graph of a lowered module without its weights: a module of the same shapes gives the same one with its own.

Tracing and lowering a model takes many seconds, and depends on the shapes of its weights, not on what is in them, but
for one thing: the converter leaves out what changes nothing, as a bias of zeros or a scale of ones. A weight whose
elements are all the same is therefore part of what a graph is known by.
"""

from __future__ import annotations

import copy
import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import nn

KEPT = 64
"""Graphs that are remembered, the latest ones: they are small without weights."""


@dataclasses.dataclass(frozen=True)
class Template:
    """A file that waits for weights.

    Attributes:
        graph: its `ModelT`, without the weights.
        places: `{index of a buffer: (name of the weight that belongs there, which of its layouts)}`.
    """

    graph: Any
    places: Mapping[int, tuple[str, int]]

    @classmethod
    def of(cls, content: Any, weights: Mapping[str, NDArray]) -> Template | None:
        """Of a file with these weights; None unless each of them is in it just once, and as it is.

        Args:
            content: the file's `ModelT`; it is not changed.
            weights: `{name: values}` of the module that was lowered.
        """
        owners = {
            _digest(stored): (name, layout)
            for name, values in weights.items()
            for layout, stored in enumerate(_layouts(values))
        }
        found = {index: _digest(buffer.data) for index, buffer in enumerate(content.buffers) if buffer.data is not None}
        places = {index: owners[digest] for index, digest in found.items() if digest in owners}
        if sorted(name for name, _ in places.values()) != sorted(weights):
            return None
        return cls(copy.deepcopy(content, {id(content.buffers[index]): schema.BufferT() for index in places}), places)

    def filled(self, weights: Mapping[str, NDArray]) -> Any:
        """The `ModelT` of the file with other weights of these names and shapes."""
        content = copy.deepcopy(self.graph)
        for index, (name, layout) in self.places.items():
            content.buffers[index].data = _layouts(weights[name])[layout]
        return content


class Templates:
    """The latest graphs that were lowered in this process."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Template] = OrderedDict()

    def lowered(self, module: nn.Module, lower: Callable[[], Any]) -> Any:
        """The `ModelT` of a module: that of one with the same shapes with its weights, or else what `lower` gives."""
        weights = {name: values for name, values in _parameters(module) if not _uniform(values)}
        if len({_digest(_layouts(values)[0]) for values in weights.values()}) < len(weights):
            return lower()  # the converter stores equal weights once
        if any(callable(value) for each in module.modules() for value in _attributes(each).values()):
            return lower()  # nothing tells what another function does
        key = _graph_key(module, weights)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key].filled(weights)
        content = lower()
        if (template := Template.of(content, weights)) is not None:
            self._known[key] = template
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return content


def _graph_key(module: nn.Module, weights: Mapping[str, NDArray]) -> bytes:
    """Of all that decides on the graph: classes and attributes of the modules, shapes, and constants."""
    parts: list[object] = []
    for path, each in module.named_modules():
        parts.append((path, type(each).__qualname__, sorted(_attributes(each).items())))
    for name, values in _parameters(module):
        parts.append((name, values.shape, values.dtype, None if name in weights else values.flat[:1].tolist()))
    for name, tensor in module.named_buffers():
        parts.append((name, tensor.shape, _digest(tensor.numpy())))
    return sha256(repr(parts).encode()).digest()


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def _parameters(module: nn.Module) -> Iterator[tuple[str, NDArray]]:
    for name, parameter in module.named_parameters():
        yield name, parameter.detach().numpy()


def _uniform(values: NDArray) -> bool:
    return not values.size or bool((values == values.flat[0]).all())


def _layouts(values: NDArray) -> list[NDArray[np.uint8]]:
    """The bytes that a file may hold: as the weight is in torch, and a convolution's with its channels last."""
    arrays = [values, values.transpose(0, 2, 3, 1)] if values.ndim == 4 else [values]
    return [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]


def _digest(data: Any) -> bytes:
    return sha256(memoryview(data)).digest()
