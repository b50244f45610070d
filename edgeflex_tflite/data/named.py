"""Data sets that timm's dataset factory names by a prefix: torchvision's and Hugging Face's."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgeflex_tflite.data.source import Source
from edgeflex_tflite.data.splits import find_split
from edgeflex_tflite.data.unreadable import naming_image, one_line
from edgeflex_tflite.errors import UserError


@dataclass(frozen=True, eq=False)
class NamedSource(Source):
    """Images from a data set whose items hold a decoded image under `key`."""

    dataset: Any
    key: int | str

    def image(self, index: int) -> Image.Image:
        with naming_image(self.spec, f"number {index}"):
            return self.dataset[index][self.key].convert("RGB")


def open_torch(spec: str, split: str, download: bool) -> Source:
    """One of torchvision's data sets by timm's name for it, `torch/<name>:<folder>`.

    Raises UserError where the name is not known, the data is not in the folder, or would have to be unpacked there.
    """
    from timm.data import create_dataset

    name, _, root = spec.partition(":")
    if not root or not (download or Path(root).is_dir()):
        raise UserError(f"{spec!r} names no folder that exists: write {name}:<folder that has the data>.")
    if name.lower() == "torch/imagenet" and not Path(root, "meta.bin").exists():
        raise UserError(f"{spec!r} is not unpacked, and torchvision would do so there; give the class folders' path.")
    try:
        dataset: Any = create_dataset(name, root=root, split=split, download=download)
    except (RuntimeError, AssertionError, OSError, ValueError) as error:
        raise UserError(f"{spec!r} cannot be opened ({one_line(error)}); check the name and the folder.") from error
    classes = getattr(dataset, "classes", None)
    names = None if classes is None else tuple(map(str, classes))
    return NamedSource(spec, name, _torchvision_labels(dataset), names, dataset, 0)


def _torchvision_labels(dataset: Any) -> NDArray[np.int64]:
    targets = np.asarray(getattr(dataset, "targets", ()))
    if targets.shape != (len(dataset),):  # no plain list of classes, so each image is asked for its own
        targets = np.array([dataset[index][1] for index in range(len(dataset))])
    return targets.astype(np.int64)


def open_hfds(spec: str, split: str, download: bool) -> Source:
    """One of Hugging Face's data sets, `hfds/<name>[:<cache folder>]`: its first image and class label columns.

    Raises UserError where the package `datasets`, the data, the split or one of the columns is not there.
    """
    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"{spec!r} needs the package datasets: run pip install datasets.")
    import datasets

    name, _, root = spec.partition(":")
    try:
        with _network(download):
            splits = datasets.load_dataset(name.partition("/")[2], cache_dir=root or None)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{spec!r} cannot be opened ({one_line(error)}); load it once with datasets.") from error
    dataset = splits[find_split(spec, list(splits), split)]
    columns = dataset.features.items()
    image = next((key for key, kind in columns if isinstance(kind, datasets.Image)), None)
    label = next((key for key, kind in columns if isinstance(kind, datasets.ClassLabel)), None)
    if image is None or label is None:
        raise UserError(
            f"{spec!r} has columns {', '.join(dataset.features)}: an Image and a ClassLabel are needed; "
            "give data that has both."
        )
    labels = np.asarray(dataset[label], dtype=np.int64)
    return NamedSource(spec, name, labels, tuple(dataset.features[label].names), dataset, image)


@contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Whether Hugging Face's packages may fetch what they do not find. They have no argument that says so."""
    import datasets.config
    import huggingface_hub.constants

    modules = (datasets.config, huggingface_hub.constants)
    before = [module.HF_HUB_OFFLINE for module in modules]
    try:
        for module, offline in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = offline or not allowed
        yield
    finally:
        for module, offline in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = offline
