"""The page about ViT-Huge from known figures, the watch over a process, and what the tool refuses."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Merging, StageRecord
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Ratio
from edgeflex_tflite.targets.results import Results
from tests.report.findings import measurement, metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import measure_huge
import measure_huge_page as page

TOOLS = Path(measure_huge.__file__).parent
GIGABYTE = 1_000_000_000
STAGES = [
    StageRecord("prune", 300.0, 7 * GIGABYTE, "widths 2560 to 2560"),
    StageRecord("lower", 80.0, 12 * GIGABYTE, "213 MB"),
]
SAMPLES = [(1.0, GIGABYTE, 0), (200.0, 4 * GIGABYTE, 2 * GIGABYTE), (400.0, 5 * GIGABYTE, 3 * GIGABYTE)]


def test_the_page_holds_what_was_measured(tmp_path: Path) -> None:
    merged = dataclasses.replace(metrics(), merging=Merging(1), drop_points=3.25)
    for name, found in (("huge", metrics()), ("trained", metrics()), ("trained_merged", merged)):
        (tmp_path / name).mkdir()
        files.write_json(tmp_path / name / "metrics.json", found)
    files.write_json(tmp_path / "huge" / "stages.json", STAGES, list[StageRecord])
    (tmp_path / "memory.json").write_text(json.dumps(SAMPLES))
    measured = [measurement("stock", "0", [60.0] * 3), measurement("ours", "1", [6.0] * 3)]
    results = Results.now("", Protocol(), measured, [Ratio.of("ours", "stock", [0.1, 0.125, 0.11])])
    files.write_json(tmp_path / "benchmark.json", results)
    operators = {f"aten::{name}": (index + 1) / 55 for index, name in enumerate("abcdefghij")}
    (tmp_path / "operators.json").write_text(json.dumps({"prune": operators, "quantize": operators}))
    page.write(tmp_path, "python -m edgeflex_tflite.convert --model=huge", "python tools/again.py", tmp_path)
    text = (tmp_path / "vit_huge.md").read_text()
    for part in (
        "| prune          | 300 | 7.0       | widths 2560 to 2560 |",
        "| start and load | 20  |",
        "| whole          | 400 | 12.0      |",
        "0.110 (0.100 to 0.125)",
        "50 (100.0%)",
        "| j 18%   | j 18%      |",
        "With one pair of its 26 tokens merged in each block but the last, it loses 3.25 points",
        "python -m edgeflex_tflite.convert --model=huge",
        "python tools/again.py",
    ):
        assert part in text, text
    content = json.loads((tmp_path / "vit_huge.json").read_text())
    assert content["memory"] == [list(sample) for sample in SAMPLES]
    assert content["stages"][1]["peak_bytes"] == 12 * GIGABYTE
    assert "<svg" in (tmp_path / "vit_huge.svg").read_text()


def test_the_watch_sees_the_memory_of_the_process() -> None:
    size = 300_000_000
    code = f"import time; held = b'1' * {size}; time.sleep(1.5)"
    samples = measure_huge.watch([sys.executable, "-c", code])
    assert samples
    assert size < max(anonymous for _, anonymous, _ in samples) < 2 * size


def test_what_is_missing_is_named() -> None:
    command = [sys.executable, str(TOOLS / "measure_huge.py"), "--data=x.tar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--calibration_data is missing" in done.stderr
    assert "Traceback" not in done.stderr
