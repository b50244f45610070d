"""Calibration and evaluation images that never overlap, whatever the user gives.

Two images are the same image when their preprocessed pixels are, so copies under other names count as one. Calibration
images are drawn first; evaluation leaves out every image with the content of one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflex_tflite.data.content import content_hash
from edgeflex_tflite.data.decoding import decode
from edgeflex_tflite.data.drawing import draw_balanced
from edgeflex_tflite.data.preprocess import Preprocessing
from edgeflex_tflite.data.sets import CalibrationSet, Data, EvaluationSet
from edgeflex_tflite.data.source import Source
from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def make_data(
    data: Source,
    calibration: Source | None,
    preprocessing: Preprocessing,
    *,
    calibration_samples: int,
    eval_samples: int | None,
    seed: int,
    batch_size: int = 32,
    workers: int = 0,
) -> Data:
    """Draw calibration and evaluation images that share no content.

    Every image of the evaluation set is decoded once here, to know its content, so a broken one is found before any
    long work. The same arguments give the same sets.

    Args:
        data: what is evaluated on, and calibrated on where `calibration` is None.
        calibration: another data set to calibrate on.
        preprocessing: what makes the images a model's input.
        calibration_samples: images to calibrate on: class-balanced as far as possible, and no two alike.
        eval_samples: images to evaluate on, class-balanced as far as possible; None takes all that are left.
        seed: decides which images are drawn.
        batch_size: images a batch of the evaluation set.
        workers: processes that decode evaluation images; 0 decodes in this one.

    Raises:
        UserError: there are fewer images than asked for, or one cannot be decoded.
    """
    drawn = draw_calibration(calibration or data, preprocessing, calibration_samples, seed)
    excluded = frozenset(drawn.hashes)
    return Data(drawn, draw_evaluation(data, preprocessing, excluded, eval_samples, seed, batch_size, workers))


def draw_evaluation(
    source: Source,
    preprocessing: Preprocessing,
    excluded: frozenset[str],
    samples: int | None,
    seed: int,
    batch_size: int = 32,
    workers: int = 0,
) -> EvaluationSet:
    """`samples` images of `source` whose contents are not in `excluded`; see `make_data`.

    Raises UserError where there are fewer, or where one cannot be decoded.
    """
    if samples is None:
        indices, hashes, left_out = _all_but(excluded, source, preprocessing, batch_size, workers)
    else:
        indices, hashes, left_out = _draw_but(excluded, source, preprocessing, samples, seed)
    wanted = 1 if samples is None else samples
    if len(indices) < wanted:
        raise UserError(
            f"{source.spec!r} has {len(indices)} images besides the {left_out} that calibration has, but evaluation "
            f"asks for {wanted}; ask for fewer, or calibrate on other data."
        )
    return EvaluationSet(source, preprocessing, indices, hashes, excluded, left_out, batch_size, workers)


def draw_calibration(source: Source, preprocessing: Preprocessing, samples: int, seed: int) -> CalibrationSet:
    """`samples` images of `source`, class-balanced as far as possible and no two alike.

    Raises UserError where there are fewer, or where one cannot be decoded.
    """
    import torch

    _check_positive("calibration", samples)
    drawn: dict[str, Tensor] = {}

    def is_new(index: int) -> bool:
        pixels = preprocessing.resize(source.image(index))
        content = content_hash(pixels)
        if content in drawn:
            return False
        drawn[content] = pixels
        return True

    indices = draw_balanced(source.labels, samples, seed, is_new)
    if len(indices) < samples:
        raise UserError(
            f"{source.spec!r} has {len(indices)} images that differ, but calibration asks for {samples}; ask for fewer."
        )
    pixels = torch.stack(list(drawn.values()))
    return CalibrationSet(source.name, indices, tuple(drawn), pixels, torch.from_numpy(source.labels[indices]))


_Drawn = tuple[NDArray[np.int64], tuple[str, ...], int]  # indices, their contents, how many were passed over


def _all_but(
    excluded: frozenset[str], source: Source, preprocessing: Preprocessing, batch_size: int, workers: int
) -> _Drawn:
    everything = range(len(source))
    batches = decode(source, preprocessing, everything, batch_size, workers)
    hashes = [content_hash(image) for pixels, _ in batches for image in pixels]
    kept = [index for index in everything if hashes[index] not in excluded]
    return np.array(kept, dtype=np.int64), tuple(hashes[index] for index in kept), len(source) - len(kept)


def _draw_but(
    excluded: frozenset[str], source: Source, preprocessing: Preprocessing, samples: int, seed: int
) -> _Drawn:
    _check_positive("evaluation", samples)
    hashes: list[str] = []

    def is_other(index: int) -> bool:
        hashes.append(content_hash(preprocessing.resize(source.image(index))))
        return hashes[-1] not in excluded

    indices = draw_balanced(source.labels, samples, seed, is_other)
    kept = tuple(content for content in hashes if content not in excluded)
    return indices, kept, len(hashes) - len(kept)


def _check_positive(purpose: str, samples: int) -> None:
    if samples < 1:
        raise UserError(f"{purpose} cannot work on {samples} images; ask for 1 or more.")
