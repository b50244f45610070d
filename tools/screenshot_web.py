"""Take the pictures of the web page in docs/images: on a wide screen, light, and on a phone, dark.

python -m tools.screenshot_web out/web
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from absl import app

from edgeflex_tflite.serve import open_server
from tests.browser import launched
from tools.screenshots import IMAGES

VIEWS: dict[str, dict[str, Any]] = {
    "web-light.png": {"viewport": {"width": 760, "height": 600}, "color_scheme": "light"},
    "web-phone.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 1.5},
}
RUNS = 20


def main(arguments: list[str]) -> None:
    IMAGES.mkdir(exist_ok=True)
    with open_server(Path(arguments[1]), "localhost", 0) as server, launched() as browser:
        threading.Thread(target=server.serve_forever).start()
        for name, view in VIEWS.items():
            page = browser.new_context(**view).new_page()
            page.goto(f"http://localhost:{server.server_port}/")
            page.wait_for_selector("body[data-ready=true]")
            page.fill("#runs", str(RUNS))
            page.click("#measure button")
            page.wait_for_selector("#figures dd")
            page.screenshot(path=IMAGES / name, full_page=True)
        server.shutdown()


if __name__ == "__main__":
    app.run(main)
