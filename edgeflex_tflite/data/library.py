"""Data sets that timm reads: folders and tars of class folders, and what its dataset factory knows by a prefix."""

from __future__ import annotations

import atexit
import importlib.util
import lzma
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgeflex_tflite.data.source import Source
from edgeflex_tflite.data.splits import SPLIT_NAMES, find_split
from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from timm.data.readers.reader import Reader

_UNREADABLE_IMAGE = (OSError, SyntaxError, ValueError, EOFError, tarfile.TarError, Image.DecompressionBombError)
_UNREADABLE_TAR = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, eq=False)
class ReaderSource(Source):
    """Images from one of timm's readers. The reader is asked itself because timm's `ImageDataset` quietly gives the
    next image in place of one that it cannot decode."""

    reader: Reader

    def image(self, index: int) -> Image.Image:
        try:
            file, _ = self.reader[index]
            with file:
                return Image.open(file).convert("RGB")
        except _UNREADABLE_IMAGE as error:
            name = self.reader.filename(index) or f"number {index}"
            raise _unreadable_image(self.spec, name, error) from error


@dataclass(frozen=True, eq=False)
class TorchvisionSource(Source):
    """Images from one of torchvision's data sets, which gives pairs of a PIL image and a label."""

    dataset: Any

    def image(self, index: int) -> Image.Image:
        try:
            return self.dataset[index][0].convert("RGB")
        except _UNREADABLE_IMAGE as error:
            raise _unreadable_image(self.spec, f"number {index}", error) from error


def _unreadable_image(spec: str, name: str, error: Exception) -> UserError:
    return UserError(f"{spec!r}: image {name} cannot be decoded ({one_line(error)}); replace or remove it.")


def one_line(error: BaseException) -> str:
    """First line of an error's message, or the error's kind where it has none."""
    return str(error).partition("\n")[0] or type(error).__name__


def open_folder(spec: str, split: str) -> Source:
    """A folder of class folders, or the sub-folder for `split` where there is one. Raises UserError without images."""
    root = Path(spec)
    splits = [name for name in SPLIT_NAMES if _has_folders(root / name)]
    chosen = find_split(spec, splits, split)
    return _of_reader(spec, _read(spec, root / chosen if chosen else root))


def open_tar(spec: str, split: str) -> Source:
    """A tar of class folders, compressed or not. Raises UserError where it is no tar, broken or without images."""
    if not tarfile.is_tarfile(spec):
        raise UserError(f"{spec!r} is no tar: a file must be a tar of class folders or an .npz; give one of these.")
    # No cached handles: worker processes would share one file position. No cached index: it would lie beside the data.
    reader = _read(spec, _plain_tar(spec), cache_tarfiles=False, cache_tarinfo=False)
    _keep_split(spec, reader, split)
    return _of_reader(spec, reader)


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(child.is_dir() for child in folder.iterdir())


def _read(spec: str, root: Path, **options: bool) -> Reader:
    from timm.data import create_dataset, get_img_extensions  # noqa: PLC0415

    try:
        return create_dataset("", root=str(root), search_split=False, **options).reader
    except _UNREADABLE_TAR as error:
        raise UserError(f"{spec!r} is a broken tar ({one_line(error)}); make or copy it anew.") from error
    except (RuntimeError, ValueError) as error:  # timm found no file with an image's ending
        endings = " ".join(get_img_extensions())
        raise UserError(f"{spec!r} holds no images: {endings} in class folders are read; give such data.") from error


def _plain_tar(spec: str) -> Path:
    """An uncompressed tar named .tar, which is what timm's reader takes: `spec` itself, or a copy for this process."""
    path = Path(spec)
    try:
        with tarfile.open(path, "r:"):
            if path.suffix == ".tar":
                return path
    except tarfile.ReadError:
        pass
    folder = tempfile.mkdtemp(prefix="edgeflex-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / "unpacked.tar"
    try:
        with tarfile.open(path) as tar, copy.open("wb") as file:
            tar.fileobj.seek(0)  # type: ignore[union-attr]
            shutil.copyfileobj(tar.fileobj, file)  # type: ignore[misc, arg-type]
    except _UNREADABLE_TAR as error:
        raise UserError(f"{spec!r} is a broken tar ({one_line(error)}); make or copy it anew.") from error
    return copy


def _keep_split(spec: str, reader: Any, split: str) -> None:
    """Leave in a tar's reader only the images below the folder for `split`, where the tar has such folders."""
    paths = [PurePosixPath(name).parts for name in reader.filenames()]
    tops = [parts[0] if len(parts) > 2 else "" for parts in paths]
    chosen = find_split(spec, SPLIT_NAMES.intersection(tops), split)
    if chosen:
        keep = [top == chosen for top in tops]
        reader.samples, reader.targets = reader.samples[keep], reader.targets[keep]


def _of_reader(spec: str, reader: Any) -> ReaderSource:
    """The source over a folder's or a tar's reader. Images outside class folders would be a class by themselves."""
    index = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    stray = [name for name in ("", ".") if name in index]
    if stray:
        raise UserError(
            f"{spec!r} holds images outside class folders: each is read from a folder named for its class; "
            "move or remove them."
        )
    targets = getattr(reader, "targets", None)
    labels = [target for _, target in reader.samples] if targets is None else targets
    names = tuple(sorted(index, key=index.__getitem__))
    return ReaderSource(spec, Path(spec).name, np.asarray(labels, dtype=np.int64), names, reader)


def open_torch(spec: str, split: str, download: bool) -> Source:
    """One of torchvision's data sets by timm's name for it, `torch/<name>:<folder>`. Raises UserError."""
    from timm.data import create_dataset  # noqa: PLC0415

    name, _, root = spec.partition(":")
    if not root:
        raise UserError(f"{spec!r} does not say where the data is: write {name}:<folder>.")
    try:
        dataset = create_dataset(name, root=root, split=split, download=download)
    except (RuntimeError, AssertionError, OSError, ValueError) as error:
        raise UserError(f"{spec!r} cannot be opened ({one_line(error)}); check the name and the folder.") from error
    classes = getattr(dataset, "classes", None)
    names = None if classes is None else tuple(map(str, classes))
    return TorchvisionSource(spec, name, _torchvision_labels(dataset), names, dataset)


def _torchvision_labels(dataset: Any) -> np.ndarray:
    targets = np.asarray(getattr(dataset, "targets", ()))
    if targets.shape != (len(dataset),):  # not a plain list of classes: ask for each image's
        targets = np.array([dataset[index][1] for index in range(len(dataset))])
    return targets.astype(np.int64)


def open_hfds(spec: str, split: str, download: bool) -> Source:
    """One of Hugging Face's data sets, `hfds/<name>[:<cache folder>]`. Raises UserError."""
    from timm.data import create_dataset  # noqa: PLC0415

    if importlib.util.find_spec("datasets") is None:
        raise UserError(f"{spec!r} needs the package datasets: run pip install datasets.")
    name, _, root = spec.partition(":")
    reader: Any = create_dataset(name, root=root or None, split=split).reader
    labels = np.asarray(reader.dataset[reader.label_key], dtype=np.int64)
    names = tuple(sorted(reader.class_to_idx, key=reader.class_to_idx.__getitem__)) or None
    return ReaderSource(spec, name, labels, names, reader)
