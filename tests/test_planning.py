"""What a budget or a ratio makes of a model of the demo's size: by prediction, without writing a file."""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgeflex_tflite.artifacts import Dtype, InputSpec, MemoryCost, PrunePlan
from edgeflex_tflite.data import Preprocessing
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower.predict import block_bytes
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.planning import check_budget_holds, check_budget_possible, levers_of, plan_pruning
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import CHOICES, LEVERS, MEGABYTE, Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.run import Run
from tests.conftest import random_vit

HALF = (0.5, 0.5, 0.5)
PREPROCESSING = Preprocessing(32, 32, "bicubic", 1.0, "center", HALF, HALF)
OUTSIDE_BYTES = 100_000
"""Of embedding, head and norms, and of arena for activations: a plan leaves them alone, apart from FP16 sites."""
INTEGER_WEIGHTS = ("mixed", "int8_dynamic", "int4_dynamic", "int8_static", "int8_full")


@cache
def edge() -> EdgeViT:
    return to_edge_form(random_vit(embed_dim=96, depth=3))


def run_of(model: EdgeViT | None = None, images: int = 12, **options: Any) -> Run:
    """A run whose dense cost is that of its blocks and what is outside of them."""
    dense = model or edge()
    recipe = Recipe(**({"probe_samples": 6} | options))
    plan = plan_precision(recipe, weight_sites(dense), compute_sites(dense))
    blocks = [block_bytes(block, block.shape, f"blocks.{i}", plan) for i, block in enumerate(dense.blocks)]
    weights, arena = (sum(each) + OUTSIDE_BYTES for each in zip(*blocks, strict=True))
    cost = MemoryCost(weights, arena, weights, "none")
    generator = torch.Generator().manual_seed(0)
    calibration = SimpleNamespace(
        pixels=torch.randint(0, 256, (images, 3, 32, 32), generator=generator, dtype=torch.uint8),
        labels=torch.arange(images) % 10,
        source="noise",
    )
    return Run(
        source=dense, dense=dense, preprocessing=PREPROCESSING, recipe=recipe,
        spec=InputSpec("nhwc", "0-255", HALF, HALF, 32, 32), precisions=plan, dense_cost=cost, float_cost=cost,
        threads=1, data=SimpleNamespace(calibration=calibration), labels=(), console=Console(quiet=True),
    )  # type: ignore[arg-type]  # fmt: skip


def with_budget(share: float, **options: Any) -> Run:
    """A budget that leaves the blocks this share of what they take."""
    blocks = run_of(**options).dense_cost.total_bytes - 2 * OUTSIDE_BYTES
    return run_of(memory_budget_mb=(2 * OUTSIDE_BYTES + share * blocks) / MEGABYTE, **options)


def bytes_of(run: Run, plan: PrunePlan) -> int:
    """Of the blocks in their new shapes and precisions, and of what is outside of them; without the head's FP16."""
    lowered = run.precisions.lowered(plan.dtypes)
    shapes = [cut.shape or cut.width for cut in plan.cuts]
    pairs = enumerate(zip(run.dense.blocks, shapes, strict=True))
    inside = sum(sum(block_bytes(block, shape, f"blocks.{i}", lowered)) for i, (block, shape) in pairs)
    return inside + 2 * OUTSIDE_BYTES


def test_what_a_cut_saves_in_the_arena_it_saves_in_that_of_each_signature() -> None:
    saved = []
    for batch_sizes in ("1", "1,4,8"):
        run = run_of(precision="fp16", prune_ratio=0.5, allocation="uniform", batch_sizes=batch_sizes)
        plan, dense = plan_pruning(run), run.dense_cost
        saved.append(
            (dense.weights_bytes - plan.predicted_weights_bytes, dense.arena_bytes - plan.predicted_arena_bytes)
        )
    (weights, arena), several = saved
    assert arena > 0
    assert several == (weights, 3 * arena)


@pytest.mark.parametrize("precision", CHOICES["precision"])
@pytest.mark.parametrize("share", [0.95, 0.7, 0.5])
def test_a_budget_is_held_by_prediction(precision: str, share: float) -> None:
    run = with_budget(share, precision=precision)
    plan = plan_pruning(run)
    budget = run.recipe.memory_budget_bytes
    assert budget is not None and plan.predicted_bytes <= budget
    outside = [site for site in plan.dtypes if not site.startswith("blocks.")]
    assert outside or plan.predicted_bytes == bytes_of(run, plan)
    assert plan.predicted_divergence == pytest.approx(
        sum(cut.predicted_divergence or 0.0 for cut in plan.cuts), abs=1e-2 if outside else 1e-12
    )


@pytest.mark.parametrize("precision", ["mixed", "fp16", "int8_static"])
def test_a_smaller_budget_costs_more_and_takes_fewer_bytes(precision: str) -> None:
    plans = [plan_pruning(with_budget(share, precision=precision)) for share in (0.9, 0.7, 0.5)]
    losses = [plan.predicted_divergence for plan in plans]
    assert losses == sorted(losses) and losses[0] < losses[-1]  # type: ignore[type-var,operator]
    sizes = [plan.predicted_bytes for plan in plans]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("options", [{}, {"memory_budget_mb": 50.0}, {"prune_ratio": 0.0}])
def test_what_fits_already_stays_dense(options: dict[str, Any]) -> None:
    run = run_of(**options)
    plan = plan_pruning(run)
    assert not plan.is_cut and not plan.dtypes
    assert plan.predicted_bytes == run.dense_cost.total_bytes


def test_a_budget_of_just_what_the_dense_file_takes_cuts_nothing() -> None:
    assert not plan_pruning(with_budget(1.0)).is_cut


@pytest.mark.parametrize("share", [0.8, 0.5])
def test_uniform_allocation_cuts_equal_shares_of_neurons_alone(share: float) -> None:
    """To one step of a width."""
    plan = plan_pruning(with_budget(share, precision="int8_static", allocation="uniform"))
    assert max(plan.widths) - min(plan.widths) <= 16
    assert max(plan.widths) < 384 and not plan.dtypes
    assert all(cut.shape is None for cut in plan.cuts)
    assert all(cut.predicted_divergence is None and cut.predicted_error is None for cut in plan.cuts)
    assert plan.predicted_divergence is None


def test_uniform_allocation_cuts_the_same_share_of_blocks_of_other_widths() -> None:
    from edgeflex_tflite.prune.cut import with_widths

    plan = plan_pruning(run_of(with_widths(edge(), (384, 192, 96)), prune_ratio=0.5, allocation="uniform"))
    shares = [cut.width / cut.dense_width for cut in plan.cuts]
    assert max(shares) - min(shares) <= 16 / 96
    assert [cut.dense_width for cut in plan.cuts] == [384, 192, 96]


@pytest.mark.parametrize("allocation", CHOICES["allocation"])
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_a_ratio_counts_neurons(ratio: float, precision: str, allocation: str) -> None:
    plan = plan_pruning(run_of(prune_ratio=ratio, precision=precision, allocation=allocation))
    assert sum(plan.widths) == 3 * 384 * (1 - ratio)


@pytest.mark.parametrize("precision", CHOICES["precision"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.9])
def test_a_ratio_is_of_neurons_alone_and_reached_to_one_step(ratio: float, precision: str) -> None:
    plan = plan_pruning(run_of(prune_ratio=ratio, precision=precision))
    left = 3 * 384 * (1 - ratio)
    assert left - 32 < sum(plan.widths) <= left
    assert not plan.dtypes and all(cut.shape is None for cut in plan.cuts)


@pytest.mark.parametrize("precision", CHOICES["precision"])
def test_levers_that_the_precision_has(precision: str) -> None:
    run = run_of(precision=precision)
    found = {*levers_of(run.recipe, run.precisions)} - {"mlp", "heads", "qk", "v"}
    dynamic = {"int4"} if precision in ("mixed", "int8_dynamic", "int4_dynamic") else set()
    assert found == dynamic | ({"fp16"} if precision == "mixed" else set())


@pytest.mark.parametrize("precision", INTEGER_WEIGHTS)
def test_int4_only_where_activations_are_quantized_at_run_time(precision: str) -> None:
    plan = plan_pruning(with_budget(0.5, precision=precision))
    lowered = {site for site, dtype in plan.dtypes.items() if dtype is Dtype.INT4}
    assert bool(lowered) is (precision in ("mixed", "int8_dynamic"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8_static"])
def test_no_dtypes_where_no_lever_lowers_them(precision: str) -> None:
    assert not plan_pruning(with_budget(0.5, precision=precision)).dtypes


@pytest.mark.parametrize(
    ("levers", "changed"),
    [("mlp", "width"), ("heads", "num_heads"), ("qk", "key_dim"), ("v", "value_dim"), ("int4", "")],
)
def test_one_lever_alone(levers: str, changed: str) -> None:
    plan = plan_pruning(with_budget(0.95, precision="int8_dynamic", levers=levers))
    for name in ("width", "num_heads", "key_dim", "value_dim"):
        dense = getattr(edge().blocks[0].shape, name)
        found = [cut.width if name == "width" else getattr(cut.shape, name, dense) for cut in plan.cuts]
        assert (min(found) < dense) is (name == changed), name
    assert bool(plan.dtypes) is (levers == "int4")


@pytest.mark.parametrize("precision", ["mixed", "fp32", "int8_static"])
def test_whole_attentions_and_mlps_are_dropped_where_nothing_else_may_be_done(precision: str) -> None:
    run = with_budget(0.6, precision=precision, levers="branches")
    plan = plan_pruning(run)
    assert sum(plan.dropped) > 0 and not plan.dtypes
    assert plan.predicted_bytes == bytes_of(run, plan) <= run.recipe.memory_budget_bytes  # type: ignore[operator]
    assert set(plan.widths) <= {0, 384}
    assert plan.cuts[0].shape is None, "the first attention has no linear before it"


def test_nothing_is_dropped_that_the_budget_does_not_need() -> None:
    assert plan_pruning(with_budget(1.0, levers="branches")).dropped == (0, 0)
    assert plan_pruning(with_budget(0.9, levers=",".join(LEVERS))).dropped == (0, 0)


def test_sites_outside_of_blocks_become_int8() -> None:
    run = with_budget(0.99, levers="fp16")
    plan = plan_pruning(run)
    assert plan.dtypes and {*plan.dtypes} <= {"patch_embed", "head"}
    assert {*plan.dtypes.values()} == {Dtype.INT8}
    assert not plan.is_cut


def least_of(run: Run) -> float:
    with pytest.raises(UserError, match="is impossible for this model in precision") as refusal:
        check_budget_possible(run)
    found = re.search(r"the least is ([\d.]+) MB", str(refusal.value))
    assert found
    return float(found[1])


POSSIBLE = [
    {"precision": precision, "allocation": allocation}
    for precision in CHOICES["precision"]
    for allocation in CHOICES["allocation"]
] + [{"levers": levers} for levers in ("mlp", "heads,v", "int4,fp16", "branches", ",".join(LEVERS))]


@pytest.mark.parametrize("options", POSSIBLE)
def test_the_least_that_an_impossible_budget_is_told_works(options: dict[str, Any]) -> None:
    least = least_of(run_of(memory_budget_mb=0.01, **options))
    run = run_of(memory_budget_mb=least, **options)
    check_budget_possible(run)
    assert plan_pruning(run).predicted_bytes <= run.recipe.memory_budget_bytes  # type: ignore[operator]
    assert least_of(run_of(memory_budget_mb=least - 0.01, **options)) == least


def test_keys_behind_a_norm_do_not_count_as_possible() -> None:
    normed = to_edge_form(random_vit(embed_dim=96, depth=2, qk_norm=True))
    run = run_of(normed, memory_budget_mb=0.01, levers="qk")
    least = least_of(run)
    assert least == pytest.approx(run.dense_cost.total_bytes / MEGABYTE, abs=0.01)


def test_no_budget_is_always_possible() -> None:
    check_budget_possible(run_of())


@pytest.mark.parametrize(("weights", "holds"), [(600_000, True), (600_001, False)])
def test_the_written_file_holds_the_budget_to_the_byte(weights: int, holds: bool) -> None:
    run, cost = run_of(memory_budget_mb=1.0), MemoryCost(weights, 400_000, weights, "ADD (operator 3)")
    if holds:
        check_budget_holds(run, cost)
        return
    with pytest.raises(VerificationError, match=r"needs 1,000,001 bytes .* set by ADD \(operator 3\).*=0\.99"):
        check_budget_holds(run, cost)
