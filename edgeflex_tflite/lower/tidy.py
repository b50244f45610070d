"""Operators that the written float graph can do without, because another one gives their result by itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgeflex_tflite.lower.flatbuffer import operators
from edgeflex_tflite.rewrites import FLAT, KEEP_DIMS, SQUARES


def tidy(model: Any, rewrites: Collection[str]) -> None:
    """Make those of `REWRITES` that are the graph's, in place, and drop what nothing reads any more."""
    for name, rewrite in ((KEEP_DIMS, _keep_dims), (SQUARES, _epsilon_in_squares), (FLAT, _flat_inputs)):
        if name in rewrites:
            rewrite(model)
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
        summand = _other_input(add, mean)
        if kept == [*reduced, 1] and np.prod(tensors[summand].shape) == 1:
            mean.builtinOptions.keepDims = True
            tensors[mean.outputs[0]].shape = tensors[add.outputs[0]].shape = np.array(kept, np.int32)
            _bypass(model, reshape, add.outputs[0])


def _epsilon_in_squares(model: Any) -> None:
    """A norm's `mean(x x) + eps` as `mean((x - sqrt(eps))^2)`, which is the same where x has zero mean, as it has here.

    The cross term `-2 sqrt(eps) mean(x)` is what rounding leaves of a mean, times a thousandth.
    """
    readers = _readers(model)
    for name, square in operators(model):
        chain = list(_followers(square, readers))[:2]
        if name != "MUL" or len(set(square.inputs)) > 1 or [kind for kind, _ in chain] != ["MEAN", "ADD"]:
            continue
        (_, mean), (_, add) = chain
        epsilon = _constant(model, _other_input(add, mean))
        if epsilon is not None and epsilon.size == 1:
            square.inputs = np.array([square.inputs[0], _new_constant(model, np.sqrt(epsilon), add)], np.int32)
            square.opcodeIndex = _code(model, schema.BuiltinOperator.SQUARED_DIFFERENCE)
            square.builtinOptionsType = schema.BuiltinOptions.SquaredDifferenceOptions
            square.builtinOptions = schema.SquaredDifferenceOptionsT()
            _bypass(model, add, mean.outputs[0])


def _flat_inputs(model: Any) -> None:
    """A RESHAPE to rows before a FULLY_CONNECTED, which takes as rows what lies one after the other by itself."""
    tensors, readers = model.subgraphs[0].tensors, _readers(model)
    for name, reshape in operators(model):
        chain = list(_followers(reshape, readers))[:1]
        if name != "RESHAPE" or [kind for kind, _ in chain] != ["FULLY_CONNECTED"]:
            continue
        ((_, linear),) = chain
        if linear.inputs[0] == reshape.outputs[0] and len(tensors[reshape.outputs[0]].shape) == 2:
            linear.builtinOptions.keepNumDims = False
            _bypass(model, reshape, reshape.inputs[0])


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


def _other_input(operator: Any, maker: Any) -> int:
    """What an operator of two inputs reads beside the result of `maker`."""
    (other,) = set(operator.inputs) - set(maker.outputs)
    return int(other)


def _constant(model: Any, index: int) -> np.ndarray | None:
    """The values of a constant `float32`, or None."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type != schema.TensorType.FLOAT32:
        return None
    return np.frombuffer(memoryview(data), np.float32).reshape(tensor.shape)


def _new_constant(model: Any, values: np.ndarray, like: Any) -> int:
    """Index of a new tensor, named after the site of an operator."""
    graph = model.subgraphs[0]
    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
    tensor.buffer, tensor.type = len(model.buffers), schema.TensorType.FLOAT32
    tensor.shape, tensor.name = np.array(values.shape, np.int32), graph.tensors[like.outputs[0]].name
    model.buffers.append(buffer)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _code(model: Any, builtin: int) -> int:
    """Index of an operator's code, which is added where the file has none."""
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


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
