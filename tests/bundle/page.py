"""What a person does with the page of a web bundle, and reads on it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def choose(page: Page, name: str, content: bytes) -> None:
    """Give the page a file, and wait until it has dealt with it."""
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
    page.wait_for_selector("#controls:not(:disabled)")


def logits(page: Page) -> NDArray[np.float64]:
    numbers = page.get_attribute("#answer", "data-logits")
    assert numbers is not None
    return np.array(numbers.split(), dtype=np.float64)


def answers(page: Page) -> list[str]:
    """The classes that the page shows, the likeliest first."""
    return page.locator("#answer li > :first-child").all_inner_texts()
