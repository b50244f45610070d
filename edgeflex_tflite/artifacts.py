"""Everything that passes from one stage to the next, as frozen dataclasses with the unit in the name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path


class Dtype(str, Enum):
    """What a site is stored and computed in; INT16 is for activations alone."""

    FP32 = "FP32"
    FP16 = "FP16"
    INT16 = "INT16"
    INT8 = "INT8"
    INT4 = "INT4"

    @property
    def is_integer(self) -> bool:
        return self in (Dtype.INT8, Dtype.INT4)

    @property
    def bits(self) -> int:
        """Of one weight."""
        return {"FP32": 32, "FP16": 16, "INT16": 16, "INT8": 8, "INT4": 4}[self.value]


@dataclasses.dataclass(frozen=True)
class SiteProfile:
    """What one site did over the calibration images.

    Attributes:
        calls: how often the site ran; 0 means that it was never called and that the other figures mean nothing.
        mean, mean_abs, max_abs: per channel of the site's output, `[channels]`.
        percentiles: `{"50": ..., "99": ..., "99.9": ...}` of |x| over the whole output.
        activation_bytes: size of the site's output for one image in float32.
    """

    calls: int
    mean: tuple[float, ...]
    mean_abs: tuple[float, ...]
    max_abs: tuple[float, ...]
    percentiles: dict[str, float]
    activation_bytes: int


@dataclasses.dataclass(frozen=True)
class ActivationProfile:
    """Statistics of every site, by name, over `images` calibration images."""

    images: int
    sites: dict[str, SiteProfile]

    @property
    def never_called(self) -> tuple[str, ...]:
        return tuple(name for name, site in self.sites.items() if site.calls == 0)


@dataclasses.dataclass(frozen=True)
class BlockShape:
    """The sizes of a block that pruning may change.

    Attributes:
        width: hidden neurons of the MLP.
        num_heads: heads of the attention.
        key_dim: channels of one head's queries and keys.
        value_dim: channels of one head's values.
    """

    width: int
    num_heads: int
    key_dim: int
    value_dim: int


@dataclasses.dataclass(frozen=True)
class BlockCut:
    """How one block is cut.

    Attributes:
        width, dense_width: hidden neurons after and before.
        predicted_error: mean squared error of the MLP's output that the allocation expects, over its mean square.
        predicted_divergence: KL divergence of the logits that the allocation expects of what it does to this block
            alone. Both are None where the allocation measures nothing.
        error_cut_alone, error: the same relative error as measured in the sweep, before and after compensation.
        shape: of the block, where its attention is cut too; its width is `width`.
    """

    width: int
    dense_width: int
    predicted_error: float | None
    predicted_divergence: float | None
    error_cut_alone: float | None = None
    error: float | None = None
    shape: BlockShape | None = None

    @property
    def is_cut(self) -> bool:
        return self.width < self.dense_width or self.shape is not None


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """What one change alone does to the logits of the dense model.

    Attributes:
        block: number of the block that is changed; None outside of the blocks.
        change: in words.
        divergence: KL divergence of the logits, in nats.
    """

    block: int | None
    change: str
    divergence: float


@dataclasses.dataclass(frozen=True)
class PrunePlan:
    """One `BlockCut` a block, front to back, and the bytes that the plan is predicted to need.

    Attributes:
        dtypes: of the sites whose precision the budget has lowered.
        predicted_divergence: KL divergence of the logits that the allocation expects of the whole plan, in nats; None
            where it measures nothing.
        sensitivities: what was measured.
    """

    cuts: tuple[BlockCut, ...]
    predicted_weights_bytes: int
    predicted_arena_bytes: int
    dtypes: dict[str, Dtype] = dataclasses.field(default_factory=dict)
    predicted_divergence: float | None = None
    sensitivities: tuple[Sensitivity, ...] = ()

    @property
    def is_cut(self) -> bool:
        """Whether any block is."""
        return any(cut.is_cut for cut in self.cuts)

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(cut.width for cut in self.cuts)

    @property
    def predicted_bytes(self) -> int:
        return self.predicted_weights_bytes + self.predicted_arena_bytes


@dataclasses.dataclass(frozen=True)
class SitePrecision:
    """What a site's weights become, and why."""

    dtype: Dtype
    reason: str


@dataclasses.dataclass(frozen=True)
class PrecisionPlan:
    """Precision of every site, by name.

    Attributes:
        weights: sites that hold a weight matrix or kernel.
        compute: sites without one (norms, attention products, softmax, activations, residual additions).
        activations: what INT8 sites multiply: `dynamic` (quantized at run time, float between sites) or `static`
            (quantized by calibration, integers between sites); None where no site is INT8.
        integer_io: the file's own input and output are INT8.
    """

    weights: dict[str, SitePrecision]
    compute: dict[str, SitePrecision]
    activations: str | None
    integer_io: bool = False

    def lowered(self, dtypes: Mapping[str, Dtype]) -> PrecisionPlan:
        """With some sites in another precision, because the budget asks for it."""
        changed = {site: SitePrecision(dtype, "chosen for the budget") for site, dtype in dtypes.items()}
        return dataclasses.replace(self, weights=self.weights | changed)


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
class AwqGroup:
    """The scale that AWQ chose for linears that read the same input.

    Attributes:
        sites: the linears, or the linear whose input was scaled.
        alpha: exponent of the mean absolute activation; 0 means that plain rounding won.
        plain_error, error: mean squared error of the residual stream behind the attention or MLP that reads the scaled
            input, without and with the scale.
    """

    sites: tuple[str, ...]
    alpha: float
    plain_error: float
    error: float


@dataclasses.dataclass(frozen=True)
class RoundedSite:
    """What rounding costs at one linear.

    Attributes:
        site: the linear.
        dtype: of its weights in the file.
        plain_error, error: mean squared error of its output on the calibration tokens over its variance, with each
            weight rounded to the nearest, and as it was rounded.
    """

    site: str
    dtype: Dtype
    plain_error: float
    error: float


def share_taken_off(found: Sequence[AwqGroup] | Sequence[RoundedSite]) -> float:
    """Share of the summed error of plain rounding that scales, or a better rounding, take off."""
    return 1 - sum(each.error for each in found) / max(sum(each.plain_error for each in found), 1e-30)


@dataclasses.dataclass(frozen=True)
class Chunks:
    """In how many pieces, one after the other, each block of a file computes; 1: at once.

    Attributes:
        attention: groups of heads.
        mlp: groups of hidden neurons.
    """

    attention: int = 1
    mlp: int = 1


WHOLE = Chunks()


@dataclasses.dataclass(frozen=True)
class Merging:
    """The tokens that a file merges on their way through its blocks.

    Attributes:
        count: pairs that each block but the last merges.
        tried: `(count, median latency in ms)` of every file that was measured for a latency target, in that order.
    """

    count: int = 0
    tried: tuple[tuple[int, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class MemoryCost:
    """What a file needs on the device: its weights, and the arena that TFLite plans for its activations.

    Attributes:
        peak_op: type and number of the operator that sets the arena.
        peak_site: the site that it belongs to; empty in files whose tensors are not named after sites.
    """

    weights_bytes: int
    arena_bytes: int
    file_bytes: int
    peak_op: str
    peak_site: str = ""

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.arena_bytes


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
class Metrics:
    """What the verification found, on the written file or the named torch model; `dense_memory` alone is predicted.

    Attributes:
        dense, pruned, file: accuracy of the FP32 torch model as it came, of the pruned one before quantization, and of
            the written file, on the same images. `pruned` is None where nothing was pruned.
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
    merging: Merging = Merging()


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """What the written file takes as its image.

    Attributes:
        layout: `nhwc` or `nchw`.
        range: `0-255` (pixels as a camera gives them), `0-1`, or `normalized` (`(pixel / 255 - mean) / std`).
        mean, std: the model's normalization of 0-1 pixels, per channel.
        height, width: in pixels.
    """

    layout: str
    range: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    height: int
    width: int

    @property
    def _unit(self) -> float | None:
        return {"0-255": 255.0, "0-1": 1.0, "normalized": None}[self.range]

    @property
    def scale(self) -> tuple[float, ...]:
        """Factor per channel from the file's units to normalized ones: `normalized = scale * x + shift`."""
        if self._unit is None:
            return (1.0, 1.0, 1.0)
        return tuple(1.0 / (self._unit * std) for std in self.std)

    @property
    def shift(self) -> tuple[float, ...]:
        """Summand per channel from the file's units to normalized ones."""
        if self._unit is None:
            return (0.0, 0.0, 0.0)
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the file's input tensor."""
        size = (self.height, self.width)
        return (1, *size, 3) if self.layout == "nhwc" else (1, 3, *size)


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
            `preprocessing.json`, `golden/`, `stages.json`, `report.md`, and `benchmark.json` where latency was
            measured.
        metrics: what verification found.
    """

    folder: Path
    metrics: Metrics

    @property
    def model(self) -> Path:
        return self.folder / "model.tflite"
