"""The report as a page: whole in itself, drawn by a browser without a complaint, in both colours and on a phone."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgeflex_tflite.artifacts import Confusion, PrunePlan
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.html.accuracy import changes_map
from edgeflex_tflite.report.html.method import precision_map, sensitivity_map, shapes_plot
from edgeflex_tflite.report.html.report import report_html
from tests.browser import marks_of_plots, opened
from tests.report.findings import findings, plan, precisions, small_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

EVIL = "</script><img src=http://example.com/x onerror=document.title='taken'>"
SECTIONS = [
    "What was asked, what was reached",
    "What it still knows",
    "Classes that got worse",
    "Memory",
    "Latency on this machine",
    "Where each op runs",
    "On ethos-u55-256",
    "What was done to each block",
    "Sensitivity",
    "What it took",
    "Again",
]
PLOTS = {
    "Top-1 of each model, with 95 % intervals": 4,
    "Wrong answers gained and lost, by class": 1,
    "Weights and planned arena before and after": 4,
    "Live bytes of the arena at each op": 40,
    "Distribution of latencies": 2,
    "Ops of each type by the kernel that runs them": 2,
    "What is left of each block": 8,
    "Precision of each linear": 1,
    "Divergence of the logits for each single change": 1,
    "Error of each MLP, planned and measured": 3,
    "Seconds of each stage": 2,
}
"""How many marks each plot has at least; a map of squares is one image."""
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings(small_file(tmp_path_factory.mktemp("file") / "model.tflite"))


@pytest.fixture(scope="module")
def url(found: Findings, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(report_html(found))
    return path.as_uri()


def headings(page: Page) -> list[str]:
    return page.locator("h2").all_inner_texts()


def test_a_browser_draws_every_plot_and_asks_for_nothing(browser: Browser, url: str) -> None:
    with opened(browser, url) as seen:
        assert headings(seen.page) == SECTIONS
        marks = marks_of_plots(seen.page)
        assert marks.keys() == PLOTS.keys()
        assert {label: count for label, count in marks.items() if count < PLOTS[label]} == {}
        assert seen.page.locator(".images img").count() == 4
        assert seen.page.eval_on_selector_all(".images img", "images => images.every(image => image.naturalWidth)")
        assert [request for request in seen.requests if not request.startswith("data:")] == [url]
        assert seen.complaints == []


def test_warnings_come_first(browser: Browser, found: Findings, url: str) -> None:
    surprises = [surprise.kind for surprise in found.analysis.surprises]
    expected = [*surprises, "few-images", "never-called", "benchmark"]
    with opened(browser, url) as seen:
        behind_title = seen.page.locator("h1 ~ *").all_inner_texts()
        assert [text.split(":")[0] for text in behind_title[: len(expected)]] == expected
        assert seen.page.locator(".warning").count() == len(expected)


COLORS = """() => {
  const luminance = color => color.match(/[\\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765;
  const of = (element, property) => luminance(getComputedStyle(element)[property]);
  return {
    page: of(document.body, "backgroundColor"),
    words: of(document.body, "color"),
    plots: [...document.querySelectorAll(".plot .xtick text")].map(text => of(text, "fill")),
  };
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_have_words_that_stand_out_in_plots_too(scheme: Any, browser: Browser, url: str) -> None:
    """Also where the reader changes from one to the other."""
    other = {"light": "dark", "dark": "light"}[scheme]
    with opened(browser, url, color_scheme=other) as seen:
        seen.page.emulate_media(color_scheme=scheme)
        dark = scheme == "dark"
        plots_follow = f"({COLORS})().plots.every(color => (color > 0.8) === {str(dark).lower()})"
        seen.page.wait_for_function(plots_follow)  # they are drawn again, a moment after the change
        colors = seen.page.evaluate(COLORS)
        assert (colors["page"] < 0.2, colors["words"] > 0.8) == (dark, dark)
        assert len(colors["plots"]) > 50
        assert {color > 0.8 for color in colors["plots"]} == {dark}
        assert seen.complaints == []


def test_a_phone_scrolls_up_and_down_only(browser: Browser, url: str) -> None:
    with opened(browser, url, **PHONE) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
        widths = seen.page.eval_on_selector_all(".plot svg.main-svg", "plots => plots.map(plot => plot.clientWidth)")
        assert len(widths) >= len(PLOTS)
        assert max(widths) <= 390
        assert seen.page.locator(".modebar-btn:visible").count() == 0, "buttons that lie over the legends"


def test_a_page_that_is_too_wide_complains_or_loads_is_seen(browser: Browser, tmp_path: Path) -> None:
    """What the tests above look for can be found."""
    bad = "<!doctype html><meta name=viewport content='width=device-width'><div class=plot style='width:900px'>x</div>"
    (tmp_path / "bad.html").write_text(f"{bad}<img src=other.png><script>nothing.at.all()</script>")
    with opened(browser, (tmp_path / "bad.html").as_uri(), **PHONE) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") >= 900
        assert any("nothing is not defined" in complaint for complaint in seen.complaints)
        assert [Path(request).name for request in seen.requests] == ["bad.html", "other.png"]
        assert marks_of_plots(seen.page) == {"null": 0}


def test_names_cannot_become_part_of_the_page(browser: Browser, found: Findings, tmp_path: Path) -> None:
    evil = dataclasses.replace(found, labels=(EVIL,) * len(found.labels), model=EVIL, command=EVIL)
    (tmp_path / "evil.html").write_text(report_html(evil))
    with opened(browser, (tmp_path / "evil.html").as_uri()) as seen:
        assert seen.page.title() == f"{EVIL} as a .tflite"
        assert headings(seen.page) == SECTIONS
        assert not [request for request in seen.requests if "example.com" in request]


def test_what_was_not_measured_is_said_and_not_drawn(browser: Browser, found: Findings, tmp_path: Path) -> None:
    little = dataclasses.replace(
        found,
        benchmark=None,
        plan=PrunePlan(found.plan.cuts[:1], 0, 0),
        shapes=found.shapes[:1],
        confusion=Confusion((), (), (), 0),
        pictures=(),
        command=None,
        metrics=dataclasses.replace(found.metrics, pruned=None, quantized=None),
    )
    (tmp_path / "little.html").write_text(report_html(little))
    with opened(browser, (tmp_path / "little.html").as_uri()) as seen:
        marks = marks_of_plots(seen.page)
        missing = {"Wrong answers gained and lost, by class", "Distribution of latencies"}
        missing |= {"Divergence of the logits for each single change", "Error of each MLP, planned and measured"}
        assert marks.keys() == PLOTS.keys() - missing
        assert marks["Top-1 of each model, with 95 % intervals"] == 2
        assert "not measured: `--nobenchmark` was given" in seen.page.inner_text("body")
        assert headings(seen.page) == SECTIONS[:-1]
        assert seen.complaints == []


def test_the_page_names_nothing_outside_itself(found: Findings) -> None:
    content = report_html(found)
    own = re.sub(r"<script>.*?</script>", "", content, flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import""", own)
    assert content.count("plotly.js v") == 1, "the library is there once"


def drawn(figure: Any) -> list[dict[str, Any]]:
    return json.loads(figure.to_json())["data"]


def test_shapes_are_in_percent_of_the_dense_block(found: Findings) -> None:
    bars = {bar["name"]: bar for bar in drawn(shapes_plot(plan(), found.shapes))}
    assert bars["MLP neurons"]["y"] == [100, 50]
    assert bars["heads"]["y"] == [100, 100]
    assert bars["key channels"]["y"] == [100, 50]
    assert bars["key channels"]["customdata"] == [[16, 16], [8, 16]]


def test_precisions_have_a_row_a_part_and_a_column_a_block() -> None:
    (squares,) = drawn(precision_map(precisions()))
    names = dict(zip(squares["colorbar"]["tickvals"], squares["colorbar"]["ticktext"], strict=True))
    assert squares["x"] == ["0", "1", "other"]
    assert squares["y"] == ["patch_embed", "attn.q", "mlp.fc1", "head"]
    assert [[names.get(cell) for cell in row] for row in squares["z"]] == [
        [None, None, "FP16"],
        ["INT8", "INT8", None],
        ["INT4", "INT8", None],
        [None, None, "FP16"],
    ]
    assert squares["customdata"][2][0] == "blocks.0.mlp.fc1: INT4, chosen for the budget"


def test_sensitivities_are_drawn_as_logarithms_and_said_as_they_are() -> None:
    (squares,) = drawn(sensitivity_map(plan()))
    assert squares["x"] == ["0", "1", "other"]
    assert squares["y"] == ["64 neurons", "fc1 INT4", "head INT8"]
    assert squares["customdata"] == [[2e-3, 1e-5, None], [None, 0.0, None], [None, None, 3e-4]]
    assert squares["z"][0][:2] == pytest.approx([-2.699, -5], abs=1e-3)
    assert squares["z"][1] == [None, None, None], "nothing at all has no logarithm"
    assert squares["colorbar"]["ticktext"] == ["1e-5", "1e-4", "1e-3", "1e-2"]


def test_classes_that_got_worse_are_rows(found: Findings) -> None:
    from edgeflex_tflite.report.changes import changes

    (squares,) = drawn(changes_map(changes(found.confusion), found.labels))
    assert squares["y"] == ["class 3", "class 4"]
    assert squares["x"] == ["class 5", "class 8", "class 9"]
    assert squares["text"] == [["+2", "+1", ""], ["", "", "+1"]]
