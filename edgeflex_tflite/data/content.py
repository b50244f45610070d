"""What makes two images the same image, and two sets of images the same set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def content_hash(pixels: Tensor) -> str:
    """Hash of one image's preprocessed pixels, uint8 `[3, H, W]`, with their shape."""
    digest = hashlib.blake2b(repr(tuple(pixels.shape)).encode(), digest_size=16)
    digest.update(pixels.contiguous().numpy().data)
    return digest.hexdigest()


def data_fingerprint(hashes: Iterable[str], labels: Iterable[int]) -> str:
    """sha256 over the content hashes and labels of a set of images, in their order."""
    digest = hashlib.sha256()
    for content, label in zip(hashes, labels, strict=True):
        digest.update(f"{content} {int(label)}\n".encode())
    return digest.hexdigest()
