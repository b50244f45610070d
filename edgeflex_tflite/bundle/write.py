"""Writing the bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgeflex_tflite import files
from edgeflex_tflite.analysis.analysis import analyze_file
from edgeflex_tflite.artifacts import (
    ActivationProfile,
    AwqGroup,
    Metrics,
    NpuReport,
    PrunePlan,
    RoundedSite,
    StageRecord,
)
from edgeflex_tflite.bundle.manifest import Origin, manifest
from edgeflex_tflite.lower.metadata import LABELS_FILE, labels_text
from edgeflex_tflite.npu.compile import NPU_FILE
from edgeflex_tflite.report.markdown import report
from edgeflex_tflite.targets.results import Results
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
    model = folder / "model.tflite"
    shutil.copyfile(lowered / "model.tflite", model)
    shutil.copyfile(verified / "metrics.json", folder / "metrics.json")
    if timed is not None:
        shutil.copyfile(timed / "benchmark.json", folder / "benchmark.json")
    if compiled is not None:
        shutil.copytree(compiled, folder, dirs_exist_ok=True)
    (folder / "recipe.json").write_text(run.recipe.to_json())
    (folder / LABELS_FILE).write_text(labels_text(run.labels))
    _write_preprocessing(run, folder / "preprocessing.json")
    _write_golden(run, model, folder / "golden")
    text = report(
        run,
        origin,
        files.read_json(verified / "metrics.json", Metrics),
        files.read_json(profiled / "profile.json", ActivationProfile),
        files.read_json(pruned / "plan.json", PrunePlan),
        files.read_json(scaled / "awq.json", list[AwqGroup]),
        files.read_json(scaled / "rounding.json", list[RoundedSite]),
        analyze_file(model, num_threads=run.threads),
        None if timed is None else files.read_json(timed / "benchmark.json", Results),
        stages,
        None if compiled is None else files.read_json(compiled / NPU_FILE, NpuReport),
    )
    (folder / "report.md").write_text(text)
    files.write_json(folder / "stages.json", list(stages), list[StageRecord])
    _write_json(folder / "manifest.json", manifest(run, origin, identity, folder))
    return f"{model.stat().st_size:,} bytes of model.tflite and its evidence"


def _write_preprocessing(run: Run, path: Path) -> None:
    """What a device has to do with an image before it gives it to the file."""
    spec, preprocessing = run.spec, run.preprocessing.to_json()
    resize = {key: preprocessing[key] for key in ("height", "width", "interpolation", "crop_pct", "crop_mode")}
    normalization = {"mean": list(spec.mean), "std": list(spec.std)}
    content = {
        "input_shape": list(spec.shape),
        "input_layout": spec.layout,
        "input_range": spec.range,
        "channel_order": "RGB",
        "resize": resize,
        "normalization": normalization,
        "normalization_inside_the_file": spec.range != "normalized",
    }
    _write_json(path, content)


def _write_golden(run: Run, model: Path, folder: Path) -> None:
    """One evaluation image, the exact array that the file is given for it, and what the file must answer."""
    folder.mkdir()
    pixels = next(iter(run.data.evaluation))[0][0].numpy()
    runner = FileRunner(model, run.spec, run.threads)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / "image.png")
    np.save(folder / "input.npy", runner.tensor(pixels))
    np.save(folder / "output.npy", runner.raw(pixels))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
