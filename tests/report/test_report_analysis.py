"""What `analyze` says as text: one file in full, several side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.analysis.compilers import Compilers, EthosU
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.memory.planner import plan_arena
from edgeflex_tflite.report.analysis import MOST_ROWS, analysis_text, compare_rows, sparkline
from tests.tiny import Tiny


def analyzed(content: bytes, path: Path) -> Analysis:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return analyze_file(path)


def peak_in_the_middle() -> bytes:
    """Small, large, small: 4,000 and 8,000 bytes are alive at the second op."""
    t = Tiny()
    x, a, b, y = t.tensor(10), t.tensor(1000), t.tensor(2000), t.tensor(10)
    for tensor, name in ((x, b"given"), (a, b"wide"), (b, b"wider"), (y, b"result")):
        t.tensors[tensor].name = name
    t.op("EXP", [x], [a])
    t.op("LOG", [a], [b])
    t.op("NEG", [b], [y])
    return t.build([x], [y])


def many_alive(count: int) -> bytes:
    t = Tiny()
    inputs = [t.tensor(8) for _ in range(count)]
    t.op("CONCATENATION", inputs, [t.tensor(8 * count)], table="ConcatenationOptions")
    return t.build(inputs, [count])


def caller() -> bytes:
    """A graph of two matrices of 120 bytes whose branches work on one more each."""
    t = Tiny()
    flag, x, y = t.tensor(1, dtype="BOOL"), t.tensor(6, 5), t.tensor(6, 5)
    t.op("IF", [flag, x], [y], table="IfOptions", thenSubgraphIndex=1, elseSubgraphIndex=2)
    arms = []
    for op in ("EXP", "LOG"):
        arm = t.callee()
        a, b, c = arm.tensor(6, 5), arm.tensor(6, 5), arm.tensor(6, 5)
        arm.op(op, [a], [b])
        arm.op(op, [b], [c])
        arms.append(arm.graph([a], [c]))
    return t.build([flag, x], [y], *arms)


def section(text: str, start: str) -> list[str]:
    """Lines of the paragraph that begins so."""
    return next(part for part in text.split("\n\n") if part.lstrip().startswith(start)).splitlines()


def test_the_peak_is_named_with_what_is_alive(tmp_path: Path) -> None:
    found = analyzed(peak_in_the_middle(), tmp_path / "model.tflite")
    lines = section(analysis_text([found]), "planned arena")
    assert lines[0].startswith(f"planned arena without delegate: {found.main.arena.total_bytes:,} bytes")
    start = next(i for i, line in enumerate(lines) if "the peak is set by op 1, LOG, with these alive:" in line)
    rows = [line.split() for line in lines[start + 3 :]]
    assert [(row[0], row[2], row[3:]) for row in rows] == [
        ("8,000", "wider", ["1", "to", "2"]),
        ("4,000", "wide", ["0", "to", "1"]),
        ("40", "given", ["0", "to", "2"]),
    ]


def test_all_that_is_alive_adds_up_to_the_timeline(tmp_path: Path) -> None:
    arena = analyzed(peak_in_the_middle(), tmp_path / "model.tflite").main.arena
    assert arena.peak_op is not None
    assert sum(one.bytes for one in arena.live_at_peak) == arena.timeline_bytes[arena.peak_op[0]] == 12_040


@pytest.mark.parametrize(("count", "told"), [(MOST_ROWS - 1, None), (MOST_ROWS + 2, "and 3 smaller ones")])
def test_a_long_list_is_cut_short_and_says_so(count: int, told: str | None, tmp_path: Path) -> None:
    text = analysis_text([analyzed(many_alive(count), tmp_path / "model.tflite")])
    assert ("smaller ones" in text) == (told is not None)
    assert told is None or told in text


def test_names_that_look_like_numbers_stay_names(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(4), t.tensor(4)
    t.tensors[x].name, t.tensors[y].name = b"1e3", b"007"
    t.op("EXP", [x], [y])
    lines = section(analysis_text([analyzed(t.build([x], [y]), tmp_path / "model.tflite")]), "graph")
    assert [line.split()[2] for line in lines[2:]] == ["1e3", "007"]


def test_ports_are_told_with_shape_and_quantization(tmp_path: Path) -> None:
    t = Tiny()
    x, y = t.tensor(1, 4, dtype="INT8", scales=[0.5]), t.tensor(1, 4, dtype="INT8", scales=[0.25])
    t.tensors[x].shapeSignature, t.tensors[x].quantization.zeroPoint = [-1, 4], [-3]
    t.op("QUANTIZE", [x], [y])
    lines = section(analysis_text([analyzed(t.build([x], [y]), tmp_path / "model.tflite")]), "graph")
    assert lines[2].split() == ["0", "in", "t0", "INT8", "[-1,", "4]", "0.5", "*", "(q", "-", "-3)"]
    assert lines[3].split() == ["0", "out", "t1", "INT8", "[1,", "4]", "0.25", "*", "(q", "-", "0)"]


def test_every_graph_has_its_part(tmp_path: Path) -> None:
    text = analysis_text([analyzed(caller(), tmp_path / "model.tflite")])
    assert [f"\n\ngraph {i} graph\n" in text for i in range(4)] == [True, True, True, False]
    assert text.count("planned arena without delegate") == text.count("on a CPU: ") == 3
    assert text.count("+ the graphs that it runs") == 1
    assert "0.0 million MACs; not counted: IF" in text


def test_the_heading_says_what_the_file_is_and_needs(tmp_path: Path) -> None:
    found = analyzed(peak_in_the_middle(), tmp_path / "model.tflite")
    lines = section(analysis_text([found]), str(tmp_path))
    assert lines[0] == f"{tmp_path / 'model.tflite'}: {found.inventory.file_bytes:,} bytes, sha256 {found.sha256[:16]}"
    assert lines[1] == "  made by a converter that does not say"
    assert lines[2].startswith(f"  needs TensorFlow Lite {found.runtime.release} (")
    unlisted = replace(found, runtime=replace(found.runtime, unlisted=("ADD version 99",)))
    assert "; of unknown age: ADD version 99" in analysis_text([unlisted])


def test_surprises_are_told_or_their_absence(tmp_path: Path) -> None:
    found = analyzed(peak_in_the_middle(), tmp_path / "model.tflite")
    assert found.surprises == ()
    assert analysis_text([found]).endswith("\n\nno surprises found")
    t = Tiny()
    x = t.tensor(1, 1, 1, 2, 2)
    t.op("EXP", [x], [t.tensor(1, 1, 1, 2, 2)])
    odd = analyzed(t.build([x], []), tmp_path / "odd.tflite")
    assert f"surprises\n  rank: {odd.surprises[0].text}" in analysis_text([odd])


def test_compilers_are_quoted_where_they_were_asked(tmp_path: Path) -> None:
    found = analyzed(peak_in_the_middle(), tmp_path / "model.tflite")
    assert "by its compiler" not in analysis_text([found])
    missing = Compilers(NotMeasured("it is not there"), (EthosU("ethos-u55-256", NotMeasured("nor is this")),))
    text = analysis_text([replace(found, compilers=missing)])
    assert "  Edge TPU, by its compiler: not measured: it is not there\n  Ethos-U: not measured: nor is this" in text


def test_an_empty_file_is_no_trouble(tmp_path: Path) -> None:
    text = analysis_text([analyzed(Tiny().build([], []), tmp_path / "model.tflite")])
    assert "0.0 million MACs" in text
    assert "on a CPU: nothing to run" in text


def test_several_files_are_a_row_each(tmp_path: Path) -> None:
    several = [
        analyzed(peak_in_the_middle(), tmp_path / "a.tflite"),
        analyzed(many_alive(3), tmp_path / "b.tflite"),
        analyzed(caller(), tmp_path / "c.tflite"),
    ]
    lines = section(analysis_text(several), "file")
    assert [line.split()[0] for line in lines[2:]] == ["a.tflite", "b.tflite", "c.tflite"]
    headers, rows = compare_rows(several)
    table = [dict(zip(headers, row, strict=True)) for row in rows]
    assert [row["ops"] for row in table] == ["3", "1", "1"]
    assert [row["arena MB"] for row in table] == [f"{a.main.arena.total_bytes / 1e6:.2f}" for a in several]
    assert [row["integer MACs"] for row in table] == ["-", "-", "-"]


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [tmp_path / "one" / "model.tflite", tmp_path / "two" / "model.tflite", tmp_path / "two" / "other.tflite"]
    _, rows = compare_rows([analyzed(peak_in_the_middle(), path) for path in paths])
    assert [row[0] for row in rows] == [str(paths[0]), str(paths[1]), "other.tflite"]


def test_the_least_arena_counts_the_graphs_that_are_run_too(tmp_path: Path) -> None:
    """Else it could not be held against the arena, which does."""
    t = Tiny()
    x, y, wide = t.tensor(1), t.tensor(1), t.callee()
    t.op("CALL_ONCE", [], [], table="CallOnceOptions", initSubgraphIndex=1)
    t.op("EXP", [x], [y])
    a, b = wide.tensor(10**6), wide.tensor(10**6)
    wide.op("EXP", [wide.constant(np.ones(1))], [a])
    wide.op("EXP", [a], [b])
    content = t.build([x], [y], wide.graph([], []))
    headers, (row,) = compare_rows([analyzed(content, tmp_path / "model.tflite")])
    assert plan_arena(content).total_bytes >= 8_000_000
    assert dict(zip(headers, row, strict=True))["lower bound MB"] == "8.00"


def test_no_values_draw_nothing_and_one_draws_one_bar() -> None:
    assert sparkline([]) == ""
    assert sparkline([5]) == "█"
    assert sparkline([0]) == " "
    assert sparkline([0, 0, 0]) == "   "
    assert sparkline([0, 4, 8]) == " ▄█"


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=400), st.integers(1, 80))
def test_a_line_of_bars_keeps_the_largest_value_in_its_place(values: list[int], columns: int) -> None:
    line = sparkline(values, columns)
    assert len(line) == min(columns, len(values))
    largest = [place for place, value in enumerate(values) if value == max(values) > 0]
    assert line.count("█") <= len(largest)
    for place in largest:
        column = place * len(line) // len(values)
        assert "█" in line[column : column + 2], "a column may begin within it"


@pytest.mark.parametrize("columns", [1, 7, 72])
def test_more_values_than_columns_keep_the_maximum(columns: int) -> None:
    for place in (0, 100, 500, 998, 999):
        values = [1] * 1000
        values[place] = 80
        line = sparkline(values, columns)
        assert (len(line), line.count("█")) == (columns, 1)
        assert line.replace("█", "") == " " * (columns - 1)


def test_a_vision_transformer_is_told_in_full(quantized_vit: Callable[[str], Path]) -> None:
    found = analyze_file(quantized_vit("static_wi8_ai8"))
    text = analysis_text([found])
    index, name = found.main.arena.peak_op or (0, "")
    assert f"the peak is set by op {index}, {name}, with these alive:" in text
    for one in found.main.arena.live_at_peak:
        assert f"{one.bytes:,}" in text
        assert one.name[:40] in text
    assert "1.9 million MACs: 100.0% integer" in text
    assert "signatures serving_default (graph 0)" in text
    for surprise in found.surprises:
        assert f"  {surprise.kind}: {surprise.text}" in text
    rows = analysis_text([found], ops=True).split("op by op")[1].splitlines()
    assert sum(row.split()[:1] == [str(i)] for i in range(126) for row in rows) == 126
