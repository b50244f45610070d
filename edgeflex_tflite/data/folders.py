"""Folders and tars of class folders, as timm reads them: `<class>/<image>`, below a folder for the split or not."""

from __future__ import annotations

import atexit
import lzma
import os
import posixpath
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from edgeflex_tflite.data.source import Source
from edgeflex_tflite.data.splits import find_split, is_split
from edgeflex_tflite.data.unreadable import naming_image, one_line
from edgeflex_tflite.errors import UserError

_TAR_ERRORS = (OSError, EOFError, tarfile.TarError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, eq=False)
class ReaderSource(Source):
    """Images from one of timm's readers.

    The reader is asked itself, because timm's `ImageDataset` gives the next image in place of one that is broken.
    """

    reader: Any

    def image(self, index: int) -> Image.Image:
        with naming_image(self.spec, self.reader.filename(index)):
            file, _ = self.reader[index]
            with file:
                return Image.open(file).convert("RGB")


def open_folder(spec: str, split: str) -> Source:
    """A folder of class folders, or its sub-folder for `split` where it has class folders by split.

    Raises UserError where there is no image, no such split, or an image without a class folder.
    """
    root = Path(spec)
    splits = [child.name for child in root.iterdir() if is_split(child.name) and _has_folders(child)]
    return _of_reader(spec, _read(spec, root / (find_split(spec, splits, split) or "")))


def open_tar(spec: str, split: str) -> Source:
    """A tar of class folders, compressed or not, or the part of it for `split`.

    Raises UserError where it is no tar or broken, and as `open_folder` does.
    """
    try:
        if not tarfile.is_tarfile(spec):
            raise UserError(f"{spec!r} is no tar: a file must be a tar of class folders or an .npz; give one of these.")
        path = _plain_tar(Path(spec))
        # No cached handles: worker processes would share one file position. No cached index: timm writes it beside
        # the data.
        reader = _read(spec, path, cache_tarfiles=False, cache_tarinfo=False)
        _check_end(path)
    except PermissionError:
        raise
    except _TAR_ERRORS as error:
        raise UserError(f"{spec!r} cannot be read to its end ({one_line(error)}); make or copy it anew.") from error
    _keep_split(spec, reader, split)
    return _of_reader(spec, reader)


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and any(child.is_dir() for child in folder.iterdir())


def _read(spec: str, root: Path, **options: Any) -> Any:
    from timm.data import create_dataset, get_img_extensions

    try:
        return create_dataset("", root=str(root), search_split=False, **options).reader
    except (RuntimeError, ValueError) as error:  # what timm's two readers raise without any image
        endings = ", ".join(get_img_extensions())
        raise UserError(
            f"{spec!r} holds no images: {endings} files in class folders are read; give such data."
        ) from error


def _plain_tar(path: Path) -> Path:
    """The tar as timm's reader needs it, uncompressed and named .tar: `path`, or a copy until this process ends."""
    if path.suffix == ".tar" and _is_uncompressed(path):
        return path
    folder = tempfile.mkdtemp(prefix="edgeflex-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = Path(folder) / "data.tar"
    with tarfile.open(path) as tar, copy.open("wb") as file:
        stream: Any = tar.fileobj  # what tarfile decompresses
        stream.seek(0)
        shutil.copyfileobj(stream, file)
    return copy


def _is_uncompressed(path: Path) -> bool:
    try:
        tarfile.open(path, "r:").close()
    except tarfile.ReadError:
        return False
    return True


def _check_end(path: Path) -> None:
    """Raises ReadError unless the two blocks of zeros are there that end a tar: tarfile takes any end for the end."""
    with path.open("rb") as file:
        file.seek(-2 * tarfile.BLOCKSIZE, os.SEEK_END)
        if any(file.read()):
            raise tarfile.ReadError("end-of-archive blocks are missing")


def _keep_split(spec: str, reader: Any, split: str) -> None:
    """Leave in a tar's reader only the images below the folder for `split`, where it has class folders by split."""
    names = [name.lstrip("/") for name in reader.filenames()]
    shared = posixpath.commonpath(names)  # a tar of `data/train` and `data/val` is one of `train` and `val`
    paths = [PurePosixPath(name).relative_to(shared).parts for name in names]
    tops = [parts[0] if len(parts) > 2 and is_split(parts[0]) else "" for parts in paths]
    chosen = find_split(spec, set(tops) - {""}, split)
    if chosen:
        keep = [top == chosen for top in tops]
        reader.samples, reader.targets = reader.samples[keep], reader.targets[keep]


def _of_reader(spec: str, reader: Any) -> ReaderSource:
    """The source over a folder's reader (labels within `samples`) or a tar's (labels in `targets`)."""
    index: dict[str, int] = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    names = tuple(sorted(index, key=index.__getitem__))
    targets = getattr(reader, "targets", None)
    labels = np.asarray([label for _, label in reader.samples] if targets is None else targets, dtype=np.int64)
    _check_folders(spec, reader.filenames(absolute=True), [names[label] for label in labels])
    return ReaderSource(spec, Path(spec).name, labels, names, reader)


def _check_folders(spec: str, paths: Iterable[str], classes: Iterable[str]) -> None:
    """A class must be one folder: timm takes the innermost folder's name for the class, wherever the folder is."""
    homes: dict[str, str] = {}
    for path, name in zip(paths, classes, strict=True):
        folder = path.rpartition("/")[0]
        if name in ("", "."):
            raise UserError(f"{spec!r}: {path} is in no class folder; put each image in a folder named for its class.")
        if homes.setdefault(name, folder) != folder:
            raise UserError(
                f"{spec!r} has two folders for class {name!r}, {homes[name]} and {folder}: an image's class is the "
                "name of the folder that it is in; give a folder with one folder a class."
            )
