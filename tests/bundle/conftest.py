"""Web bundles and the pages that they show."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeflex_tflite.bundle import litert_js
from edgeflex_tflite.bundle.add import add_bundles
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.serve import open_server
from tests.bundle.outputs import colour_output

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

LOAD_MS = 120_000
OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def fetch_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], object]:
    """Takes the place of `litert_js.vendor`: npm fetches LiteRT.js once for all tests."""
    fetched = tmp_path_factory.mktemp("npm") / "vendor"
    try:
        litert_js.vendor(fetched)
    except UserError as error:
        pytest.skip(str(error))
    return lambda folder: shutil.copytree(fetched, folder, copy_function=os.link, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def web_bundle(fetch_once: Callable[[Path], object]) -> Callable[[Path], Path]:
    """Makes the web bundle of an output folder."""

    def make(output: Path) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(litert_js, "vendor", fetch_once)
            return add_bundles(output, ["web"])[0]

    return make


@pytest.fixture(scope="session")
def colour_page(web_bundle: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The web bundle of a model that is loaded in a moment."""
    return web_bundle(colour_output(tmp_path_factory.mktemp("colours") / "out"))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder while it is served."""
    with open_server(folder, "localhost", 0) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def pages(browser: Browser) -> Iterator[OpenPage]:
    """Opens a web bundle in a context of its own, and waits until the page is ready or has given up.

    `query` ends the address; `prepare` is given the context before the page is opened.
    """
    with contextlib.ExitStack() as stack:

        def open_it(
            folder: Path,
            query: str = "",
            prepare: Callable[[BrowserContext], object] = lambda context: None,
            browser: Browser = browser,
        ) -> Page:
            address = stack.enter_context(served(folder))
            context = browser.new_context()
            stack.callback(context.close)
            prepare(context)
            page = context.new_page()
            page.set_default_timeout(LOAD_MS)
            page.goto(f"{address}/{query}")
            page.wait_for_selector("body[data-ready]")
            return page

        yield open_it


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """For tests that change the browser or the bundle; see `pages`."""
    with pages(browser) as open_it:
        yield open_it


@pytest.fixture(scope="module")
def ready_page(browser: Browser, colour_page: Path) -> Iterator[Page]:
    """One page, opened once, for tests that use it as anyone would."""
    with pages(browser) as open_it:
        yield open_it(colour_page)
