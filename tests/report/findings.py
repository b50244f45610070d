"""What a run might have found out, around a real file: every section of a report has something in it."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
from PIL import Image

from edgeflex_tflite import Recipe
from edgeflex_tflite.analysis.analysis import analyze_file
from edgeflex_tflite.analysis.partition import runtime_partitions
from edgeflex_tflite.artifacts import (
    ActivationProfile,
    AwqGroup,
    BlockCut,
    BlockShape,
    Dtype,
    Figure,
    MemoryCost,
    Metrics,
    NotMeasured,
    NpuReport,
    OnCpu,
    Parity,
    PrecisionPlan,
    PrunePlan,
    RoundedSite,
    Sensitivity,
    SitePrecision,
    SiteProfile,
    StageRecord,
)
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.report.findings import Findings
from edgeflex_tflite.report.pictures import Picture, chosen
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Environment, Latency, Measurement, Memory, Ratio
from edgeflex_tflite.targets.results import Results
from edgeflex_tflite.verify.accuracy import accuracy, paired_drop
from edgeflex_tflite.verify.confusion import confusion
from tests.tiny import Tiny

IMAGES, CLASSES = 100, 10
LABELS = np.arange(IMAGES) % CLASSES
RIGHT = np.eye(CLASSES, dtype=np.float32)[LABELS] * 5
NAMES = tuple(f"class {number}" for number in range(CLASSES))
PLACE = Environment("host", "board", "cpu", NotMeasured("no clock"), 2, "runtime 1", "xnnpack", "Linux")


def answers(wrong: dict[int, int]) -> np.ndarray:
    """Logits `[IMAGES, CLASSES]` that are right but for `{image: answer}`."""
    logits = RIGHT.copy()
    for image, answer in wrong.items():
        logits[image] = 0
        logits[image, answer] = 4 + image / 100
    return logits


DENSE = answers({0: 1, 1: 2})
FILE = answers({0: 1, 3: 5, 13: 5, 23: 8, 4: 9})
"""Images 3, 13 and 23 of class 3 and 4 of class 4 flip from right to wrong, 1 from wrong to right."""


def metrics() -> Metrics:
    drop, low, high = paired_drop(DENSE.argmax(1) == LABELS, FILE.argmax(1) == LABELS)
    return Metrics(
        dense=accuracy(DENSE, LABELS),
        pruned=accuracy(DENSE, LABELS),
        quantized=accuracy(FILE, LABELS),
        file=accuracy(FILE, LABELS),
        drop_points=drop,
        drop_low_points=low,
        drop_high_points=high,
        agreement_percent=95.0,
        divergence=0.0125,
        parity=Parity(16, 1e-6, 2e-7, 1e-3),
        memory=MemoryCost(20_000_000, 1_500_000, 21_000_000, "FULLY_CONNECTED (operator 7)", "blocks.1.mlp.fc1"),
        dense_memory=MemoryCost(80_000_000, 6_000_000, 81_000_000, "GELU (operator 9)"),
        memory_budget_bytes=22 * MEGABYTE,
        evaluation_images=IMAGES,
        evaluation_left_out=3,
    )


def measurement(name: str, sha256: str, samples_ms: list[float], warnings: tuple[str, ...] = ()) -> Measurement:
    memory = Memory(60_000, 2_000_000, 50_000_000, 20_000_000, NotMeasured("no /proc"))
    return Measurement(name, sha256, 14, PLACE, 9.0, 3.0, Latency.of(samples_ms), memory, warnings=warnings)


def results(sha256: str) -> Results:
    busy = ("the machine was busy",)
    measured = [
        measurement("FP32, before quantization", "0", [4.0, 5.0, 6.0, 40.0], busy),
        measurement("model.tflite", sha256, [1.0, 2.0, 3.0], busy),
    ]
    return Results.now("", Protocol(), measured, [Ratio.of("model.tflite", "FP32, before quantization", [0.4, 0.5])])


def plan() -> PrunePlan:
    shape = BlockShape(64, 2, 8, 16)
    sensitivities = [Sensitivity(0, "64 neurons", 2e-3), Sensitivity(1, "64 neurons", 1e-5)]
    sensitivities += [Sensitivity(1, "fc1 INT4", 0.0), Sensitivity(None, "head INT8", 3e-4)]
    return PrunePlan(
        cuts=(BlockCut(128, 128, 0.0, 0.0), BlockCut(64, 128, 0.1, 1e-3, 0.2, 0.05, shape)),
        predicted_weights_bytes=20_000_000,
        predicted_arena_bytes=1_500_000,
        dtypes={"blocks.0.mlp.fc1": Dtype.INT4},
        predicted_divergence=0.01,
        sensitivities=tuple(sensitivities),
    )


def precisions() -> PrecisionPlan:
    int8, fp16 = SitePrecision(Dtype.INT8, "a linear layer"), SitePrecision(Dtype.FP16, "fp16_sites names it")
    linears = {f"blocks.{block}.{part}": int8 for block in (0, 1) for part in ("attn.q", "mlp.fc1")}
    weights = {"patch_embed": fp16, **linears, "head": fp16}
    return PrecisionPlan(weights, {}, "dynamic").lowered({"blocks.0.mlp.fc1": Dtype.INT4})


def small_file(path: Path) -> Path:
    """Forty ops of two types, one after the other."""
    model = Tiny()
    places = [model.tensor(1, 32) for _ in range(41)]
    for index in range(40):
        model.op(("EXP", "ABS")[index % 2], [places[index]], [places[index + 1]])
    path.write_bytes(model.build([places[0]], [places[-1]]))
    return path


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    return content.getvalue()


def findings(file: Path) -> Findings:
    """Of a run that wrote this file."""
    analysis, confused = analyze_file(file), confusion(DENSE, FILE, LABELS)
    site = SiteProfile(3, (0.0,), (0.5,), (4.0,), {"50": 0.1, "99": 0.5, "99.9": 1.0}, 400)
    return Findings(
        model="vit_made_up",
        command="python -m edgeflex_tflite.convert --memory_budget_mb=22",
        recipe=Recipe(memory_budget_mb=22, max_accuracy_drop=5),
        labels=NAMES,
        evaluated_on="made up",
        shapes=(BlockShape(128, 2, 16, 16),) * 2,
        tokens=(17, 17),
        metrics=metrics(),
        confusion=confused,
        profile=ActivationProfile(32, {"blocks.0": site, "blocks.1": dataclasses.replace(site, calls=0)}),
        plan=plan(),
        precisions=precisions(),
        groups=(AwqGroup(("blocks.0.attn.q",), 0.35, 3.0, 2.0),),
        sites=(RoundedSite("blocks.0.mlp.fc1", Dtype.INT4, 2e-4, 1e-4),),
        analysis=analysis,
        partitions=runtime_partitions(file),
        benchmark=results(analysis.sha256),
        npu=NpuReport(
            "ethos-u55-256",
            "Vela 5.2",
            "model_vela.tflite",
            39,
            1,
            on_cpu=(OnCpu("GELU", "not supported", 1),),
            figures=(Figure("SRAM", 2048, "bytes"),),
            notes=("Times are estimates.",),
        ),
        stages=(StageRecord("profile", 1.5, 1_200_000_000, "2 sites"), StageRecord("lower", 9.0, None, "done")),
        pictures=tuple(Picture(flip, png()) for flip in chosen(confused)),
    )
