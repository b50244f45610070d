"""Data sets that are arrays in memory: an `.npz` file, and the demonstration digits that scikit-learn carries."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeflex_tflite.data.source import Source
from edgeflex_tflite.data.unreadable import one_line
from edgeflex_tflite.errors import UserError

NPZ_CONTENT = "an .npz holds images uint8 [N,H,W,3] or [N,H,W], labels int [N] and, if wanted, class_names [classes]"
DEMO_PARTS = ("train", "test")
DEMO_TRAIN_IMAGES = 1000
DEMO_LEVELS = 16


@dataclass(frozen=True, eq=False)
class ArraySource(Source):
    """Images in one array: `pixels` is uint8 `[N, H, W, 3]` or, for grey images, `[N, H, W]`."""

    pixels: NDArray[np.uint8]

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index]).convert("RGB")


def open_npz(spec: str) -> ArraySource:
    """The data set in an `.npz` file. Raises UserError where the file or one of its arrays is not as it should be."""
    arrays = _load_npz(spec)
    missing = [key for key in ("images", "labels") if key not in arrays]
    if missing:
        raise UserError(f"{spec!r} has no array {' and no array '.join(missing)}: {NPZ_CONTENT}; add what is missing.")
    images, labels, names = arrays["images"], arrays["labels"], arrays.get("class_names")
    problem = _images_problem(images) or _labels_problem(labels, images) or _names_problem(names, labels)
    if problem:
        raise UserError(f"{spec!r}: {problem}, but {NPZ_CONTENT}; write the file anew.")
    class_names = None if names is None else tuple(str(name) for name in names)
    return ArraySource(spec, Path(spec).stem, labels.astype(np.int64), class_names, images)


def _load_npz(spec: str) -> dict[str, NDArray]:
    try:
        with zipfile.ZipFile(spec), np.load(spec, allow_pickle=False) as file:  # numpy alone would take an .npy as well
            return {key: file[key] for key in ("images", "labels", "class_names") if key in file}
    except Exception as error:  # zipfile, its decompressors and numpy raise a dozen kinds on damaged bytes
        raise UserError(
            f"{spec!r} cannot be read as .npz ({one_line(error)}): {NPZ_CONTENT}; write the file anew."
        ) from error


def _images_problem(images: NDArray) -> str | None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        return f"images is {images.dtype} {list(images.shape)}"
    if 0 in images.shape:
        return f"images is empty, {list(images.shape)}"
    return None


def _labels_problem(labels: NDArray, images: NDArray) -> str | None:
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        return f"labels is {labels.dtype} {list(labels.shape)} for {len(images)} images"
    if labels.min() < 0:
        return f"labels holds {labels.min()}"
    return None


def _names_problem(names: NDArray | None, labels: NDArray) -> str | None:
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1:
        return f"class_names is {names.dtype} {list(names.shape)}, not strings [classes]"
    if labels.max() >= len(names):
        return f"labels goes up to {labels.max()} while class_names has {len(names)} names"
    return None


def open_demo(part: str) -> ArraySource:
    """One part of scikit-learn's 1,797 handwritten digits: `train` (1,000 images) or `test` (797).

    The digits are 8x8 with 16 grey levels, here stretched to 0..255. The division is stratified and always the same.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    parts = train_test_split(
        np.arange(len(digits.target)), train_size=DEMO_TRAIN_IMAGES, stratify=digits.target, random_state=0
    )
    chosen = np.sort(parts[DEMO_PARTS.index(part)])
    pixels = np.rint(digits.images[chosen] * (255 / DEMO_LEVELS)).astype(np.uint8)
    labels = digits.target[chosen].astype(np.int64)
    return ArraySource(f"demo/{part}", f"demo/{part}", labels, tuple(str(name) for name in digits.target_names), pixels)
