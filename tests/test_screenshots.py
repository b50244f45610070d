"""The pictures in the docs are of real pages, in both colours and on a phone, and small."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgeflex_tflite.report.html.report import report_html
from tests.report.findings import findings, small_file
from tools.screenshots import IMAGES, REPORT, Shot, take

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MOST_BYTES = 400_000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("page")
    (folder / "report.html").write_text(report_html(findings(small_file(folder / "model.tflite"))))
    return (folder / "report.html").as_uri()


@pytest.mark.parametrize("shot", REPORT, ids=lambda shot: shot.name)
def test_a_picture_shows_the_page(shot: Shot, browser: Browser, url: str, tmp_path: Path) -> None:
    picture = Image.open(take(browser, url, shot, tmp_path)).convert("L")
    scale = shot.context.get("device_scale_factor", 1)
    assert picture.size == (shot.context["viewport"]["width"] * scale, shot.height * scale)
    shades = np.asarray(picture)
    assert (np.median(shades) < 60) == (shot.context["color_scheme"] == "dark")
    assert shades.std() > 10, "nothing is on it"


@pytest.mark.parametrize("shot", REPORT, ids=lambda shot: shot.name)
def test_the_docs_have_it(shot: Shot) -> None:
    assert 10_000 < (IMAGES / f"{shot.name}.png").stat().st_size <= MOST_BYTES
