"""A real browser for the tests of pages: headless Chromium, driven by playwright."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """Path of the browser that `EDGEFLEX_CHROMIUM` names, or of the first on PATH; None where there is none."""
    return os.environ.get("EDGEFLEX_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """The browser that `find_chromium` finds, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on PATH, and EDGEFLEX_CHROMIUM names none")
    with launched() as started:
        yield started


@dataclasses.dataclass
class Opened:
    """A page in the browser, with all that its console complained of and all that it asked for."""

    page: Page
    complaints: list[str]
    requests: list[str]


MARKS = """plots => {
  const marks = ".scatterlayer .point, .scatterlayer .js-line, .barlayer .point path[d], .heatmaplayer image";
  return Object.fromEntries(plots.map(plot => [plot.getAttribute("aria-label"), plot.querySelectorAll(marks).length]));
}"""


def marks_of_plots(page: Page) -> dict[str, int]:
    """How many points, lines, bars and maps each of plotly's plots has, by its label."""
    return page.eval_on_selector_all(".plot", MARKS)


@contextlib.contextmanager
def opened(browser: Browser, url: str, **context: Any) -> Iterator[Opened]:
    """A page, loaded in a fresh context of these options, such as `color_scheme` and `viewport`."""
    page = browser.new_page(**context)
    found = Opened(page, [], [])
    page.on("console", lambda said: found.complaints.append(f"{said.type}: {said.text}"))
    page.on("pageerror", lambda error: found.complaints.append(f"exception: {error}"))
    page.on("request", lambda request: found.requests.append(request.url))
    try:
        page.goto(url)
        yield found
    finally:
        page.close()
