"""One line for what a decoder says about a broken image."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from edgeflex_tflite.errors import UserError

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, tarfile.TarError, Image.DecompressionBombError)


@contextmanager
def naming_image(spec: str, image: str) -> Iterator[None]:
    """Turn a decoder's error into a UserError that names the data set and the image in it."""
    try:
        yield
    except _DECODER_ERRORS as error:
        raise UserError(
            f"{spec!r}: image {image} cannot be decoded ({one_line(error)}); replace or remove it."
        ) from error


def one_line(error: BaseException) -> str:
    """First line of an error's message, or the error's kind where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
