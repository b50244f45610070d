"""What a run refuses before its first stage."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.run import Run


def refusal(recipe: Recipe, labels: list[int]) -> str:
    """Of a model with three classes and calibration images of the given ones; a design as far as `Run.of` reads it."""
    design: Any = SimpleNamespace(dense=SimpleNamespace(head=SimpleNamespace(out_features=3)), recipe=recipe)
    calibration = SimpleNamespace(labels=torch.tensor(labels), source="photos")
    data: Any = SimpleNamespace(calibration=calibration)
    try:
        Run.of(design, data, ("a", "b", "c"), Console(quiet=True))
    except UserError as error:
        return str(error)
    except TypeError:
        return ""  # the design has no more to make a run of
    raise AssertionError("a run was made")


@pytest.mark.parametrize("score", ["taylor", "hessian"])
@pytest.mark.parametrize("labels", [[0, 1, 3], [0, -1, 2]])
def test_scores_from_the_loss_need_the_models_classes(score: str, labels: list[int]) -> None:
    said = refusal(Recipe(prune_score=score), labels)
    assert said.startswith(f"prune_score {score} needs the class of every calibration image, 0 to 2, and photos has")


def test_labels_that_fit_or_that_nobody_reads() -> None:
    assert refusal(Recipe(prune_score="taylor"), [0, 1, 2]) == ""
    assert refusal(Recipe(prune_score="obs"), [7, -1]) == ""
