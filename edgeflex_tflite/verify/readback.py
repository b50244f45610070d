"""The precisions that a written file really has, against the plan."""

from __future__ import annotations

from pathlib import Path

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.lower import flatbuffer

TFLITE_TYPES = {Dtype.FP32: "FLOAT32", Dtype.FP16: "FLOAT16", Dtype.INT8: "INT8", Dtype.INT4: "INT4"}


def check_precisions(path: Path, plan: PrecisionPlan) -> dict[str, str]:
    """Read back the type of every site's weights, in every signature's graph.

    Returns:
        `{site: TFLite type name}`.

    Raises:
        VerificationError: a site is missing from the file, or its weights are not of the planned type, or integers
            without one scale for each output channel.
    """
    content = flatbuffer.read(path)
    graphs = [flatbuffer.weight_dtypes(content, plan.weights, index) for index in range(len(content.subgraphs))]
    wrong = [problem for found in graphs for problem in _problems(found, plan)]
    if wrong:
        raise VerificationError(f"the file is not what was planned: {'; '.join(wrong[:5])} ({len(wrong)} sites)")
    return {site: graphs[0][site][0] for site in plan.weights}


def _problems(found: dict[str, tuple[str, int, int]], plan: PrecisionPlan) -> list[str]:
    wrong = []
    for site, precision in plan.weights.items():
        if site not in found:
            wrong.append(f"{site} is not in the file")
        elif found[site][0] != TFLITE_TYPES[precision.dtype]:
            wrong.append(f"{site} should be {TFLITE_TYPES[precision.dtype]} and is {found[site][0]}")
        elif precision.dtype.is_integer and found[site][1] <= 1 < found[site][2]:
            wrong.append(f"{site} has one scale for {found[site][2]} output channels")
    return wrong
