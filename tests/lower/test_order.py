"""The order of the written operators: no other one has TFLite plan a smaller arena."""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflex_tflite.artifacts import WHOLE, Chunks, InputSpec
from edgeflex_tflite.graph import Graph
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.memory.control import adapt_callees
from edgeflex_tflite.memory.planner import plan_graph
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.parse import load_graphs
from tests.conftest import random_vit

ORDERS = 60
SPEC = InputSpec("nhwc", "0-255", (0.5,) * 3, (0.5,) * 3, 224, 224)


def other_orders(graph: Graph, count: int) -> Iterator[Graph]:
    """The same operators in orders that their inputs allow, some near to the written one and some far from it.

    An ADD reads its inputs in either order too, since its result may lie in the place of the first.
    """
    makers = {output: op.index for op in graph.ops for output in op.outputs}
    needs = [{makers[tensor] for tensor in op.inputs if tensor in makers} for op in graph.ops]
    draw = random.Random(0)
    for spread in itertools.islice(itertools.cycle((2, 5, 12, len(graph.ops))), count):
        wanted = [index + draw.uniform(0, spread) for index in range(len(graph.ops))]
        left = [set(each) for each in needs]
        ready = [(wanted[index], index) for index, each in enumerate(left) if not each]
        ops = []
        while ready:
            _, index = heapq.heappop(ready)
            op = dataclasses.replace(graph.ops[index], index=len(ops))
            if op.name == "ADD" and draw.random() < 0.3:
                op = dataclasses.replace(op, inputs=op.inputs[::-1])
            ops.append(op)
            for reader, each in enumerate(left):
                if index in each:
                    each.remove(index)
                    if not each:
                        heapq.heappush(ready, (wanted[reader], reader))
        yield dataclasses.replace(graph, ops=tuple(ops))


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [WHOLE, Chunks(attention=3, mlp=4)], ids=["whole", "in pieces"])
def test_no_other_order_needs_a_smaller_arena(chunks: Chunks, tmp_path: Path) -> None:
    """Neither as TFLite places the tensors, nor in the sum of those that are alive at the peak."""
    model = to_edge_form(random_vit(img_size=224, patch_size=16, embed_dim=192, depth=2))
    export_float(model, SPEC, tmp_path / "float.tflite", chunks)
    (graph,) = adapt_callees(load_graphs(tmp_path / "float.tflite"))
    written = plan_graph([graph])
    others = [plan_graph([other]) for other in other_orders(graph, ORDERS)]
    assert len({plan.timeline_bytes for plan in others}) > ORDERS / 2
    assert min(plan.peak_bytes for plan in others) >= written.peak_bytes
    assert min(plan.lower_bound_bytes for plan in others) >= written.lower_bound_bytes
    if chunks != WHOLE:  # a whole block's peak is at one operator, whatever runs before it
        assert max(plan.lower_bound_bytes for plan in others) > written.lower_bound_bytes
