"""CIFAR-10 as tars of class folders, from the folder that EDGEFLEX_CIFAR10 names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgeflex_tflite.data import Preprocessing, Source, check_source, make_data, open_source

FOLDER = os.environ.get("EDGEFLEX_CIFAR10", "")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR = Preprocessing(32, 32, "bicubic", 1.0, "center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FOLDER, reason="EDGEFLEX_CIFAR10 does not name a folder with train.tar and test.tar"),
]


@pytest.fixture(scope="module")
def evaluated() -> Source:
    return open_source(str(Path(FOLDER) / "test.tar"))


def test_classes(evaluated: Source) -> None:
    assert evaluated.class_names == CLASSES
    assert len(set(np.bincount(evaluated.labels))) == 1
    check_source(evaluated, len(evaluated), 10)


def test_calibrating_on_the_training_tar(evaluated: Source) -> None:
    train = open_source(str(Path(FOLDER) / "train.tar"), "train")
    made = make_data(evaluated, train, CIFAR, calibration_samples=100, eval_samples=500, seed=0, workers=0)
    assert np.bincount(made.calibration.labels).tolist() == [10] * 10
    assert np.bincount(made.evaluation.labels).tolist() == [50] * 10
    assert sum(len(labels) for _, labels in made.evaluation) == 500


def test_all_that_calibration_leaves(evaluated: Source) -> None:
    made = make_data(evaluated, None, CIFAR, calibration_samples=64, eval_samples=None, seed=0, batch_size=250)
    assert len(made.evaluation) + made.evaluation.left_out == len(evaluated)
    assert made.evaluation.left_out >= 64
