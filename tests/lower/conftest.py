"""One small file in every precision, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import InputSpec, PrecisionPlan
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import Recipe
from tests.conftest import random_vit

SPEC = InputSpec("nhwc", "0-255", (0.48, 0.45, 0.4), (0.22, 0.23, 0.24), 32, 32)


@pytest.fixture(scope="session")
def edge() -> EdgeViT:
    return to_edge_form(random_vit())


@pytest.fixture(scope="session")
def images() -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), dtype=np.uint8))


@pytest.fixture(scope="session")
def float_file(edge: EdgeViT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("float") / "float.tflite"
    export_float(edge, SPEC, path)
    return path


@pytest.fixture(scope="session")
def integer_form_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is quantized between the linears too."""
    path = tmp_path_factory.mktemp("float") / "integer_form.tflite"
    export_float(to_edge_form(random_vit(), Recipe(precision="int8_full").rewrites), SPEC, path)
    return path


def plan_for(edge: EdgeViT, precision: str, **changes: str) -> PrecisionPlan:
    return plan_precision(Recipe(precision=precision, **changes), weight_sites(edge), compute_sites(edge))


@pytest.fixture(scope="session")
def files(
    edge: EdgeViT,
    float_file: Path,
    integer_form_file: Path,
    images: list[NDArray[np.uint8]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Path, PrecisionPlan]]:
    """`{precision: (file, its plan)}`."""
    folder = tmp_path_factory.mktemp("precisions")
    inputs = [image.transpose(1, 2, 0)[None].astype(np.float32) for image in images]
    made = {}
    for precision in ("mixed", "fp16", "int8_dynamic", "int8_static", "int8_full"):
        plan = plan_for(edge, precision)
        source = integer_form_file if precision == "int8_full" else float_file
        quantize_file(source, folder / f"{precision}.tflite", plan, inputs, threads=1)
        made[precision] = (folder / f"{precision}.tflite", plan)
    return made
