"""Linears that answer, for what they read now, what is wanted of them: by their weights, or in the mean alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.recover.walk import Stage

RELATIVE_RIDGE = 0.1
"""Of the mean variance of the input; less fits the calibration images and not the others."""


def refit_(stage: Stage) -> None:
    """Replace the linears of a stage by refitted ones."""
    _replace_(stage, lambda weight, reader: stage.regression.refit(weight, reader, RELATIVE_RIDGE))


def correct_biases_(stage: Stage) -> None:
    """Replace the linears of a stage by ones of the same weights, whose biases make them right in the mean."""
    _replace_(stage, lambda weight, reader: weight)


def _replace_(stage: Stage, changed: Callable[[Tensor, int], Tensor]) -> None:
    for reader, path in enumerate(stage.paths):
        old = stage.parent.get_submodule(path)
        assert isinstance(old, nn.Linear)
        weight = changed(old.weight.double(), reader)
        stage.parent.set_submodule(path, linear(weight, stage.regression.bias(weight, reader)))
