"""The figures between the artifacts and the page: bins, goals, footprints, warnings, the last lines on the terminal."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeflex_tflite import Preprocessing, Recipe
from edgeflex_tflite.artifacts import ClassHits, Confused, Confusion, Merging, NotMeasured
from edgeflex_tflite.data import EvaluationSet, open_source
from edgeflex_tflite.data.content import content_hash
from edgeflex_tflite.report import pictures as pictures_module
from edgeflex_tflite.report.changes import changes
from edgeflex_tflite.report.distribution import BINS, distributions
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.footprint import footprint_table, footprints
from edgeflex_tflite.report.goals import goals
from edgeflex_tflite.report.pictures import chosen, pictures
from edgeflex_tflite.report.sentences import flips_text
from edgeflex_tflite.report.summary import reached, summary_text
from edgeflex_tflite.report.tables import classes_table
from edgeflex_tflite.report.warnings import WIDE_POINTS, warnings
from edgeflex_tflite.verify.confusion import confusion
from tests.report.findings import DENSE, FILE, LABELS, findings, metrics, results, small_file


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return findings(small_file(tmp_path_factory.mktemp("file") / "model.tflite"))


@pytest.fixture
def confused() -> Confusion:
    return confusion(DENSE, FILE, LABELS)


def test_changes_are_of_the_classes_that_got_worse(confused: Confusion) -> None:
    found = changes(confused)
    assert (found.labels, found.answers) == ((3, 4), (5, 8, 9))
    assert found.counts == ((2, 1, 0), (0, 0, 1))


def test_bins_hold_every_sample_and_each_is_as_much_longer() -> None:
    samples = {"a": [1.0, 2.0, 2.0, 400.0], "b": [3.0] * 7, "summary only": []}
    found = distributions(samples)
    assert found.keys() == {"a", "b"}
    assert [sum(each.percent) for each in found.values()] == pytest.approx([100, 100])
    assert [(each.count, each.median_ms) for each in found.values()] == [(4, 2.0), (7, 3.0)]
    assert found["a"].edges_ms == found["b"].edges_ms
    ratios = np.divide(found["a"].edges_ms[1:], found["a"].edges_ms[:-1])
    assert ratios == pytest.approx([ratios[0]] * BINS)
    assert max(found["a"].percent) == 50


def test_samples_that_are_all_the_same_have_bins_too() -> None:
    assert sum(distributions({"a": [5.0, 5.0]})["a"].percent) == pytest.approx(100)
    assert distributions({"a": []}) == {}


def test_goals_are_what_the_recipe_sets(found: Findings) -> None:
    assert [tuple(goal) for goal in goals(found)] == [
        ("weights + planned arena", "at most 22.00 MB", "21.50 MB"),
        ("loss of top-1", "at most 5 points", "+3.00 (-1.34 to +7.34)"),
        ("precision", "mixed", "linears: 2 FP16, 3 INT8, 1 INT4"),
    ]


def test_goals_of_speed_and_pruning(found: Findings) -> None:
    merged = dataclasses.replace(found.metrics, memory_budget_bytes=None, merging=Merging(4, ((2, 9.0), (4, 7.0))))
    recipe = Recipe(latency_target_ms=8, merge_tokens=2, prune_ratio=0.25)
    asked = goals(dataclasses.replace(found, metrics=merged, recipe=recipe, tokens=(17, 13)))
    assert [tuple(goal) for goal in asked[:-1]] == [
        ("median latency here", "at most 8 ms", "7.00 ms when the tokens were chosen"),
        ("pairs of tokens merged in a block", "2", "4: 17 tokens enter the first block, 13 the last"),
        ("MLP neurons cut", "25.0%", "25.0%"),
    ]


def test_the_goal_of_a_small_arena(found: Findings) -> None:
    small = dataclasses.replace(found.metrics, memory_budget_bytes=None, arena_budget_bytes=2_000_000)
    asked = goals(dataclasses.replace(found, metrics=small, recipe=Recipe(arena_budget_kb=2000)))
    assert tuple(asked[0]) == ("planned arena", "at most 2000 kB", "1500 kB")


def test_footprints_have_a_reason_for_every_blank() -> None:
    before, float_file, file = footprints(metrics(), "abc", results("abc"))
    assert (before.weights, before.planned_arena) == (80_000_000, 6_000_000)
    assert isinstance(before.runtime, NotMeasured) and isinstance(float_file.weights, NotMeasured)
    assert (file.weights, file.planned_arena, file.runtime) == (20_000_000, 1_500_000, 2_000_000)
    table, reasons = footprint_table([before, float_file, file])
    rows = {title: cells for title, *cells in table.rows}
    assert rows["weights"] == ["80.00", "- [1]", "20.00"]
    assert rows["runtime-owned"] == ["- [2]", "2.00", "2.00"]
    assert rows["process, file-backed"] == ["- [2]", "- [3]", "- [3]"]
    assert reasons[2] == "[3] not measured: no /proc"


def test_without_a_benchmark_the_file_has_what_is_read_from_it() -> None:
    _, file = footprints(metrics(), "abc", None)
    assert file.weights == 20_000_000
    assert isinstance(file.process_peak, NotMeasured)


def test_warnings_are_about_file_accuracy_calibration_and_measurement(found: Findings) -> None:
    assert [(kind, text) for kind, text in warnings(found) if kind != "rank"] == [
        ("few-images", "the loss of top-1 is known to 4.34 points to either side, from 100 images: give more of them"),
        ("never-called", "calibration never reached blocks.1"),
        ("benchmark", "FP32, before quantization, model.tflite: the machine was busy"),
    ]


def test_nothing_to_warn_of(found: Findings) -> None:
    sure = dataclasses.replace(found.metrics, drop_low_points=3 - WIDE_POINTS, drop_high_points=3 + WIDE_POINTS)
    called = {name: site for name, site in found.profile.sites.items() if site.calls}
    profile = dataclasses.replace(found.profile, sites=called)
    calm = dataclasses.replace(found, metrics=sure, profile=profile, benchmark=None)
    assert [kind for kind, _ in warnings(calm)] == ["not-measured"]


def test_the_last_lines_on_the_terminal(found: Findings) -> None:
    lines = summary_text(found).splitlines()
    assert [line.split("  ")[0] for line in lines[2:7]] == [row.what for row in reached(found)]
    assert "98.00" in lines[2] and "95.00 (88.82 to 97.85)" in lines[2]
    assert "86.00 (predicted)" in lines[3] and lines[3].endswith("21.50")
    assert "5.50 (" in lines[5] and lines[5].endswith("2.00")
    assert lines[7] == "warnings, see the report: few-images, never-called, benchmark"
    assert all(len(line) <= 100 for line in lines)


def test_what_was_not_measured_is_blank_on_the_terminal(found: Findings) -> None:
    rows = {row.what: row for row in reached(dataclasses.replace(found, benchmark=None))}
    assert rows["median latency here, ms"][1:] == ("-", "-")
    assert rows["process peak here, MB"][1:] == ("-", "-")


def test_pictures_are_of_the_worst_classes(confused: Confusion, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [flip.position for flip in chosen(confused)] == [23, 13, 3, 4]
    monkeypatch.setattr(pictures_module, "MOST_A_CLASS", 2)
    assert [flip.position for flip in chosen(confused)] == [23, 13, 4]
    monkeypatch.setattr(pictures_module, "MOST_CLASSES", 1)
    assert [flip.position for flip in chosen(confused)] == [23, 13]


def test_pictures_show_the_images_that_the_model_saw(confused: Confusion) -> None:
    source = open_source("demo/test")
    preprocessing = Preprocessing(32, 32, "bicubic", 1.0, "center", (0.5,) * 3, (0.5,) * 3)
    indices = np.arange(100)[::-1].copy()
    pixels = [preprocessing.resize(source.image(int(index))) for index in indices]
    hashes = tuple(content_hash(image) for image in torch.stack(pixels))
    found = pictures(EvaluationSet(source, preprocessing, indices, hashes, frozenset(), 0), confused)
    assert [picture.flip for picture in found] == chosen(confused)
    for picture in found:
        shown = np.asarray(Image.open(io.BytesIO(picture.png)))
        np.testing.assert_array_equal(shown, pixels[picture.flip.position].numpy().transpose(1, 2, 0))


def test_no_class_got_worse_no_pictures(tmp_path: Path) -> None:
    assert pictures(None, confusion(DENSE, DENSE, LABELS)) == ()  # type: ignore[arg-type]


def test_of_many_classes_the_worst_are_told(found: Findings) -> None:
    classes = tuple(ClassHits(label, 20, 20, label) for label in range(20))
    many = Confusion(classes, (Confused(0, 1, 0, 20), Confused(15, 1, 0, 5)), (), 0)
    assert [row[0] for row in classes_table(many, [str(label) for label in range(20)]).rows] == list("0123456789")
    assert changes(many).labels == tuple(range(10))
    assert changes(many).counts[0] == (20,)
    assert "20 of 20 classes got worse; the 10 worst are shown." in flips_text(many)
