"""What a run found out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgeflex_tflite.artifacts.file import UNMERGED, WHOLE, Chunks, MemoryCost, Merging

SUMMARY_FILE = "summary.txt"


@dataclasses.dataclass(frozen=True)
class Tried:
    """A file that was made and measured in the search for the smallest one.

    Attributes:
        budget_bytes: what it was given; None: nothing was given up.
        memory_bytes: weights and planned arena that it needs.
        drop_points: top-1 that it loses against the FP32 torch model, in percentage points.
        holds: whether that is allowed.
    """

    budget_bytes: int | None
    memory_bytes: int
    drop_points: float
    holds: bool


@dataclasses.dataclass(frozen=True)
class Proportion:
    """`hits` of `images`, as percent, with the 95 % Wilson interval."""

    hits: int
    images: int
    percent: float
    low_percent: float
    high_percent: float


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """Top-1 and top-5 (None below six classes) on the evaluation images."""

    top1: Proportion
    top5: Proportion | None


@dataclasses.dataclass(frozen=True)
class Parity:
    """Largest difference between the FP32 file and the torch model it was lowered from, over real images."""

    images: int
    max_abs_difference: float
    max_relative_difference: float
    bound: float


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to run the written file: a graph for its own number of images, on weights that all signatures share.

    Attributes:
        name: by which an app asks for it.
        batch: images at once.
        alone_bytes: of a file with this signature alone.
        arena_bytes: planned for its graph, which it has to itself.
        parity: its logits against those of the first signature, on calibration images; None for the first itself.
    """

    name: str
    batch: int
    alone_bytes: int
    arena_bytes: int
    parity: Parity | None = None


@dataclasses.dataclass(frozen=True)
class Metrics:
    """What the verification found, on the written file or the named torch model; `dense_memory` alone is predicted.

    Attributes:
        dense, pruned, quantized, file: accuracy of the FP32 torch model as it came, of the pruned one before
            quantization, of the one whose weights are rounded, tokens merged as in the file, and of the written file,
            on the same images. `pruned` is None where nothing was pruned, `quantized` where nothing was rounded.
        drop_points: top-1 of `dense` minus top-1 of `file`, in percentage points, with its 95 % interval over pairs.
        agreement_percent: share of images on which file and dense model name the same class.
        divergence: KL divergence of the file's logits from the dense model's, mean over the images, in nats.
        parity: the lowered graph before quantization against torch.
        memory: of the written file.
        dense_memory: of the FP32 file of the model as it came, predicted from a two-block file.
        memory_budget_bytes, arena_budget_bytes: what the user asked for, or None.
        tried: files that were measured on the way to this one, where the loss that is allowed decided.
        chunks: the pieces that the file's blocks compute in.
        merging: the tokens that they merge.
        signatures: of the written file, the one that is verified and measured first.
    """

    dense: Accuracy
    pruned: Accuracy | None
    file: Accuracy
    drop_points: float
    drop_low_points: float
    drop_high_points: float
    agreement_percent: float
    divergence: float
    parity: Parity
    memory: MemoryCost
    dense_memory: MemoryCost
    memory_budget_bytes: int | None
    evaluation_images: int
    evaluation_left_out: int
    tried: tuple[Tried, ...] = ()
    arena_budget_bytes: int | None = None
    chunks: Chunks = WHOLE
    merging: Merging = UNMERGED
    quantized: Accuracy | None = None
    signatures: tuple[Signature, ...] = ()


@dataclasses.dataclass(frozen=True)
class NotMeasured:
    """The place of a figure that nobody measured.

    Attributes:
        reason: Why not, and what would be needed.
    """

    reason: str


@dataclasses.dataclass(frozen=True)
class StageRecord:
    """A finished stage of a run.

    Attributes:
        name: of the stage.
        seconds: that it took.
        peak_bytes: largest resident memory of the process up to its end; None where the system does not tell.
        summary: what the stage says of itself.
    """

    name: str
    seconds: float
    peak_bytes: int | None
    summary: str


@dataclasses.dataclass(frozen=True)
class Bundle:
    """The finished output folder.

    Attributes:
        folder: holds `model.tflite`, `recipe.json`, `manifest.json`, `metrics.json`, `labels.txt`,
            `preprocessing.json`, `golden/`, `stages.json`, `report.html`, `report.md`, `summary.txt`, and
            `benchmark.json` where latency was measured.
        metrics: what verification found.
    """

    folder: Path
    metrics: Metrics

    @property
    def model(self) -> Path:
        """The written file."""
        return self.folder / "model.tflite"

    @property
    def summary(self) -> str:
        """What was reached, in a few lines."""
        return (self.folder / SUMMARY_FILE).read_text()
