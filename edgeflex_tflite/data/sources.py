"""From what the user wrote to a data set, and the checks that come before any long work."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeflex_tflite.data.source import Source
from edgeflex_tflite.data.splits import find_split
from edgeflex_tflite.errors import UserError

SUPPORTED = (
    "a folder or tar of class folders, an .npz, demo/train, demo/test, torch/<name>:<folder> or hfds/<name>[:<folder>]"
)
_ITERABLE_ONLY = ("tfds", "wds", "hfids")
_IMAGES_TO_TRY = 4


def open_source(spec: str, split: str = "validation", *, download: bool = False) -> Source:
    """The data set that `spec` names.

    Args:
        spec: a folder or a tar of class folders, or an `.npz`, named by its path alone; `demo/train` or `demo/test`
            (handwritten digits), or `demo` for the one that `split` means; `torch/<name>:<folder>` or
            `hfds/<name>[:<folder>]` for a data set that timm's dataset factory knows.
        split: `train`, `validation` or `test`, where the data set has splits. Synonyms count, and a test split stands
            in for a validation split that is not there.
        download: whether a data set that is not there may be fetched.

    Raises:
        UserError: there is no such data set, or it cannot be read.
    """
    prefix, _, rest = spec.partition("/")
    prefix = prefix.lower()
    if prefix == "demo" and rest in ("", "train", "test"):
        from edgeflex_tflite.data.arrays import DEMO_PARTS, open_demo

        return open_demo(rest or find_split(spec, DEMO_PARTS, split) or "test")
    if prefix in _ITERABLE_ONLY and rest:
        raise UserError(f"{spec!r} can only be read in order, but images are drawn by number: give {SUPPORTED}.")
    if prefix in ("torch", "hfds") and rest:
        from edgeflex_tflite.data.named import open_hfds, open_torch

        return (open_torch if prefix == "torch" else open_hfds)(spec, split, download)
    return _open_path(spec, split)


def _open_path(spec: str, split: str) -> Source:
    path = Path(spec)
    if not spec or not path.exists():
        raise UserError(f"there is no file, folder or known data set {spec!r}: give {SUPPORTED}.")
    if path.suffix.lower() == ".npz" and not path.is_dir():
        from edgeflex_tflite.data.arrays import open_npz

        return open_npz(spec)
    from edgeflex_tflite.data.folders import open_folder, open_tar

    try:
        return open_folder(spec, split) if path.is_dir() else open_tar(spec, split)
    except PermissionError as error:
        raise UserError(f"{spec!r} may not be read ({error}); give this user the right to.") from error


def check_labels(source: Source, num_classes: int) -> None:
    """Raises UserError where a label of `source` is no class of a model with `num_classes` classes.

    Where classes are known by name their number must be the model's: labels are places in the list of names, so a
    list that is shorter or longer gives other labels than the model was trained with.
    """
    wrong = np.flatnonzero((source.labels < 0) | (source.labels >= num_classes))
    if len(wrong):
        raise UserError(
            f"{source.spec!r}: image {wrong[0]} has label {source.label(wrong[0])}, but the model has {num_classes} "
            f"classes, 0 to {num_classes - 1}; give data with the model's classes."
        )
    if source.class_names is not None and len(source.class_names) != num_classes:
        raise UserError(
            f"{source.spec!r} has {len(source.class_names)} classes by name, but the model has {num_classes}, so "
            "labels would not be the model's; give data that names every class, or an .npz without names."
        )


def check_source(source: Source, needed: int, num_classes: int | None) -> None:
    """Cheap checks before any long work: enough images, labels that the model has, and first images that decode.

    Args:
        source: the data set.
        needed: how many images will be drawn from it.
        num_classes: classes of the model; None leaves labels unchecked, as for images that only calibrate.

    Raises:
        UserError: one of the checks fails.
    """
    if len(source) < max(needed, 1):
        raise UserError(f"{source.spec!r} has {len(source)} images, but {needed} are asked for; ask for fewer.")
    if num_classes is not None:
        check_labels(source, num_classes)
    for index in range(min(_IMAGES_TO_TRY, len(source))):
        source.image(index)
