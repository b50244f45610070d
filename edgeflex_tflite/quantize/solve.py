"""Rounding the weights of a whole model, front to back: each linear is solved for what the float model answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import Dtype, Grid, RoundedSite, grid_of
from edgeflex_tflite.models.edge import Block, EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.tensors import frozen, twin
from edgeflex_tflite.profiling.blocks import Progress, Tokens, no_progress
from edgeflex_tflite.quantize.gptq import Curvature, gptq
from edgeflex_tflite.quantize.rounding import round_activation, round_weight
from edgeflex_tflite.quantize.simulate import RoundedLinear, RoundInput
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.kept import KeptBlocks
from edgeflex_tflite.recover.refit import bias_of, fitted
from edgeflex_tflite.recover.walk import Stage, walk
from edgeflex_tflite.symmetric import quadratic


def round_weights(
    model: EdgeViT,
    tokens: Tokens,
    dtypes: Mapping[str, Dtype],
    recipe: Recipe,
    round_input: Mapping[str, RoundInput],
    progress: Progress = no_progress,
    kept: KeptBlocks[list[RoundedSite]] | None = None,
) -> tuple[EdgeViT, list[RoundedSite]]:
    """Put every linear that becomes an integer on the grid that the file stores.

    Args:
        model: float; it is not changed.
        tokens: residual stream of the calibration images before the first block.
        dtypes: of every site with weights.
        recipe: gives `rounding` (`gptq` or `nearest`), `int4_block` and `refit` (solve each linear, integer or not,
            for the float model's answer, given what it reads behind the layers that are rounded already).
        round_input: what the file does to the input of a site before it is multiplied.
        kept: blocks that a run before has rounded.

    Returns:
        A new model whose integer linears hold values on their grid, in float; and what rounding costs at each of them.
        Linears outside of the blocks but the head, those of attention pooling, are rounded to the nearest.
    """
    rounded, kept = twin(model), kept or KeptBlocks(None, list[RoundedSite])
    for site, linear in weight_sites(rounded).items():
        if isinstance(linear, nn.Linear) and site in round_input:
            rounded.set_submodule(site, RoundedLinear(linear, round_input[site]))
    found: list[RoundedSite] = []

    def treat(stage: Stage) -> None:
        rounding = _Rounding(stage, recipe)
        for path, site in zip(stage.paths, stage.sites, strict=True):
            linear = stage.parent.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            best = chosen = fitted(stage, linear) if recipe.refit else linear.weight.double()
            if dtypes[site].is_integer:
                grid = grid_of(dtypes[site], linear.in_features, recipe.int4_block)
                chosen, cost = rounding.round(best, grid)
                found.append(RoundedSite(site, dtypes[site], *cost, grid.block))
            if recipe.refit:
                linear.bias = frozen(bias_of(stage, linear, chosen).float())
            linear.weight = frozen(chosen.float())

    def restore(index: int) -> Block | None:
        before = kept.restore(index, rounded.blocks[index])
        if before is None:
            return None
        block, sites = before
        found.extend(sites)
        return block

    def finished(index: int) -> None:
        sites = [each for each in found if each.site.startswith(f"blocks.{index}.")]
        rounded.blocks[index] = kept.keep(index, rounded.blocks[index], sites)

    fits = recipe.refit
    walk(model, rounded, tokens, treat, progress, "round weights", restore=restore, finished=finished, compare=fits)
    solved = {each.site for each in found}
    for site, module in weight_sites(rounded).items():
        linear = module.plain() if isinstance(module, RoundedLinear) else module
        rounded.set_submodule(site, linear)
        if isinstance(linear, nn.Linear) and dtypes[site].is_integer and site not in solved:
            grid = grid_of(dtypes[site], linear.in_features, recipe.int4_block)
            linear.weight = frozen(round_weight(linear.weight.double(), *grid).float())
    return rounded, found


class _Rounding:
    """Rounds the linears of a stage; what their input alone decides is computed once.

    Args:
        stage: gives the moments of the input.
        recipe: gives `rounding`, and by `refit` what an error is: where the bias takes the mean, the rest of it.
    """

    def __init__(self, stage: Stage, recipe: Recipe) -> None:
        self._stage, self._recipe = stage, recipe

    @cached_property
    def _hessian(self) -> Tensor:
        inputs = self._stage.regression.inputs
        return inputs.covariance if self._recipe.refit else inputs.second

    @cached_property
    def _curvature(self) -> Curvature:
        return Curvature.of(self._hessian)

    @cached_property
    def _single(self) -> Tensor:
        return self._hessian.float()

    def round(self, weight: Tensor, grid: Grid) -> tuple[Tensor, tuple[float, float]]:
        """The rounded weight, and the relative error of its output: by plain rounding, and as it was rounded."""
        plain = round_weight(weight, *grid)
        chosen = gptq(weight, self._curvature, *grid) if self._recipe.rounding == "gptq" else plain
        scale = self._square(weight)
        return chosen, (self._square(plain - weight) / scale, self._square(chosen - weight) / scale)

    def _square(self, weight: Tensor) -> float:
        """Mean squared output of a linear, in float32; at least a denominator."""
        return max(quadratic(weight.float(), self._single).sum().item(), torch.finfo(torch.float32).tiny)


def per_token(x: Tensor) -> Tensor:
    """What a kernel that quantizes activations at run time does to them."""
    return round_activation(x, per_token=True)
