"""Operators that the written graph can do without, because another one gives their result by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeflex_tflite.lower.flatbuffer import operators


def tidy(model: Any) -> None:
    """Rewrite the main subgraph of a float file in place, exactly, and drop what nothing reads any more."""
    _keep_dims(model)
    _drop_unread_tensors(model)


def _keep_dims(model: Any) -> None:
    """MEAN, ADD of a number, RESHAPE that puts the reduced dimension back: the MEAN keeps it instead."""
    tensors, readers = model.subgraphs[0].tensors, _readers(model)
    for name, mean in operators(model):
        if name != "MEAN" or mean.builtinOptions.keepDims:
            continue
        chain = list(_followers(mean, readers))[:2]
        if [kind for kind, _ in chain] != ["ADD", "RESHAPE"]:
            continue
        (_, add), (_, reshape) = chain
        reduced, kept = (list(tensors[operator.outputs[0]].shape) for operator in (mean, reshape))
        (summand,) = set(add.inputs) - set(mean.outputs)
        if kept == [*reduced, 1] and np.prod(tensors[summand].shape) == 1:
            mean.builtinOptions.keepDims = True
            tensors[mean.outputs[0]].shape = tensors[add.outputs[0]].shape = np.array(kept, np.int32)
            _bypass(model, reshape, add.outputs[0])


def _readers(model: Any) -> dict[int, list[tuple[str, Any]]]:
    """Operators that read each tensor."""
    found: dict[int, list[tuple[str, Any]]] = {}
    for name, operator in operators(model):
        for index in set(operator.inputs):
            found.setdefault(index, []).append((name, operator))
    return found


def _followers(operator: Any, readers: dict[int, list[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
    """The operators behind one, as long as each result has one reader."""
    while len(found := readers.get(operator.outputs[0], [])) == 1:
        yield found[0]
        operator = found[0][1]


def _bypass(model: Any, dropped: Any, instead: int) -> None:
    """Without an operator, whose result is read from another tensor."""
    graph, result = model.subgraphs[0], dropped.outputs[0]
    graph.operators = [operator for operator in graph.operators if operator is not dropped]
    for operator in graph.operators:
        operator.inputs = np.where(np.equal(operator.inputs, result), instead, operator.inputs)


def _drop_unread_tensors(model: Any) -> None:
    graph = model.subgraphs[0]
    used = {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs)}
    kept = sorted((used | {*graph.inputs, *graph.outputs}) - {-1})
    places = {old: new for new, old in enumerate(kept)} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in kept]

    def renumbered(indices: Any) -> Any:
        return np.array([places[index] for index in indices], np.int32)

    graph.inputs, graph.outputs = renumbered(graph.inputs), renumbered(graph.outputs)
    for operator in graph.operators:
        operator.inputs, operator.outputs = renumbered(operator.inputs), renumbered(operator.outputs)
    for signature in model.signatureDefs or []:
        for each in (*signature.inputs, *signature.outputs):
            each.tensorIndex = places[each.tensorIndex]
