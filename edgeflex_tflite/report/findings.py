"""All that a run found out, gathered from the folders of its stages for the reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeflex_tflite import files
from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.analysis.partition import RuntimePartitions, runtime_partitions
from edgeflex_tflite.artifacts import (
    ActivationProfile,
    AwqGroup,
    BlockShape,
    Confusion,
    Metrics,
    NpuReport,
    PrecisionPlan,
    PrunePlan,
    RoundedSite,
    StageRecord,
)
from edgeflex_tflite.bundle.manifest import Origin
from edgeflex_tflite.lower.merge import tokens_entering
from edgeflex_tflite.npu.compile import NPU_FILE
from edgeflex_tflite.prune.cut import with_widths
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.report.pictures import Picture, pictures
from edgeflex_tflite.targets.results import Results

if TYPE_CHECKING:
    from edgeflex_tflite.run import Run


@dataclasses.dataclass(frozen=True)
class Findings:
    """What the reports are made of.

    Attributes:
        model: its name.
        command: that makes the file again; None where there was none.
        recipe: what was asked for.
        labels: a name for each class.
        evaluated_on: name of the evaluation images' source.
        shapes: of the dense model's blocks.
        tokens: that enter each block of the file.
        metrics, confusion, profile, plan: as the stages found them.
        precisions: of every site of the file.
        groups: AWQ's.
        sites: linears that were rounded.
        analysis: what the written file says of itself.
        partitions: where the interpreter of this machine runs it.
        benchmark: of this machine; None where nothing was measured.
        npu: what the NPU's compiler says of the file; None where it is not for an NPU.
        stages: all before this one.
        pictures: of images that the file names wrong and the model right.
    """

    model: str
    command: str | None
    recipe: Recipe
    labels: tuple[str, ...]
    evaluated_on: str
    shapes: tuple[BlockShape, ...]
    tokens: tuple[int, ...]
    metrics: Metrics
    confusion: Confusion
    profile: ActivationProfile
    plan: PrunePlan
    precisions: PrecisionPlan
    groups: tuple[AwqGroup, ...]
    sites: tuple[RoundedSite, ...]
    analysis: Analysis
    partitions: RuntimePartitions
    benchmark: Results | None
    npu: NpuReport | None
    stages: tuple[StageRecord, ...]
    pictures: tuple[Picture, ...]


def gather(
    run: Run,
    origin: Origin,
    profiled: Path,
    pruned: Path,
    scaled: Path,
    verified: Path,
    timed: Path | None,
    compiled: Path | None,
    stages: Sequence[StageRecord],
    model: Path,
) -> Findings:
    """Read what the stages wrote into their folders, and the written file `model`."""
    metrics = files.read_json(verified / "metrics.json", Metrics)
    confusion = files.read_json(verified / "confusion.json", Confusion)
    plan = files.read_json(pruned / "plan.json", PrunePlan)
    return Findings(
        model=origin.model or type(run.source).__name__,
        command=origin.command,
        recipe=run.recipe,
        labels=run.labels,
        evaluated_on=run.data.evaluation.source.spec,
        shapes=tuple(block.shape for block in run.dense.blocks),
        tokens=tuple(tokens_entering(with_widths(run.dense, plan.shapes), metrics.merging.count)),
        metrics=metrics,
        confusion=confusion,
        profile=files.read_json(profiled / "profile.json", ActivationProfile),
        plan=plan,
        precisions=files.read_json(scaled / "precisions.json", PrecisionPlan),
        groups=files.read_json(scaled / "awq.json", tuple[AwqGroup, ...]),
        sites=files.read_json(scaled / "rounding.json", tuple[RoundedSite, ...]),
        analysis=analyze_file(model, num_threads=run.threads),
        partitions=runtime_partitions(model, num_threads=run.threads),
        benchmark=None if timed is None else files.read_json(timed / "benchmark.json", Results),
        npu=None if compiled is None else files.read_json(compiled / NPU_FILE, NpuReport),
        stages=tuple(stages),
        pictures=pictures(run.data.evaluation, confusion),
    )
