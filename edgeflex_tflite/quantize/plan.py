"""Recipe -> precision of every site, with the reason for each."""

from __future__ import annotations

import re
from collections.abc import Iterable

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan, SitePrecision
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import Recipe

WEIGHTS_BY_PRECISION = {
    "fp32": (Dtype.FP32, "precision fp32 keeps all weights"),
    "fp16": (Dtype.FP16, "precision fp16 halves all weights"),
    "mixed": (Dtype.INT8, "a linear layer: INT8 halves its bytes again and computes in integers on CPUs"),
    "int8_dynamic": (Dtype.INT8, "precision int8_dynamic"),
    "int4_dynamic": (Dtype.INT4, "precision int4_dynamic"),
    "int8_static": (Dtype.INT8, "precision int8_static"),
    "int8_full": (Dtype.INT8, "precision int8_full"),
}
HALVES_IN = ("mixed", "int8_static")
"""Precisions in which `fp16_sites` keeps what shows first in the logits, with few weights, out of the integers."""
PATCH_EMBED = "patch_embed"
STREAM_SITES = r"norm|^blocks\.\d+$"
"""Norms, and the residual additions."""
ACTIVATIONS = {
    "mixed": "dynamic",
    "int8_dynamic": "dynamic",
    "int4_dynamic": "dynamic",
    "int8_static": "static",
    "int8_full": "static",
}


def plan_precision(recipe: Recipe, weights: Iterable[str], compute: Iterable[str]) -> PrecisionPlan:
    """Decide every site's precision.

    Args:
        recipe: gives `precision`, `fp16_sites`, `fp32_sites` and `stream`.
        weights: names of sites with a weight matrix or kernel.
        compute: names of the other sites.

    Raises:
        UserError: a regular expression of the recipe finds no site, or asks for what the precision cannot have.
    """
    weights, compute = list(weights), list(compute)
    activations = ACTIVATIONS.get(recipe.precision)
    _check_found(recipe, weights, compute, activations)
    base, reason = WEIGHTS_BY_PRECISION[recipe.precision]
    other = SitePrecision(base, reason) if activations == "static" else SitePrecision(Dtype.FP32, "computed in float")
    stream = _stream(recipe) if activations == "static" else {}
    of_weights = {site: _exception(recipe, site) or _whole_bytes(site, base, reason) for site in weights}
    of_compute = {site: _kept_in_fp32(recipe, site) or _matching(stream, site) or other for site in compute}
    any_integer = any(found.dtype.is_integer for found in [*of_weights.values(), *of_compute.values()])
    return PrecisionPlan(
        weights=of_weights,
        compute=of_compute,
        activations=activations if any_integer else None,
        integer_io=recipe.precision == "int8_full",
        int4_block=recipe.int4_block,
    )


def _stream(recipe: Recipe) -> dict[str, SitePrecision]:
    """Regular expressions over sites without weights, and what those sites are in; others compute in INT8."""
    stream = (
        {"int8_static": "fp32", "int8_full": "int8"}[recipe.precision] if recipe.stream == "auto" else recipe.stream
    )
    if stream == "fp32" and recipe.precision == "int8_full":
        raise UserError("stream is fp32 and precision int8_full: the one has floats inside, the other has not")
    if stream == "fp32":
        reason = "stream fp32: CPUs multiply integer activations with each other more slowly than floats"
        return {".*": SitePrecision(Dtype.FP32, reason)}
    if stream == "int16":
        reason = "stream int16: sums of many blocks, and their squares in a norm, do not fit 8 bits"
        return {STREAM_SITES: SitePrecision(Dtype.INT16, reason)}
    return {}


def _matching(found: dict[str, SitePrecision], site: str) -> SitePrecision | None:
    return next((precision for regex, precision in found.items() if re.search(regex, site)), None)


def _whole_bytes(site: str, base: Dtype, reason: str) -> SitePrecision:
    """A convolution has no INT4 kernel for activations that are quantized at run time."""
    if base is Dtype.INT4 and site == PATCH_EMBED:
        return SitePrecision(Dtype.INT8, "a convolution: INT4 is for linears")
    return SitePrecision(base, reason)


def _exception(recipe: Recipe, site: str) -> SitePrecision | None:
    kept = _kept_in_fp32(recipe, site)
    if kept is None and recipe.precision in HALVES_IN and recipe.fp16_sites and re.search(recipe.fp16_sites, site):
        return SitePrecision(
            Dtype.FP16, f"fp16_sites {recipe.fp16_sites!r}: little to save, and first to show in the logits"
        )
    return kept


def _kept_in_fp32(recipe: Recipe, site: str) -> SitePrecision | None:
    if recipe.fp32_sites and re.search(recipe.fp32_sites, site):
        return SitePrecision(Dtype.FP32, f"fp32_sites {recipe.fp32_sites!r}")
    return None


def _check_found(recipe: Recipe, weights: list[str], compute: list[str], activations: str | None) -> None:
    reachable = weights + compute if activations == "static" else weights
    default = Recipe().fp16_sites
    if recipe.fp16_sites not in ("", default) and recipe.precision not in HALVES_IN:
        raise UserError(
            f"fp16_sites has effect in precision {' and '.join(HALVES_IN)} alone, not in {recipe.precision}: leave it "
            "out"
        )
    if recipe.fp32_sites and recipe.precision == "int8_full" and re.search(recipe.fp32_sites, "model"):
        raise UserError(
            "fp32_sites finds the file's own input in precision int8_full: use int8_static, or narrow the expression"
        )
    for name, regex, sites in (
        ("fp16_sites", recipe.fp16_sites, weights),
        ("fp32_sites", recipe.fp32_sites, reachable),
    ):
        if regex and not any(re.search(regex, site) for site in sites):
            raise UserError(f"{name} {regex!r} finds no site: sites are named {', '.join(sites[:3])}, ..., {sites[-1]}")
