"""The page of a web bundle in a real browser: what it answers, proves and says, on a model that loads in a moment."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Browser, Page, expect

from tests.browser import find_chromium
from tests.bundle.conftest import OpenPage
from tests.bundle.outputs import COLOURS, preprocessing
from tests.bundle.page import answers, choose, logits, png


def coloured(red: int, green: int, blue: int, width: int = 8, height: int = 8) -> bytes:
    """A file of one colour."""
    return png(Image.new("RGB", (width, height), (red, green, blue)))


def test_the_page_proves_itself_and_shows_the_sample(ready_page: Page, colour_page: Path) -> None:
    assert ready_page.inner_text("#verdict") == "Self-test passed"
    golden = np.fromfile(colour_page / "golden/output.bin", "<f4")
    np.testing.assert_allclose(logits(ready_page), golden, rtol=1e-6)
    assert answers(ready_page)[0] == "blue"
    assert set(answers(ready_page)) == set(COLOURS)
    assert ready_page.inner_text("#latency").endswith("ms for the model.")
    assert ready_page.evaluate("crossOriginIsolated")
    assert "threads" in ready_page.inner_text("#place")


def test_one_thread_is_there_to_be_chosen_and_said(colour_page: Path, open_page: OpenPage) -> None:
    page = open_page(colour_page)
    page.click("#other-threads")
    page.wait_for_selector("body[data-ready=true]")
    assert page.inner_text("#place") == "WebAssembly, one thread: asked for."
    assert page.inner_text("#verdict") == "Self-test passed"


def test_a_page_that_is_not_isolated_says_why_it_has_one_thread(
    colour_page: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeflex_tflite.serve.HEADERS", {})
    page = open_page(colour_page)
    assert "one thread: the server does not isolate the page" in page.inner_text("#place")
    assert page.inner_text("#verdict") == "Self-test passed"


def test_a_file_is_answered(ready_page: Page) -> None:
    choose(ready_page, "green.png", coloured(10, 200, 30, 50, 30))
    np.testing.assert_allclose(logits(ready_page), (10, 200, 30), rtol=1e-6)
    assert answers(ready_page)[0] == "green"
    ready_page.click("#sample")
    expect(ready_page.locator("#answer li").first).to_contain_text("blue")


def test_a_tall_picture_is_read_whole(ready_page: Page) -> None:
    """It is taller than what the page reads at a time."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1100, 20, 3), dtype=np.uint8))
    choose(ready_page, "tall.png", png(picture))
    seen = preprocessing().resize(picture).numpy()
    np.testing.assert_allclose(logits(ready_page), seen.mean((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("content", [b"just words", b"", coloured(0, 0, 0)[:60]], ids=["words", "empty", "cut off"])
def test_a_wrong_file_is_told_and_does_no_harm(ready_page: Page, content: bytes) -> None:
    choose(ready_page, "notes.txt", content)
    problem = ready_page.inner_text("#problem")
    assert problem == "notes.txt is not a picture that this browser can read. Choose a PNG, JPEG or WebP file."
    choose(ready_page, "red.png", coloured(200, 0, 0))
    assert not ready_page.is_visible("#problem")
    assert answers(ready_page)[0] == "red"


def test_a_missing_camera_is_told(colour_page: Path, open_page: OpenPage) -> None:
    page = open_page(colour_page, prepare=lambda context: context.grant_permissions(["camera"]))
    page.click("#open-camera")
    expect(page.locator("#problem")).to_have_text("No camera was found. Connect one, or choose a picture.")


def test_a_page_without_the_right_to_a_camera_says_so(colour_page: Path, open_page: OpenPage) -> None:
    """As on a phone that opens the page from another machine, without https."""
    hidden = "Object.defineProperty(Navigator.prototype, 'mediaDevices', {value: undefined})"
    page = open_page(colour_page, prepare=lambda context: context.add_init_script(hidden))
    page.click("#open-camera")
    expect(page.locator("#problem")).to_contain_text("only to pages from this device (localhost) or from https")


def test_the_camera_is_answered_and_closed(colour_page: Path, open_page: OpenPage, browser: Browser) -> None:
    """With Chromium's own moving picture in its place, which is green."""
    fake = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with browser.browser_type.launch(executable_path=find_chromium(), args=fake) as with_camera:
        page = open_page(colour_page, browser=with_camera)
        page.click("#open-camera")
        page.click("#take")
        expect(page.locator("#answer li").first).to_contain_text("green")
        assert not page.is_visible("#camera")
        assert page.evaluate("document.getElementById('camera').srcObject") is None
        page.click("#open-camera")
        page.click("#close-camera")
        assert page.is_visible("#seen")


WITHOUT = "delete window.WebAssembly"
WITHOUT_SIMD = "WebAssembly.validate = () => false"


@pytest.mark.parametrize(("script", "missing"), [(WITHOUT, "WebAssembly"), (WITHOUT_SIMD, "WebAssembly SIMD")])
def test_an_unsupported_browser_is_told(colour_page: Path, open_page: OpenPage, script: str, missing: str) -> None:
    page = open_page(colour_page, prepare=lambda context: context.add_init_script(script))
    assert page.inner_text("#verdict") == "The page cannot run the model"
    assert f"This browser has no {missing}, which the model needs. Open the page in Chrome" in page.inner_text(
        "#reason"
    )
    assert not page.is_visible("#controls")


def copy_of(folder: Path, place: Path) -> Path:
    return shutil.copytree(folder, place, copy_function=os.link)


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_another_answer_fails_the_self_test(colour_page: Path, open_page: OpenPage, tmp_path: Path) -> None:
    folder = copy_of(colour_page, tmp_path / "web")
    golden = np.fromfile(folder / "golden/output.bin", "<f4")
    replace(folder / "golden/output.bin", (golden * np.float32(1.002)).tobytes())
    page = open_page(folder)
    assert page.inner_text("#verdict") == "Self-test failed"
    assert "Do not trust the answers below" in page.inner_text("#reason")
    assert page.inner_text("#other-threads") == "Run with one thread"


def test_a_browser_that_alters_pixels_fails_the_self_test(colour_page: Path, open_page: OpenPage) -> None:
    altered = """
    const read = CanvasRenderingContext2D.prototype.getImageData;
    CanvasRenderingContext2D.prototype.getImageData = function (...area) {
        const image = read.apply(this, area);
        image.data[0] ^= 1;
        return image;
    };
    """
    page = open_page(colour_page, prepare=lambda context: context.add_init_script(altered))
    assert page.inner_text("#verdict") == "Self-test failed"
    assert "this browser alters the pixels of pictures" in page.inner_text("#reason")


def test_a_folder_of_another_format_or_without_its_model_is_told(
    colour_page: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    folder = copy_of(colour_page, tmp_path / "web")
    told = json.loads((folder / "edgeflex.json").read_text())
    (folder / "model.tflite").unlink()
    assert "model.tflite cannot be loaded" in open_page(folder).inner_text("#reason")
    replace(folder / "edgeflex.json", json.dumps(told | {"format_version": 2}).encode())
    assert "edgeflex.json has format 2; this page reads 1" in open_page(folder).inner_text("#reason")


def test_the_benchmark_gives_its_quartiles(ready_page: Page) -> None:
    ready_page.fill("#runs", "7")
    ready_page.click("#measure button")
    ready_page.wait_for_selector("#figures dd")
    names, values = (ready_page.locator(f"#figures {tag}").all_inner_texts() for tag in ("dt", "dd"))
    assert names == ["Lower quartile", "Median", "Upper quartile"]
    low, median, high = (float(value.removesuffix(" ms")) for value in values)
    assert 0 < low <= median <= high
    assert ready_page.inner_text("#protocol").startswith("7 runs one after the other on the golden input, after 5")


def test_no_request_leaves_the_server(colour_page: Path, open_page: OpenPage) -> None:
    asked: list[str] = []
    page = open_page(
        colour_page, prepare=lambda context: context.on("request", lambda request: asked.append(request.url))
    )
    choose(page, "red.png", coloured(200, 0, 0))
    origin = page.evaluate("location.origin")
    assert f"{origin}/model.tflite" in asked
    assert {url for url in asked if not url.startswith((f"{origin}/", f"blob:{origin}/", "data:"))} == set()
    refused = page.evaluate("fetch('https://example.com/').then(() => false, () => true)")
    assert refused, "the page's own rule lets nothing out"
