"""The page of a sweep: a row a point, a column a target, one line of warnings however many there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.report.sweep import front_plot, measured_lines, sweep_html, sweep_table, sweep_text
from edgeflex_tflite.sweeping.outcome import Outcome
from edgeflex_tflite.targets.measurement import Environment, Latency, Measurement, Memory
from tests.browser import opened

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NOT_KNOWN = NotMeasured("no phone is connected")


def made(id: str, memory: int, top1: float) -> Outcome:
    return Outcome(
        id, f"point {id}", {}, "made", "", 12.0, memory - 1, 1, memory, top1, 1.0, 0.5, 1.5, 0.01, f"points/{id}", "0"
    )


def measured(id: str, target: str, latency: Latency | NotMeasured, warnings: tuple[str, ...] = ()) -> Measurement:
    place = Environment(target, "board", "cpu", "1 GHz", 2, "runtime 1", "xnnpack", "Linux")
    memory = Memory(*[NOT_KNOWN] * len(Memory.__dataclass_fields__))
    return Measurement(f"points/{id}/model.tflite", "0", 1, place, 1.0, 1.0, latency, memory, warnings=warnings)


OUTCOMES = [made("a", 3_000_000, 90.0), made("b", 1_000_000, 80.0), made("c", 4_000_000, 70.0)]
REFUSED = Outcome("d", "point d", {}, "refused", "no such budget")
MEASUREMENTS = [
    *(measured(id, "host", Latency.of([float(ms)] * 3), ("busy",)) for id, ms in zip("abc", (3, 1, 2), strict=True)),
    *(measured(id, "android", NOT_KNOWN) for id in "abc"),
]


def test_the_table() -> None:
    headers, rows = sweep_table([*OUTCOMES, REFUSED], MEASUREMENTS)
    assert headers[-2:] == ("ms, host", "ms, android")
    assert [row[0] for row in rows] == ["point b", "point a", "point c"]
    assert [row[-3:] for row in rows] == [("*", "1.00", "-"), ("*", "3.00", "-"), ("", "2.00", "-")]


def test_what_is_to_be_known_of_the_latencies() -> None:
    assert measured_lines(MEASUREMENTS) == [
        "host: board, runtime 1, xnnpack, 2 threads, all files in turn",
        "android: board, runtime 1, xnnpack, 2 threads, all files in turn",
        "3 of 6 measurements carry a warning, the first: busy",
        "no phone is connected",
    ]
    assert measured_lines([]) == ["Not measured."]


def test_points_that_were_not_made_are_named() -> None:
    text = sweep_text([*OUTCOMES, REFUSED], [], "python -m edgeflex_tflite.sweep")
    assert "* point d: refused: no such budget" in text
    assert text.startswith("# 4 points")
    assert sweep_text([REFUSED], [], "").count("point d") == 1


def test_the_plot_has_every_point_and_the_front() -> None:
    line, points = front_plot([*OUTCOMES, REFUSED]).data
    assert list(points.x) == [3.0, 1.0, 4.0]
    assert list(zip(line.x, line.y, strict=True)) == [(1.0, 80.0), (3.0, 90.0)]


def test_a_browser_draws_the_page(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "sweep.html"
    page.write_text(sweep_html([*OUTCOMES, REFUSED], MEASUREMENTS, "python -m edgeflex_tflite.sweep"))
    with opened(browser, page.as_uri(), viewport={"width": 390, "height": 844}) as seen:
        assert (seen.complaints, seen.requests) == ([], [page.as_uri()])
        assert seen.page.locator(".scatterlayer .point").count() == 3
        assert seen.page.locator(".scatterlayer .js-line").count() == 1
        assert seen.page.locator("tr").count() == 4
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
