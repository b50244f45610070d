"""The report says what was measured, and nothing that was not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgeflex_tflite.artifacts import (
    AwqGroup,
    BlockCut,
    BlockShape,
    Dtype,
    MemoryCost,
    Metrics,
    Parity,
    PrunePlan,
    RoundedSite,
    Sensitivity,
)
from edgeflex_tflite.report import sentences, tables
from edgeflex_tflite.report.markdown import github
from edgeflex_tflite.report.plan import width_rows
from edgeflex_tflite.verify.accuracy import accuracy

LABELS = np.arange(100) % 10
LOGITS = np.eye(10, dtype=np.float32)[LABELS]
WRONG = np.roll(LOGITS, 1, axis=1)


@pytest.fixture
def metrics() -> Metrics:
    half = np.where((np.arange(100) < 50)[:, None], LOGITS, WRONG)
    return Metrics(
        dense=accuracy(LOGITS, LABELS),
        pruned=None,
        file=accuracy(half, LABELS),
        drop_points=50.0,
        drop_low_points=40.2,
        drop_high_points=59.8,
        agreement_percent=50.0,
        divergence=0.0125,
        parity=Parity(16, 1e-6, 2e-7, 1e-3),
        memory=MemoryCost(20_000_000, 1_500_000, 21_000_000, "FULLY_CONNECTED (operator 7)"),
        dense_memory=MemoryCost(80_000_000, 6_000_000, 81_000_000, "GELU (operator 9)"),
        memory_budget_bytes=None,
        evaluation_images=100,
        evaluation_left_out=3,
    )


def test_headline(metrics: Metrics) -> None:
    text = sentences.headline(metrics)
    assert "21.50 MB of weights and arena, 25.0% of what the FP32 model needs" in text
    assert "top-1 is 50.00 %, +50.00 points below" in text


def test_a_model_that_was_not_pruned_has_no_row(metrics: Metrics) -> None:
    assert "FP32 torch, pruned" not in github(tables.accuracy_table(metrics))
    pruned = dataclasses.replace(metrics, pruned=metrics.dense)
    assert "FP32 torch, pruned" in github(tables.accuracy_table(pruned))


def test_top5_is_blank_where_there_is_none(metrics: Metrics) -> None:
    few = dataclasses.replace(metrics, file=accuracy(np.eye(4, dtype=np.float32), np.arange(4)))
    assert github(tables.accuracy_table(few)).splitlines()[3].rstrip(" |").endswith("-")


def test_the_budget_is_named_where_there_is_one(metrics: Metrics) -> None:
    assert "budget" not in sentences.memory_note(metrics)
    assert "22.00 MB holds" in sentences.memory_note(dataclasses.replace(metrics, memory_budget_bytes=22_000_000))


def test_errors_that_were_not_measured_are_blank() -> None:
    plan = PrunePlan((BlockCut(64, 64, 0.0, 0.0), BlockCut(32, 64, 0.1, 1.0, 0.2, 0.05)), 0, 0)
    dense, cut = github(tables.widths_table(plan)).splitlines()[2:]
    assert dense.count(" - ") == 5 and cut.count(" - ") == 3
    assert "2.00e-01" in cut and "5.00e-02" in cut
    assert width_rows(plan) == [(0, 64, 64, "0.0%"), (1, 64, 32, "50.0%")]


def test_an_attention_that_was_cut_has_its_sizes() -> None:
    shape = BlockShape(64, 5, 48, 32)
    plan = PrunePlan((BlockCut(64, 64, 0.0, 0.0, shape=shape),), 0, 0)
    row = github(tables.widths_table(plan)).splitlines()[2]
    assert [cell.strip() for cell in row.split("|")[4:7]] == ["5", "48", "32"]


def test_sensitivities_have_a_row_a_block_and_a_column_a_change(metrics: Metrics) -> None:
    found = (Sensitivity(0, "768 neurons", 2e-3), Sensitivity(0, "fc1 INT4", 3e-4), Sensitivity(1, "fc1 INT4", 5e-5))
    plan = PrunePlan((), 0, 0, predicted_divergence=0.01, sensitivities=(*found, Sensitivity(None, "head INT8", 0.0)))
    *_, first, second, other = github(tables.sensitivity_table(plan)).splitlines()
    assert [cell.strip() for cell in first.split("|")[1:5]] == ["0", "2.0e-03", "3.0e-04", ""]
    assert [cell.strip() for cell in second.split("|")[1:5]] == ["1", "", "5.0e-05", ""]
    assert "other" in other and "0.0e+00" in other
    text = sentences.prediction_text(plan, metrics)
    assert "expected a divergence of 0.0100 nats" in text and "by 0.0125 nats" in text
    assert github(tables.sensitivity_table(PrunePlan((), 0, 0))) == ""
    assert "expected" not in sentences.prediction_text(PrunePlan((), 0, 0), metrics)


def test_rounding_names_the_worst_linear() -> None:
    sites = [RoundedSite("a", Dtype.INT8, 2e-4, 1e-4), RoundedSite("b", Dtype.INT4, 3e-2, 5e-3)]
    text = sentences.rounding_text(sites)
    assert "2 linears up to 5.0e-03" in text and "(b)" in text and "up to 3.0e-02" in text
    assert sentences.rounding_text([]) == ""


def test_awq_gain() -> None:
    groups = [AwqGroup(("a",), 0.0, 1.0, 1.0), AwqGroup(("b",), 0.35, 3.0, 2.0)]
    text = sentences.awq_text(groups)
    assert "scaled 1 of 2 groups" in text and "up to 0.35" in text and "took 25% off" in text
    assert sentences.awq_text([]) == "No activation-aware scales."
