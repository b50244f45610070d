"""Weights on the grid of the file, solved front to back: what is on the grid, what is not, and what it is good for."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import Dtype, Grid
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.quantize.awq import fold_, fold_targets, search
from edgeflex_tflite.quantize.rounding import levels, round_weight
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import Recipe
from tests.conftest import random_vit

PLAIN, GATED, POOLED = "vit_tiny_patch16_224", "vit_giant_patch14_dinov2", "vit_base_patch16_siglip_224"
NEAREST = Recipe(rounding="nearest", refit=False)
GPTQ_ALONE, REFIT_ALONE, BOTH = Recipe(refit=False), Recipe(rounding="nearest"), Recipe()


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"embed_dim": 24, "depth": 2} | options)))


def images(seed: int, count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def dtypes_of(edge: EdgeViT, linears: Dtype) -> dict[str, Dtype]:
    return {site: Dtype.FP32 if site == "patch_embed" else linears for site in weight_sites(edge)}


def rounded_by(
    edge: EdgeViT, dtypes: dict[str, Dtype], recipe: Recipe, count: int = 48, dynamic: bool = True
) -> EdgeViT:
    inputs = {site: per_token for site, dtype in dtypes.items() if dtype.is_integer and dynamic}
    return round_weights(edge, embed(edge, images(0, count).split(16)), dtypes, recipe, inputs)[0]


def as_the_file(edge: EdgeViT, sites: list[str]) -> EdgeViT:
    """A copy whose linears round what they read, as dynamic INT8 kernels do."""
    edge = copy.deepcopy(edge)
    for site in sites:
        edge.get_submodule(site).register_forward_pre_hook(lambda _, args: per_token(args[0]))
    return edge


def error_of(edge: EdgeViT, rounded: EdgeViT, seed: int = 1) -> float:
    """Of the logits of images that were not seen, over their variance."""
    with torch.no_grad():
        wanted, found = edge(images(seed, 64)), rounded(images(seed, 64))
    return ((found - wanted).square().mean() / wanted.var(0).mean()).item()


def integers_of(weight: Tensor, bits: int) -> Tensor | None:
    """The integers of every row with one step each, where there are such; by trying every count for the largest."""
    rows = []
    for row in weight.detach().double():
        steps = row.abs().max() / torch.arange(levels(bits), 0, -1).double()
        fits = [row / step for step in steps if ((row / step) - (row / step).round()).abs().max() < 1e-3]
        if row.any() and not fits:
            return None
        rows.append(fits[-1].round() if row.any() else row)
    return torch.stack(rows)


@pytest.mark.parametrize("recipe", [NEAREST, GPTQ_ALONE, REFIT_ALONE, BOTH])
@pytest.mark.parametrize(("dtype", "bits"), [(Dtype.INT4, 4), (Dtype.INT8, 8)])
def test_integer_sites_lie_on_a_grid_with_one_step_a_channel(recipe: Recipe, dtype: Dtype, bits: int) -> None:
    edge = edge_vit()
    dtypes = dtypes_of(edge, dtype)
    rounded = rounded_by(edge, dtypes, recipe)
    for site, linear in weight_sites(rounded).items():
        if dtypes[site].is_integer:
            assert integers_of(linear.weight, bits) is not None, site  # type: ignore[arg-type]
    assert integers_of(edge.head.weight, bits) is None


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_each_site_has_its_own_precision(name: str) -> None:
    edge = edge_vit(name)
    dtypes = dtypes_of(edge, Dtype.INT8) | {"blocks.0.mlp.fc1": Dtype.INT4, "blocks.1.attn.q": Dtype.FP32}
    dtypes |= {"blocks.0.attn.proj": Dtype.FP16, "head": Dtype.FP16}
    rounded, sites = round_weights(edge, embed(edge, [images(0, 32)]), dtypes, BOTH, {})
    assert {site.site: site.dtype for site in sites} == {s: d for s, d in dtypes.items() if d.is_integer}
    for site, linear in weight_sites(rounded).items():
        dtype = dtypes[site]
        found = integers_of(linear.weight.flatten(1), 8) is not None  # type: ignore[arg-type,operator]
        assert found is dtype.is_integer, site
    assert integers_of(rounded.blocks[0].mlp.fc1.weight, 4) is not None


def test_float_sites_keep_their_weights_without_refit() -> None:
    edge = edge_vit()
    dtypes = dtypes_of(edge, Dtype.INT8) | {"blocks.1.attn.q": Dtype.FP32, "blocks.0.mlp.fc2": Dtype.FP16}
    rounded = rounded_by(edge, dtypes, GPTQ_ALONE)
    for site in ("blocks.1.attn.q", "blocks.0.mlp.fc2"):
        assert torch.equal(rounded.get_submodule(site).weight, edge.get_submodule(site).weight)
    refitted = rounded_by(edge, dtypes, BOTH)
    assert not torch.equal(refitted.blocks[1].attn.q.weight, edge.blocks[1].attn.q.weight)
    assert torch.equal(refitted.patch_embed.weight, edge.patch_embed.weight)


def test_nearest_without_refit_is_plain_rounding() -> None:
    edge = edge_vit()
    rounded = rounded_by(edge, dtypes_of(edge, Dtype.INT4), NEAREST)
    for site, linear in weight_sites(edge).items():
        if isinstance(linear, nn.Linear):
            torch.testing.assert_close(
                rounded.get_submodule(site).weight, round_weight(linear.weight.double(), 4).float()
            )


def test_the_source_stays_and_the_result_is_plain() -> None:
    edge = edge_vit()
    before = copy.deepcopy(edge.state_dict())
    rounded = rounded_by(edge, dtypes_of(edge, Dtype.INT4), BOTH)
    assert all(torch.equal(value, before[key]) for key, value in edge.state_dict().items())
    assert {type(linear) for linear in weight_sites(rounded).values()} == {nn.Linear, nn.Conv2d}
    assert list(rounded.state_dict()) == list(before)


@pytest.mark.parametrize("recipe", [NEAREST, GPTQ_ALONE, BOTH])
def test_reported_errors_are_those_of_the_weights(recipe: Recipe) -> None:
    """Of the first linears, whose input nothing has changed: over the variance of their output, without bias."""
    edge = edge_vit()
    tokens = embed(edge, [images(0, 32)])
    rounded, sites = round_weights(edge, tokens, dtypes_of(edge, Dtype.INT4), recipe, {})
    x = edge.blocks[0].norm1(tokens[0]).flatten(0, 1).double()
    x = x - x.mean(0)
    weight = edge.blocks[0].attn.q.weight.double()

    def error(other: Tensor) -> float:
        return ((x @ (other.double() - weight).T).square().sum() / (x @ weight.T).square().sum()).item()

    assert sites[0].site == "blocks.0.attn.q"
    assert sites[0].plain_error == pytest.approx(error(round_weight(weight, 4)), rel=1e-2)
    assert sites[0].error == pytest.approx(error(rounded.blocks[0].attn.q.weight), rel=1e-2)
    assert (sites[0].error < sites[0].plain_error) is (recipe.rounding == "gptq")


@pytest.mark.parametrize("name", [PLAIN, GATED])
@pytest.mark.parametrize("dynamic", [True, False])
def test_int4_loses_less_than_plain_rounding_on_images_that_were_not_seen(name: str, dynamic: bool) -> None:
    edge = edge_vit(name, embed_dim=48, depth=3)
    dtypes = dtypes_of(edge, Dtype.INT4)
    errors = {}
    for title, recipe in (("nearest", NEAREST), ("gptq", GPTQ_ALONE), ("both", BOTH)):
        rounded = rounded_by(edge, dtypes, recipe, 128, dynamic)
        integer = [site for site, dtype in dtypes.items() if dtype.is_integer]
        errors[title] = error_of(edge, as_the_file(rounded, integer) if dynamic else rounded)
    assert errors["both"] < 0.5 * errors["nearest"]
    assert errors["gptq"] < errors["nearest"]


def with_outliers(edge: EdgeViT, factor: float = 300.0) -> EdgeViT:
    """The same function, where a few channels that linears read are `factor` times as large, as in trained models."""
    edge = copy.deepcopy(edge)
    for block in edge.blocks:
        for target in fold_targets(block):
            width = block.get_submodule(target.readers[0]).in_features
            scale = torch.ones(width)  # type: ignore[arg-type]
            scale[[1, 7, 12]] = 1 / factor
            fold_(block, target, scale)
    return edge


@pytest.mark.parametrize(("dtype", "bits"), [(Dtype.INT4, 4), (Dtype.INT8, 8)])
def test_planted_outliers(dtype: Dtype, bits: int) -> None:
    """Channels of huge activations: rounding to the nearest collapses; scales, GPTQ and refit together do not."""
    plain = edge_vit(embed_dim=48, depth=3)
    edge = with_outliers(plain)
    assert error_of(plain, edge) < 1e-6
    dtypes = dtypes_of(edge, dtype)
    integer = [site for site, found in dtypes.items() if found.is_integer]
    collapsed = as_the_file(rounded_by(edge, dtypes, NEAREST, 128), integer)
    scaled, _ = search(edge, embed(edge, [images(0, 64)]), dict.fromkeys(integer, Grid(bits)), True, 1024)
    ours = as_the_file(rounded_by(scaled, dtypes, BOTH, 128), integer)
    pixels = images(2, 128)
    with torch.no_grad():
        wanted = edge(pixels).argmax(1)
        agreement = [(model(pixels).argmax(1) == wanted).float().mean().item() for model in (collapsed, ours)]
    errors = [error_of(edge, model) for model in (collapsed, ours)]
    assert errors[1] < 0.1 * errors[0]
    assert agreement[1] > agreement[0] + 0.1
    assert agreement[1] > (0.9 if bits == 8 else 0.6)


def test_planted_outliers_with_inputs_in_float() -> None:
    """Weights alone, with what they read in float: less is lost of what the outlier channels carry."""
    edge = with_outliers(edge_vit(embed_dim=48, depth=3))
    dtypes = dtypes_of(edge, Dtype.INT4)
    errors = [error_of(edge, rounded_by(edge, dtypes, recipe, 128, dynamic=False)) for recipe in (NEAREST, BOTH)]
    assert errors[1] < 0.8 * errors[0]


def test_the_attention_pool_lies_on_the_grid_too() -> None:
    edge = edge_vit(POOLED, depth=1)
    rounded = rounded_by(edge, dtypes_of(edge, Dtype.INT8), BOTH)
    pool = [site for site, linear in weight_sites(rounded).items() if site.startswith("attention_pool")]
    assert pool
    assert all(integers_of(rounded.get_submodule(site).weight, 8) is not None for site in pool)  # type: ignore
