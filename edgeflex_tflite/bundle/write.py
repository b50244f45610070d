"""Writing the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import StageRecord
from edgeflex_tflite.artifacts.results import SUMMARY_FILE
from edgeflex_tflite.bundle.device import write_golden, write_preprocessing
from edgeflex_tflite.bundle.layout import MANIFEST_FILE, MODEL_FILE, RECIPE_FILE
from edgeflex_tflite.bundle.manifest import Origin, manifest
from edgeflex_tflite.lower.metadata import LABELS_FILE, labels_text
from edgeflex_tflite.report.findings import gather
from edgeflex_tflite.report.html.report import report_html
from edgeflex_tflite.report.markdown import report
from edgeflex_tflite.report.summary import summary_text
from edgeflex_tflite.verify.runner import FileRunner

if TYPE_CHECKING:
    from edgeflex_tflite.run import Run


def bundle_step(
    run: Run,
    origin: Origin,
    identity: dict[str, Any],
    profiled: Path,
    pruned: Path,
    scaled: Path,
    lowered: Path,
    verified: Path,
    timed: Path | None,
    compiled: Path | None,
    stages: Sequence[StageRecord],
    folder: Path,
) -> str:
    """Gather the bundle's files in `folder`; the manifest is written last and has the hash of every other file."""
    model = folder / MODEL_FILE
    shutil.copyfile(lowered / "model.tflite", model)
    shutil.copyfile(verified / "metrics.json", folder / "metrics.json")
    if timed is not None:
        shutil.copyfile(timed / "benchmark.json", folder / "benchmark.json")
    if compiled is not None:
        shutil.copytree(compiled, folder, dirs_exist_ok=True)
    (folder / RECIPE_FILE).write_text(run.recipe.to_json())
    (folder / LABELS_FILE).write_text(labels_text(run.labels))
    write_preprocessing(folder, run.spec, run.preprocessing)
    pixels = next(iter(run.data.evaluation))[0][0].numpy()
    write_golden(folder, pixels, FileRunner(model, run.spec, run.threads))
    found = gather(run, origin, profiled, pruned, scaled, verified, timed, compiled, stages, model)
    (folder / "report.md").write_text(report(found), encoding="utf-8")
    (folder / "report.html").write_text(report_html(found), encoding="utf-8")
    (folder / SUMMARY_FILE).write_text(summary_text(found))
    files.write_json(folder / "stages.json", list(stages), list[StageRecord])
    files.write_object(folder / MANIFEST_FILE, manifest(run, origin, identity, found.metrics.signatures, folder))
    return f"{model.stat().st_size:,} bytes of model.tflite and its evidence"
