"""Files from the internet that are exactly the ones that were meant: by address and SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import sha256_of_file

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECS = 60.0


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/edgeflex_tflite, or ~/.cache/edgeflex_tflite."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeflex_tflite"


def check_sha256(sha256: str) -> None:
    """A typing error is found before anything is downloaded.

    Raises:
        UserError: It is not a SHA-256 in hexadecimal.
    """
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{sha256!r} is not a SHA-256: give 64 hexadecimal digits, as sha256sum prints them.")


def pinned_download(url: str, sha256: str, folder: Path) -> Path:
    """The file at `url`, from `folder` if it is there already.

    Nothing stands under the final name before its hash was checked.

    Args:
        url: http, https or file.
        sha256: Of the content, in hexadecimal.
        folder: Where it is kept, under a name that begins with the hash.

    Raises:
        UserError: It cannot be loaded or kept, or it is another file than was meant.
    """
    check_sha256(sha256)
    kept = folder / f"{sha256.lower()[:16]}-{Path(url.partition('?')[0]).name}"
    if kept.is_file() and sha256_of_file(kept) == sha256.lower():
        return kept
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            fresh = Path(unfinished) / "download"
            found = _fetch(url, fresh)
            if found != sha256.lower():
                raise UserError(
                    f"{url} is another file than was meant: its SHA-256 is {found}, not {sha256.lower()}. "
                    "Nothing was kept; check where the two come from."
                )
            fresh.replace(kept)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise UserError(f"{url} cannot be downloaded to {folder}: {error}. Give the path of a file instead.") from error
    return kept


def _fetch(url: str, destination: Path) -> str:
    """Its SHA-256."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECS) as response, destination.open("wb") as file:
        while chunk := response.read(_CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()
