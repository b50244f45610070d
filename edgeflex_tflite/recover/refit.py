"""Linears that answer, for what they read now, what the dense model's answer."""

from __future__ import annotations

from torch import nn

from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.recover.walk import Stage

RELATIVE_RIDGE = 0.1
"""Of the mean variance of the input; less fits the calibration images and not the others."""


def refit_(stage: Stage) -> None:
    """Replace the linears of a stage by refitted ones."""
    for reader, path in enumerate(stage.paths):
        old = stage.parent.get_submodule(path)
        assert isinstance(old, nn.Linear)
        weight = stage.regression.refit(old.weight.double(), reader, RELATIVE_RIDGE)
        stage.parent.set_submodule(path, linear(weight, stage.regression.bias(weight, reader)))
