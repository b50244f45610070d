"""Take the pictures of the web page in docs/images: on a wide screen, light, and on a phone, dark.

python tools/screenshot_web.py out/web
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from absl import app, flags
from playwright.sync_api import sync_playwright

from edgeflex_tflite.serve import open_server

IMAGES = Path(__file__).parents[1] / "docs" / "images"
CHROMIUM = flags.DEFINE_string("chromium", "chromium", "The browser.")
VIEWS: dict[str, dict[str, Any]] = {
    "web-light.png": {"viewport": {"width": 760, "height": 600}, "color_scheme": "light"},
    "web-phone.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 1.5},
}
RUNS = 20


def main(arguments: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    with open_server(Path(arguments[1]), "localhost", 0) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever).start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM.value, args=["--no-sandbox"])
        for name, view in VIEWS.items():
            page = browser.new_context(**view).new_page()
            page.goto(f"http://localhost:{server.server_port}/")
            page.wait_for_selector("body[data-ready=true]")
            page.fill("#runs", str(RUNS))
            page.click("#measure button")
            page.wait_for_selector("#figures dd")
            page.screenshot(path=IMAGES / name, full_page=True)
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    app.run(main)
