"""Every site has a precision and a reason, and an expression that finds nothing is an error."""

from __future__ import annotations

from typing import Any

import pytest

from edgeflex_tflite.artifacts import Dtype
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.quantize.plan import WEIGHTS_BY_PRECISION, plan_precision
from edgeflex_tflite.recipe import CHOICES, Recipe
from tests.conftest import random_vit

WEIGHTS = ["patch_embed", "blocks.0.attn.q", "blocks.0.mlp.fc1", "blocks.1.mlp.fc1", "head"]
COMPUTE = ["model", "blocks.0.norm1", "blocks.0.attn.softmax", "norm"]

DTYPES = [
    ("fp32", Dtype.FP32, Dtype.FP32, None, False),
    ("fp16", Dtype.FP16, Dtype.FP32, None, False),
    ("mixed", Dtype.INT8, Dtype.FP32, "dynamic", False),
    ("int8_dynamic", Dtype.INT8, Dtype.FP32, "dynamic", False),
    ("int4_dynamic", Dtype.INT4, Dtype.FP32, "dynamic", False),
    ("int8_static", Dtype.INT8, Dtype.FP32, "static", False),
    ("int8_full", Dtype.INT8, Dtype.INT8, "static", True),
]


@pytest.mark.parametrize(("precision", "weights", "compute", "activations", "integer_io"), DTYPES)
def test_precisions(precision: str, weights: Dtype, compute: Dtype, activations: str | None, integer_io: bool) -> None:
    plan = plan_precision(Recipe(precision=precision), WEIGHTS, COMPUTE)
    half = {"patch_embed": Dtype.FP16, "head": Dtype.FP16} if precision in ("mixed", "int8_static") else {}
    whole = {"patch_embed": Dtype.INT8} if precision == "int4_dynamic" else {}
    expected = dict.fromkeys(WEIGHTS, weights) | half | whole
    assert {site: found.dtype for site, found in plan.weights.items()} == expected
    assert {found.dtype for found in plan.compute.values()} == {compute}
    assert (plan.activations, plan.integer_io) == (activations, integer_io)


def test_every_precision_of_the_recipe_is_planned() -> None:
    assert [row[0] for row in DTYPES] == list(WEIGHTS_BY_PRECISION)
    assert set(WEIGHTS_BY_PRECISION) == set(CHOICES["precision"])


@pytest.mark.parametrize("precision", CHOICES["precision"])
@pytest.mark.parametrize("fp32_sites", ["", r"fc1$"])
def test_every_site_of_a_model_has_a_reason(precision: str, fp32_sites: str) -> None:
    edge = to_edge_form(random_vit("vit_base_patch16_siglip_224", depth=2))
    plan = plan_precision(Recipe(precision=precision, fp32_sites=fp32_sites), weight_sites(edge), compute_sites(edge))
    assert list(plan.weights) == list(weight_sites(edge))
    assert list(plan.compute) == list(compute_sites(edge))
    assert all(found.reason for found in [*plan.weights.values(), *plan.compute.values()])


def test_fp32_sites() -> None:
    plan = plan_precision(Recipe(fp32_sites=r"^blocks\.0\.|head"), WEIGHTS, COMPUTE)
    kept = {site for site, found in plan.weights.items() if found.dtype is Dtype.FP32}
    assert kept == {"blocks.0.attn.q", "blocks.0.mlp.fc1", "head"}
    assert plan.weights["head"].reason == "fp32_sites '^blocks\\\\.0\\\\.|head'"


def test_fp32_sites_keep_computation_too_where_it_is_integer() -> None:
    plan = plan_precision(
        Recipe(precision="int8_static", fp16_sites="", fp32_sites="softmax|norm", stream="int8"), WEIGHTS, COMPUTE
    )
    integer = {site for site, found in plan.compute.items() if found.dtype is Dtype.INT8}
    assert integer == {"model"}
    assert {found.dtype for found in plan.weights.values()} == {Dtype.INT8}


@pytest.mark.parametrize(("stream", "dtype"), [("fp32", Dtype.FP32), ("int16", Dtype.INT16), ("int8", Dtype.INT8)])
def test_the_stream_of_a_static_graph(stream: str, dtype: Dtype) -> None:
    plan = plan_precision(Recipe(precision="int8_static", stream=stream), WEIGHTS, [*COMPUTE, "blocks.0", "blocks.11"])
    for site, found in plan.compute.items():
        on_stream = "norm" in site or site in ("blocks.0", "blocks.11")
        assert found.dtype is (dtype if on_stream or stream == "fp32" else Dtype.INT8)


def test_a_whole_integer_file_has_no_float_stream() -> None:
    with pytest.raises(UserError, match="stream is fp32 and precision int8_full"):
        plan_precision(Recipe(precision="int8_full", stream="fp32"), WEIGHTS, COMPUTE)


def test_fp16_sites() -> None:
    plan = plan_precision(Recipe(fp16_sites=r"fc1$"), WEIGHTS, COMPUTE)
    half = {site for site, found in plan.weights.items() if found.dtype is Dtype.FP16}
    assert half == {"blocks.0.mlp.fc1", "blocks.1.mlp.fc1"}
    assert plan.weights["head"].dtype is Dtype.INT8
    assert "fp16_sites 'fc1$'" in plan.weights["blocks.0.mlp.fc1"].reason


def test_no_fp16_sites() -> None:
    plan = plan_precision(Recipe(fp16_sites=""), WEIGHTS, COMPUTE)
    assert {found.dtype for found in plan.weights.values()} == {Dtype.INT8}


def test_fp32_overrules_fp16() -> None:
    plan = plan_precision(Recipe(fp32_sites="head"), WEIGHTS, COMPUTE)
    assert (plan.weights["head"].dtype, plan.weights["patch_embed"].dtype) == (Dtype.FP32, Dtype.FP16)


@pytest.mark.parametrize("options", [{"fp16_sites": "."}, {"fp32_sites": "."}])
def test_no_integer_activations_without_an_integer_site(options: dict[str, Any]) -> None:
    assert plan_precision(Recipe(**options), WEIGHTS, COMPUTE).activations is None
    assert plan_precision(Recipe(), WEIGHTS, COMPUTE).activations == "dynamic"


REFUSED = [
    ({"fp32_sites": "fc9"}, r"fp32_sites 'fc9' finds no site: sites are named patch_embed, .*\.\.\., head"),
    ({"fp16_sites": "fc9"}, r"fp16_sites 'fc9' finds no site"),
    ({"fp32_sites": "softmax"}, r"fp32_sites 'softmax' finds no site"),
    ({"precision": "int8_static", "fp32_sites": "fc9"}, r"fp32_sites 'fc9' finds no site"),
    (
        {"precision": "int8_dynamic", "fp16_sites": "head"},
        "has effect in precision mixed and int8_static alone",
    ),
    ({"precision": "fp32", "fp16_sites": "head"}, "not in fp32: leave it out"),
    ({"precision": "int8_full", "fp32_sites": "."}, "fp32_sites finds the file's own input in precision int8_full"),
    ({"precision": "int8_full", "fp32_sites": "^model$"}, "use int8_static, or narrow the expression"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan_precision(Recipe(**options), WEIGHTS, COMPUTE)


@pytest.mark.parametrize("precision", [row[0] for row in DTYPES])
def test_no_fp16_sites_is_fine_in_every_precision(precision: str) -> None:
    plan = plan_precision(Recipe(precision=precision, fp16_sites="", stream="int8"), WEIGHTS, COMPUTE)
    assert len({found.dtype for site, found in plan.weights.items() if site != "patch_embed"}) == 1


def test_a_convolution_is_not_int4_and_says_why() -> None:
    plan = plan_precision(Recipe(precision="int4_dynamic"), WEIGHTS, COMPUTE)
    assert plan.weights["patch_embed"].reason == "a convolution: INT4 is for linears"
    kept = plan_precision(Recipe(precision="int4_dynamic", fp32_sites="patch_embed"), WEIGHTS, COMPUTE)
    assert kept.weights["patch_embed"].dtype is Dtype.FP32
