"""The precisions that a written file really has, against the plan."""

from __future__ import annotations

import math
from pathlib import Path

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan, grid_of
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.flatbuffer import StoredWeight

TFLITE_TYPES = {Dtype.FP32: "FLOAT32", Dtype.FP16: "FLOAT16", Dtype.INT8: "INT8", Dtype.INT4: "INT4"}


def check_precisions(path: Path, plan: PrecisionPlan) -> dict[str, str]:
    """Read back the type of every site's weights, in every signature's graph.

    Returns:
        `{site: TFLite type name}`.

    Raises:
        VerificationError: a site is missing from the file, or its weights are not of the planned type, or integers
            without one scale for each output channel, or for each block that was planned.
    """
    content = flatbuffer.read(path)
    graphs = [flatbuffer.stored_weights(content, plan.weights, index) for index in range(len(content.subgraphs))]
    wrong = [problem for found in graphs for problem in _problems(found, plan)]
    if wrong:
        raise VerificationError(f"the file is not what was planned: {'; '.join(wrong[:5])} ({len(wrong)} sites)")
    return {site: graphs[0][site].dtype for site in plan.weights}


def _problems(found: dict[str, StoredWeight], plan: PrecisionPlan) -> list[str]:
    wrong = []
    for site, precision in plan.weights.items():
        if site not in found:
            wrong.append(f"{site} is not in the file")
            continue
        weight, inside = found[site], math.prod(found[site].shape[1:])
        if weight.dtype != TFLITE_TYPES[precision.dtype]:
            wrong.append(f"{site} should be {TFLITE_TYPES[precision.dtype]} and is {weight.dtype}")
        elif precision.dtype.is_integer:
            block = grid_of(precision.dtype, inside, plan.int4_block).block
            if weight.block != block:
                wrong.append(
                    f"{site} should have a scale for {block or inside} weights and has blocks of {weight.block}"
                )
            elif weight.scales < weight.shape[0] > 1:
                wrong.append(f"{site} has {weight.scales} scales for {weight.shape[0]} output channels")
    return wrong
