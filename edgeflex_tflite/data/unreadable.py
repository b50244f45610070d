"""One line for what a reader says about damaged data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from edgeflex_tflite.errors import UserError


@contextmanager
def naming_image(spec: str, image: str) -> Iterator[None]:
    """Turn a decoder's error into a UserError that names the data set and the image in it."""
    try:
        yield
    except Exception as error:  # decoders raise nearly any kind on damaged bytes, SyntaxError and TypeError too
        reason = "no image format" if isinstance(error, UnidentifiedImageError) else one_line(error)
        raise UserError(f"{spec!r}: image {image} cannot be decoded ({reason}); replace or remove it.") from error


def one_line(error: BaseException) -> str:
    """First line of an error's message, or the error's kind where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
