"""Linears that answer, for what they read now, what the dense model's answer."""

from __future__ import annotations

from torch import nn

from edgeflex_tflite.prune.cut import linear
from edgeflex_tflite.recover.regression import Regression

RELATIVE_RIDGE = 0.1
"""Of the mean variance of the input; less fits the calibration images and not the others."""


def refit_(parent: nn.Module, paths: tuple[str, ...], regression: Regression) -> None:
    """Replace the linears at `paths` of `parent`, which read the same input, by refitted ones."""
    for reader, path in enumerate(paths):
        old = parent.get_submodule(path)
        assert isinstance(old, nn.Linear)
        weight = regression.refit(old.weight.double(), reader, RELATIVE_RIDGE)
        parent.set_submodule(path, linear(weight, regression.bias(weight, reader)))
