"""Several signatures are a section of the reports; one is not worth a word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgeflex_tflite.artifacts import Parity, Signature
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.html.report import report_html
from edgeflex_tflite.report.markdown import report
from edgeflex_tflite.report.signatures import signatures_table, signatures_text
from tests.report.findings import findings, measurement, small_file

FIRST = Signature("serving_default", 1, 20_500_000, 500_000)
SECOND = Signature("batch_4", 4, 20_700_000, 1_000_000, Parity(16, 1e-4, 2.5e-5, 0.1))


@pytest.fixture
def one(tmp_path: Path) -> Findings:
    return findings(small_file(tmp_path / "file.tflite"))


@pytest.fixture
def several(one: Findings) -> Findings:
    """Two signatures, of which the benchmark ran both: 2 ms the first, 6 ms the second."""
    assert one.benchmark is not None
    second = measurement("model.tflite", one.analysis.sha256, [5.0, 6.0, 7.0])
    measured = (*one.benchmark.measurements, dataclasses.replace(second, variant="batch_4"))
    return dataclasses.replace(
        one,
        metrics=dataclasses.replace(one.metrics, signatures=(FIRST, SECOND)),
        benchmark=dataclasses.replace(one.benchmark, measurements=measured),
    )


def test_each_has_its_share_and_its_time_for_an_image(several: Findings) -> None:
    table = signatures_table(several.metrics, several.analysis.sha256, several.benchmark)
    assert table.rows == [
        ("serving_default", "1", "20.50", "0.50", "-", "2.00", "2.00"),
        ("batch_4", "4", "20.70", "1.00", "2.5e-05 (bound 0.1)", "6.00", "1.50"),
    ]
    assert "21.00 MB, where a file for each would be 41.20 MB" in signatures_text(several.metrics)


def test_times_are_blank_where_the_file_was_not_measured(several: Findings) -> None:
    for sha256, benchmark in ((several.analysis.sha256, None), ("another file", several.benchmark)):
        table = signatures_table(several.metrics, sha256, benchmark)
        assert [row[-2:] for row in table.rows] == [("-", "-")] * 2


def test_the_reports_have_a_section_where_there_are_several(one: Findings, several: Findings) -> None:
    lone = dataclasses.replace(one, metrics=dataclasses.replace(one.metrics, signatures=(FIRST,)))
    for found, there in ((several, True), (lone, False), (one, False)):
        assert ("## Signatures" in report(found)) == there
        assert ("<h2>Signatures</h2>" in report_html(found)) == there
