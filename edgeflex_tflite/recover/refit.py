"""Linears that answer, for what they read now, what is wanted of them: by their weights, or in the mean alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from edgeflex_tflite.models.tensors import linear
from edgeflex_tflite.recover.regression import Regression
from edgeflex_tflite.recover.walk import Stage


def fitted(stage: Stage, reader: nn.Linear) -> Tensor:
    """A weight for one of a stage's linears, by ridge regression drawn to its present one, `float64 [out, in]`."""
    weight = reader.weight.double()
    return weight @ stage.regression.restoring if stage.wants_input else stage.regression.refit(weight)


def bias_of(stage: Stage, reader: nn.Linear, weight: Tensor) -> Tensor:
    """The bias with which `weight` in the place of a linear's answers right in the mean, `float64 [out]`."""
    if not stage.wants_input:
        return stage.regression.bias(weight)
    wanted = reader.weight.double() @ stage.regression.wanted_mean + reader.bias.double()
    return wanted - weight @ stage.regression.inputs.mean


def refitted(regression: Regression, reader: nn.Linear) -> nn.Linear:
    """The linear that answers what a regression wants, drawn to one that is there."""
    weight = regression.refit(reader.weight.double())
    return linear(weight, regression.bias(weight))


def refit_(stage: Stage) -> None:
    """Replace the linears of a stage by refitted ones."""
    _replace_(stage, lambda reader: fitted(stage, reader))


def correct_biases_(stage: Stage) -> None:
    """Replace the linears of a stage by ones of the same weights, whose biases make them right in the mean."""
    _replace_(stage, lambda reader: reader.weight.double())


def _replace_(stage: Stage, changed: Callable[[nn.Linear], Tensor]) -> None:
    for path in stage.paths:
        old = stage.parent.get_submodule(path)
        assert isinstance(old, nn.Linear)
        weight = changed(old)
        stage.parent.set_submodule(path, linear(weight, bias_of(stage, old, weight)))
