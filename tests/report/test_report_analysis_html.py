"""What `analyze` says as a page: whole in itself, and drawn by a browser without a complaint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.report import analysis_html as page
from edgeflex_tflite.report.analysis import full_text
from edgeflex_tflite.report.analysis_html import analysis_html, arena_map
from tests.browser import opened
from tests.tiny import Tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser

EVIL = b"</script><script>document.title='taken'</script><b>&amp;"
LOADS = {"src", "href", "data", "action", "poster", "srcset", "background"}


def analyzed(content: bytes, path: Path) -> Analysis:
    path.write_bytes(content)
    return analyze_file(path)


def chain(length: int, name: bytes = b"x") -> bytes:
    t = Tiny()
    for width in range(1, length + 2):
        t.tensors[t.tensor(width)].name = name + str(width).encode()
    for i in range(length):
        t.op("EXP", [i], [i + 1])
    return t.build([0], [length])


class Page(HTMLParser):
    """Every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else self._inside
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_page_holds_everything_that_the_text_says(tmp_path: Path) -> None:
    found = [analyzed(chain(3), tmp_path / "a.tflite"), analyzed(chain(9), tmp_path / "b.tflite")]
    read = Page(analysis_html(found))
    for a in found:
        assert words(full_text(a)) in words(read.text)
    assert [tag for tag, _ in read.tags if tag == "h2"] == ["h2", "h2"]
    assert [attributes["aria-label"] for _, attributes in read.tags if attributes.get("class") == "plot"] == [
        "Arena of a.tflite",
        "Arena of b.tflite",
    ]


@pytest.mark.parametrize("form", ["tiny", "vit"])
def test_a_page_loads_nothing(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if form == "tiny":
        found = analyzed(chain(3), tmp_path / "a.tflite")
    else:
        found = analyze_file(request.getfixturevalue("quantized_vit")("static_wi8_ai8"))
    content = analysis_html([found])
    read = Page(content)
    assert [(tag, name) for tag, attributes in read.tags for name in attributes if name in LOADS] == []
    assert not {"link", "iframe", "img", "object", "embed", "base", "form"} & {tag for tag, _ in read.tags}
    assert "@import" not in content.split("</style>")[0]
    assert not re.search(r"url\(\s*['\"]?(https?:|//)", content.split("</style>")[0])


def test_names_from_a_file_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    plain, evil = (Page(analysis_html([analyzed(chain(3, n), tmp_path / "a.tflite")])) for n in (b"x", EVIL))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert "document.title='taken'" in evil.text


def boxes(a: Analysis) -> dict:
    return json.loads(arena_map(a.main.arena, a.main.op_names).to_json())["data"][0]


def test_every_buffer_of_the_arena_is_a_box_in_its_place(tmp_path: Path) -> None:
    found = analyzed(chain(5), tmp_path / "a.tflite")
    drawn, buffers = boxes(found), [one for one in found.main.arena.allocations if not one.persistent]
    assert len(drawn["x"]) == len(buffers) == 6
    for i, (name, size, offset, first, last) in enumerate(drawn["customdata"]):
        (one,) = (one for one in buffers if one.name == name)
        assert (size, offset, first, last) == (one.bytes, one.offset_bytes, one.first_op, one.last_op)
        assert (drawn["base"][i], drawn["base"][i] + drawn["x"][i]) == (first - 0.5, last + 0.5)
        assert (drawn["y"][i] - drawn["width"][i] / 2, drawn["y"][i] + drawn["width"][i] / 2) == (offset, offset + size)


def test_too_many_boxes_leave_the_smallest_out_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_MOST_BOXES", 4)
    found = analyzed(chain(5), tmp_path / "a.tflite")
    assert [row[0] for row in boxes(found)["customdata"]] == ["x6", "x5", "x4", "x3"]
    assert "The 2 smallest are not drawn." in words(Page(analysis_html([found])).text)
    monkeypatch.setattr(page, "_MOST_BOXES", 6)
    assert "not drawn" not in Page(analysis_html([found])).text


def test_a_graph_without_ops_has_no_plot(tmp_path: Path) -> None:
    read = Page(analysis_html([analyzed(Tiny().build([], []), tmp_path / "a.tflite")]))
    assert not any(attributes.get("class") == "plot" for _, attributes in read.tags)
    assert not any(attributes.get("type") == "application/json" for _, attributes in read.tags)


BARS = "document.querySelectorAll('.barlayer .point path[d]').length"


def test_a_browser_draws_the_arenas(browser: Browser, quantized_vit: Callable[[str], Path], tmp_path: Path) -> None:
    """Three files: all boxes of all, and nothing to complain of."""
    transformer = analyze_file(quantized_vit("static_wi8_ai8"))
    found = [analyzed(chain(5, EVIL), tmp_path / "a.tflite"), analyzed(chain(7), tmp_path / "b.tflite"), transformer]
    (tmp_path / "page.html").write_text(analysis_html(found))
    buffers = sum(not one.persistent and one.bytes > 0 for one in transformer.main.arena.allocations)
    assert buffers > 100
    with opened(browser, (tmp_path / "page.html").as_uri()) as seen:
        assert seen.complaints == []
        assert seen.page.evaluate(BARS) == 6 + 8 + buffers
        assert seen.page.locator(".trace.scatter .js-line").count() == 3, "the sum of live bytes"
        assert seen.page.locator(".trace.scatter .point").count() == 3, "the op at the peak"
        assert seen.page.title() == "a.tflite, b.tflite, static_wi8_ai8.tflite"
        buttons = set(seen.page.locator("[data-title]").evaluate_all("all => all.map(one => one.dataset.title)"))
    assert "Zoom in" in buttons
    assert not {name for name in buttons if "hare" in name or "loud" in name}, "no button sends the file's data away"
