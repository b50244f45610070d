"""What is done to the model: profiled, planned, pruned, quantized."""

from __future__ import annotations

from pathlib import Path

import torch

from edgeflex_tflite import files, serialize
from edgeflex_tflite.artifacts import (
    AwqGroup,
    BlockCut,
    PrunePlan,
    RoundedSite,
    grid_of,
    share_taken_off,
)
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.planning import levers_of, measure, plan_pruning
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.profiling.profile import profile
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.quantize.awq import search
from edgeflex_tflite.quantize.solve import per_token, round_weights
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.recover.kept import KeptBlocks
from edgeflex_tflite.run import Run

COSTS_FILE = "costs.pt"


def profile_step(run: Run, folder: Path) -> str:
    batches = run.console.progress(list(run.calibration_batches()), "profile")
    result = profile(run.dense, batches)
    files.write_json(folder / "profile.json", result)
    never = f"; never called: {', '.join(result.never_called)}" if result.never_called else ""
    return f"{len(result.sites)} sites on {result.images} images{never}"


def measure_step(run: Run, folder: Path) -> str:
    """What each single change costs, for plans of several budgets."""
    if run.recipe.allocation == "uniform":
        return "every neuron costs the same"
    costs = measure(run, levers_of(run.recipe, run.precisions))
    torch.save(costs, folder / COSTS_FILE)
    return f"{len(costs.sensitivities)} single changes"


def plan_step(run: Run, measured: Path | None, folder: Path) -> str:
    costs = None
    if measured is not None and (measured / COSTS_FILE).exists():
        costs = torch.load(measured / COSTS_FILE, weights_only=False)
    plan = plan_pruning(run, costs)
    files.write_json(folder / "plan.json", plan)
    cut = 1 - sum(plan.widths) / sum(run.dense_widths)
    fewer_bits = f", {len(plan.dtypes)} sites in fewer bits" if plan.dtypes else ""
    attentions, mlps = plan.dropped
    dropped = f", {attentions} attentions and {mlps} MLPs dropped" if attentions or mlps else ""
    return f"{cut:.1%} of MLP neurons to cut{dropped}{fewer_bits}, {plan.predicted_bytes / MEGABYTE:.2f} MB predicted"


def prune_step(run: Run, planned: Path, kept: Path, folder: Path) -> str:
    plan = files.read_json(planned / "plan.json", PrunePlan)
    model = run.dense
    if plan.is_cut:
        tokens, labels = run.calibration_tokens(augmented=True), run.calibration_labels(augmented=True)
        finished = KeptBlocks[BlockCut](kept, BlockCut)
        model, plan = prune(run.dense, tokens, plan, run.recipe, run.console.progress, labels, finished)
    serialize.write_model(folder / "model.safetensors", model)
    files.write_json(folder / "plan.json", plan)
    return "nothing to cut" if model is run.dense else f"widths {min(plan.widths)} to {max(plan.widths)}"


def was_pruned(pruned: Path) -> bool:
    return files.read_json(pruned / "plan.json", PrunePlan).is_cut


def quantize_step(run: Run, pruned: Path, kept: Path, folder: Path) -> str:
    model = serialize.read_model(pruned / "model.safetensors", run.dense)
    plan = run.precisions.lowered(files.read_json(pruned / "plan.json", PrunePlan).dtypes)
    plan = plan.of(weight_sites(model) | compute_sites(model))
    dtypes = {site: precision.dtype for site, precision in plan.weights.items()}
    integer = [site for site, dtype in dtypes.items() if dtype.is_integer]
    groups: list[AwqGroup] = []
    sites: list[RoundedSite] = []
    if run.recipe.awq and integer:
        tokens = embed(model, run.calibration_batches())
        dynamic = plan.activations == "dynamic"
        inside = {site: model.get_parameter(f"{site}.weight")[0].numel() for site in integer}
        grids = {site: grid_of(dtypes[site], inside[site], plan.int4_block) for site in integer}
        searched = KeptBlocks[list[AwqGroup]](kept / "awq", list[AwqGroup])
        model, groups = search(model, tokens, grids, dynamic, run.recipe.awq_tokens, run.console.progress, searched)
    if integer:
        tokens = embed(model, run.calibration_batches())
        round_input = dict.fromkeys(integer, per_token) if plan.activations == "dynamic" else {}
        rounded = KeptBlocks[list[RoundedSite]](kept / "rounded", list[RoundedSite])
        model, sites = round_weights(model, tokens, dtypes, run.recipe, round_input, run.console.progress, rounded)
    serialize.write_model(folder / "model.safetensors", model)
    files.write_json(folder / "precisions.json", plan)
    files.write_json(folder / "awq.json", groups, list[AwqGroup])
    files.write_json(folder / "rounding.json", sites, list[RoundedSite])
    if not integer:
        return "no site is an integer"
    return f"{len(integer)} integer sites, {share_taken_off(sites):.0%} off the error of plain rounding"


def was_rounded(scaled: Path) -> bool:
    return bool(files.read_json(scaled / "rounding.json", list[RoundedSite]))
