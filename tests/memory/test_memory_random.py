"""Random graphs: whatever the ops, sizes, readers and outputs, the plan is what the runtime allocates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_agreement import differences

from tests.tiny import Tiny

Draw = Callable[[st.SearchStrategy[int]], int]


class Growing:
    """A graph of matrices that grows op by op."""

    def __init__(self, draw: Draw) -> None:
        self.draw, self.t = draw, Tiny()
        self.inputs = [self.t.tensor(4, 6), self.t.tensor(6, 4)]
        self.known = list(self.inputs)

    def any(self) -> tuple[int, tuple[int, int]]:
        """One of the tensors, recent ones more often, and its shape."""
        back = self.draw(st.integers(1, min(len(self.known), 5)))
        index = self.known[-back]
        rows, columns = self.t.tensors[index].shape
        return index, (rows, columns)

    def new(self, rows: int, columns: int) -> int:
        self.known.append(self.t.tensor(rows, columns))
        return self.known[-1]

    def unary(self) -> None:
        source, shape = self.any()
        name = ("EXP", "RELU", "NEG")[self.draw(st.integers(0, 2))]
        self.t.op(name, [source], [self.new(*shape)])

    def softmax(self) -> None:
        source, shape = self.any()
        self.t.op("SOFTMAX", [source], [self.new(*shape)], table="SoftmaxOptions", beta=1.0)

    def binary(self) -> None:
        first, shape = self.any()
        same = [i for i in self.known if tuple(self.t.tensors[i].shape) == shape]
        second = same[self.draw(st.integers(0, len(same) - 1))]
        name = ("Add", "Sub", "Mul", "Div")[self.draw(st.integers(0, 3))]
        self.t.op(name.upper(), [first, second], [self.new(*shape)], table=f"{name}Options")

    def reshape(self) -> None:
        source, (rows, columns) = self.any()
        size = rows * columns
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape = divisors[self.draw(st.integers(0, len(divisors) - 1))]
        target = self.t.constant([shape, size // shape], "INT32")
        self.t.op("RESHAPE", [source, target], [self.new(shape, size // shape)], table="ReshapeOptions")

    def concatenate(self) -> None:
        source, (rows, columns) = self.any()
        self.t.op("CONCATENATION", [source, source], [self.new(2 * rows, columns)], table="ConcatenationOptions")

    def split(self) -> None:
        source, (rows, columns) = self.any()
        axis = self.t.constant(0, "INT32")
        parts = [self.new(1, columns) for _ in range(rows)]
        self.t.op("SPLIT", [axis, source], parts, table="SplitOptions", numSplits=rows)

    def mean(self) -> None:
        source, (rows, _) = self.any()
        axes = self.t.constant([1], "INT32")
        self.t.op("MEAN", [source, axes], [self.new(rows, 1)], table="ReducerOptions", keepDims=True)

    def dense(self) -> None:
        source, (rows, columns) = self.any()
        units = self.draw(st.integers(1, 9))
        weights = self.t.constant(np.zeros((units, columns)), "INT8", [0.5])
        options = {"table": "FullyConnectedOptions", "version": 9}
        self.t.op("FULLY_CONNECTED", [source, weights, -1], [self.new(rows, units)], **options)

    def product(self) -> None:
        source, (rows, _) = self.any()
        self.t.op("BATCH_MATMUL", [source, source], [self.new(rows, rows)], table="BatchMatMulOptions", adjY=True)

    STEPS = (unary, softmax, binary, reshape, concatenate, split, mean, dense, product)

    def grow(self, steps: int) -> bytes:
        for _ in range(steps):
            self.STEPS[self.draw(st.integers(0, len(self.STEPS) - 1))](self)
        made = self.known[len(self.inputs) :]
        outputs = {made[-1], made[self.draw(st.integers(0, len(made) - 1))]}
        return self.t.build(self.inputs, sorted(outputs))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_graph_is_planned_as_allocated(data: st.DataObject) -> None:
    content = Growing(data.draw).grow(data.draw(st.integers(1, 30)))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "random.tflite"
        path.write_bytes(content)
        assert differences(path) == []
