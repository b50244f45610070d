"""Options of every part: their bytes are those of the blocks that they stand for."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
from torch import nn

from edgeflex_tflite.artifacts import Dtype, PrecisionPlan
from edgeflex_tflite.budget.allocate import Option
from edgeflex_tflite.budget.curves import level_curve
from edgeflex_tflite.budget.measure import BlockCosts, Costs, nothing_measured
from edgeflex_tflite.budget.parts import parts_of
from edgeflex_tflite.lower.predict import block_bytes
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import LEVERS, Recipe
from tests.conftest import random_vit

GATED = "vit_giant_patch14_dinov2"
PLAIN = "vit_tiny_patch16_224"
PRECISIONS = ("mixed", "fp16", "fp32", "int8_dynamic", "int8_static")


def edge_vit(name: str = PLAIN) -> EdgeViT:
    return to_edge_form(random_vit(name, embed_dim=24, depth=2))


def plan_of(edge: EdgeViT, precision: str, **changes: Any) -> PrecisionPlan:
    return plan_precision(Recipe(precision=precision, **changes), weight_sites(edge), compute_sites(edge))


def free(edge: EdgeViT, levers: tuple[str, ...] = LEVERS) -> list[BlockCosts]:
    return [nothing_measured(block, index, levers, 4) for index, block in enumerate(edge.blocks)]


def bytes_of_norm(norm: nn.Module) -> int:
    return 4 * sum(parameter.numel() for parameter in norm.parameters())


@pytest.mark.parametrize("name", [PLAIN, GATED])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_are_those_of_the_block(name: str, precision: str) -> None:
    """What an option saves against the first one is what `block_bytes` says of the shape in these precisions."""
    edge = edge_vit(name)
    plan = plan_of(edge, precision)
    parts = parts_of(edge, plan, Costs(tuple(free(edge)), {}), 4)
    assert len(parts) == 4
    for number, options in enumerate(parts):
        index = number // 2
        block = edge.blocks[index]
        dense = sum(block_bytes(block, block.shape, f"blocks.{index}", plan))
        for option in options[:: max(1, len(options) // 60)]:
            shape = dataclasses.replace(block.shape, **option.sizes)
            smaller = sum(block_bytes(block, shape, f"blocks.{index}", plan.lowered(option.dtypes)))
            norms = [block.norm1] * (not shape.num_heads) + [block.norm2] * (not shape.width)
            assert options[0].bytes - option.bytes == dense - smaller - sum(map(bytes_of_norm, norms))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_signature_keeps_bytes_of_its_own(precision: str) -> None:
    """Weights are shared; what stays in the arena is not."""
    edge = edge_vit()
    plan, costs = plan_of(edge, precision), Costs(tuple(free(edge)), {})
    one, three = (parts_of(edge, plan, costs, 4, signatures) for signatures in (1, 3))
    for index, block in enumerate(edge.blocks):
        _, kept = block_bytes(block, block.shape, f"blocks.{index}", plan)
        dense = [sum(parts[2 * index + part][0].bytes for part in (0, 1)) for parts in (one, three)]
        assert dense[1] - dense[0] == 2 * kept


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_the_first_option_is_the_dense_one(name: str) -> None:
    edge = edge_vit(name)
    for number, options in enumerate(
        parts_of(edge, plan_of(edge, "mixed"), Costs(tuple(free(edge)), {"head": 0.5}), 4)
    ):
        dense, *others = options
        assert dense.divergence == 0 and not dense.dtypes
        shape = edge.blocks[0].shape
        assert dataclasses.replace(shape, **dense.sizes) == shape
        assert all(option.bytes <= dense.bytes for option in others), number


def test_parts_together_are_the_linears_of_the_model() -> None:
    """Blocks in FP32 hold their linears, and norms, which no option changes."""
    edge = edge_vit(GATED)
    parts = parts_of(edge, plan_of(edge, "fp32"), Costs(tuple(free(edge)), {}), 4)
    linears = sum(p.numel() for name, p in edge.blocks.named_parameters() if ".norm" not in name)
    assert sum(options[0].bytes for options in parts) == 4 * linears


def test_every_combination_is_offered_once() -> None:
    edge = edge_vit()
    mlp, attention, _, second = parts_of(edge, plan_of(edge, "mixed"), Costs(tuple(free(edge)), {}), 4)
    found = [(*o.sizes.items(), *o.dtypes) for o in mlp]
    assert len(mlp) == len({*found}) == 96 // 4 * 2**2 + 1
    shapes = {(*o.sizes.items(), *o.dtypes) for o in attention}
    assert len(attention) == len(shapes) == 3 * 2 * 2 * 2**2
    assert len(second) == len(attention) + 1, "the first attention has nothing before it that could take over"


def test_divergences_add_up() -> None:
    edge = edge_vit()
    sizes = {"num_heads": {2: 1.0, 1: 2.0}, "key_dim": {4: 10.0}, "value_dim": {4: 100.0}}
    int4 = {("attn.q", "attn.k", "attn.v"): 1000.0, ("attn.proj",): 1e4, ("mlp.fc1",): 3.0, ("mlp.fc2",): 50.0}
    costs = [BlockCosts(level_curve(96), sizes, int4)] * 2
    mlp, attention = parts_of(edge, plan_of(edge, "mixed"), Costs(tuple(costs), {}), 4)[:2]
    expected = {sum(each) for each in itertools.product((0, 1, 2), (0, 10), (0, 100), (0, 1000), (0, 1e4))}
    assert {option.divergence for option in attention} == expected
    for option in attention:
        heads, keys, values = (option.sizes.get(name) for name in ("num_heads", "key_dim", "value_dim"))
        loss = {None: 0, 2: 1, 1: 2}[heads] + (10 if keys else 0) + (100 if values else 0)
        loss += 1000 * ("blocks.0.attn.q" in option.dtypes) + 1e4 * ("blocks.0.attn.proj" in option.dtypes)
        assert option.divergence == loss
    for option in mlp:
        extra = 3 * ("blocks.0.mlp.fc1" in option.dtypes) + 50 * ("blocks.0.mlp.fc2" in option.dtypes)
        assert option.divergence == pytest.approx((96 - option.sizes["width"]) ** 2 / 96 + extra)


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_linears_become_int4_together_with_those_that_read_the_same(name: str) -> None:
    edge = edge_vit(name)
    gate = ["mlp.gate"] if name == GATED else []
    for number, options in enumerate(parts_of(edge, plan_of(edge, "mixed"), Costs(tuple(free(edge)), {}), 4)):
        groups = [["attn.q", "attn.k", "attn.v"], ["attn.proj"]] if number % 2 else [["mlp.fc1", *gate], ["mlp.fc2"]]
        for option in options:
            assert {*option.dtypes.values()} <= {Dtype.INT4}
            for group in groups:
                assert len({f"blocks.{number // 2}.{path}" in option.dtypes for path in group}) == 1
            named = {f"blocks.{number // 2}.{path}" for group in groups for path in group}
            assert {*option.dtypes} <= named


def test_widths_are_multiples_or_the_dense_one() -> None:
    edge = to_edge_form(random_vit(embed_dim=24, depth=1, mlp_ratio=35 / 24))
    mlp = parts_of(edge, plan_of(edge, "mixed"), Costs((nothing_measured(edge.blocks[0], 0, ("mlp",), 16),), {}), 16)[0]
    assert [option.sizes["width"] for option in mlp] == [edge.blocks[0].mlp.width, 32, 16]


def test_nothing_but_the_dense_options_without_levers() -> None:
    edge = edge_vit()
    assert [
        len(options) for options in parts_of(edge, plan_of(edge, "mixed"), Costs(tuple(free(edge, ())), {}), 4)
    ] == [1] * 4


def test_sites_outside_of_blocks() -> None:
    """FP16 weights are expanded in the arena; INT8 ones keep a row sum; both have FP32 biases."""
    edge = edge_vit()
    patch, head = parts_of(
        edge, plan_of(edge, "mixed"), Costs(tuple(free(edge)), {"patch_embed": 0.25, "head": 0.5}), 4
    )[4:]
    assert head == [
        Option(2 * 240 + 4 * 10 + 4 * 240, 0.0),
        Option(240 + 4 * 10 + 64, 0.5, dtypes={"head": Dtype.INT8}),
    ]
    assert patch[1].dtypes == {"patch_embed": Dtype.INT8} and patch[1].divergence == 0.25
    assert patch[0].bytes == 24 * 192 * 6 + 4 * 24


@pytest.mark.parametrize("sites", [r"mlp\.fc2$", r"attn\.k$"])
def test_sites_kept_in_fp32_stay(sites: str) -> None:
    edge = edge_vit()
    parts = parts_of(edge, plan_of(edge, "mixed", fp32_sites=sites), Costs(tuple(free(edge)), {}), 4)
    kept = {f"blocks.{i}.{p}" for i in (0, 1) for p in ("mlp.fc2", "attn.k") if p in sites.replace("\\", "")}
    assert kept and not any(kept & {*option.dtypes} for options in parts for option in options)
