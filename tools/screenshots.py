"""Take the pictures in docs/images of the pages that a bundle holds.

python -m tools.screenshots OUTPUT_DIR
"""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import app
from PIL import Image

from tests.browser import launched, opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

IMAGES = Path(__file__).parent.parent / "docs" / "images"
COLORS = 256
"""Of a picture's palette; pages have few, and the files stay small."""
MARGIN = 12
"""Pixels above what a picture begins with."""
DESK: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Shot:
    """One picture of a page.

    Attributes:
        name: of the file, without its ending.
        context: playwright's options: viewport, colours, touch.
        height: of the picture in the page's pixels.
        start: what the picture begins with, as a selector.
    """

    name: str
    context: dict[str, Any]
    height: int
    start: str = "h1"


REPORT = (
    Shot("report-light", {**DESK, "color_scheme": "light"}, 1900),
    Shot("report-dark", {**DESK, "color_scheme": "dark"}, 1900, "h2:text-is('Classes that got worse')"),
    Shot("report-phone", {**PHONE, "color_scheme": "light"}, 1600, "h2:text-is('What it still knows')"),
)


def take(browser: Browser, url: str, shot: Shot, folder: Path) -> Path:
    """Write a picture into a folder, and return its path."""
    with opened(browser, url, **shot.context) as seen:
        place = seen.page.locator(shot.start).first.bounding_box()
        if place is None:
            raise ValueError(f"{url} shows no {shot.start}")
        top = max(place["y"] - MARGIN, 0)
        clip = {"x": 0, "y": top, "width": shot.context["viewport"]["width"], "height": shot.height}
        content = seen.page.screenshot(full_page=True, clip=clip)
    path = folder / f"{shot.name}.png"
    Image.open(io.BytesIO(content)).convert("RGB").quantize(COLORS).save(path, optimize=True)
    return path


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        sys.exit(__doc__)
    with launched() as browser:
        for shot in REPORT:
            print(take(browser, (Path(arguments[1]).resolve() / "report.html").as_uri(), shot, IMAGES))


if __name__ == "__main__":
    app.run(main)
