"""What is decided before the first long stage, and what every stage of a run shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from torch import Tensor, nn

from edgeflex_tflite.artifacts import WHOLE, Chunks, InputSpec, MemoryCost, PrecisionPlan
from edgeflex_tflite.data import Data, Preprocessing
from edgeflex_tflite.data.views import views
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.lower.fit import fit_arena
from edgeflex_tflite.lower.merge import check_mergeable
from edgeflex_tflite.lower.predict import predict_memory
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.forms import form_for
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.npu.compile import check_target
from edgeflex_tflite.profiling.blocks import Tokens, embed
from edgeflex_tflite.quantize.plan import plan_precision
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.resources import check_model_fits

MOST_TOKENS, MOST_IMAGES = 2048, 64
"""Of a batch of calibration images: enough for torch, and several batches where images are few and large."""


@dataclasses.dataclass(frozen=True)
class Design:
    """The file that a model and a recipe ask for, before any image is looked at.

    Attributes:
        source: timm's model, as it came; `dense` is its edge form.
        spec: what the file takes as its image.
        precisions: of every site.
        dense_cost, float_cost: predicted for the file without any pruning, in the planned precisions and in FP32.
        threads: of torch and the interpreter.
        chunks: the pieces that the file's blocks compute in.
    """

    source: nn.Module
    dense: EdgeViT
    preprocessing: Preprocessing
    recipe: Recipe
    spec: InputSpec
    precisions: PrecisionPlan
    dense_cost: MemoryCost
    float_cost: MemoryCost
    threads: int
    chunks: Chunks = WHOLE

    @property
    def dense_widths(self) -> tuple[int, ...]:
        return tuple(block.mlp.width for block in self.dense.blocks)


@dataclasses.dataclass(frozen=True)
class Run(Design):
    """A design on its way to a file.

    Attributes:
        data: calibration and evaluation images.
        labels: a name for each class.
        console: where progress goes.
    """

    data: Data = dataclasses.field(kw_only=True)
    labels: tuple[str, ...] = dataclasses.field(kw_only=True)
    console: Console = dataclasses.field(kw_only=True)

    @classmethod
    def of(cls, design: Design, data: Data, labels: tuple[str, ...] | None, console: Console) -> Run:
        classes = design.dense.head.out_features
        names = labels or data.evaluation.source.class_names or tuple(str(index) for index in range(classes))
        if len(names) != classes:
            raise UserError(f"{len(names)} labels are given, and the model has {classes} classes: name every class")
        known = data.calibration.labels
        if design.recipe.needs_labels and not bool(((known >= 0) & (known < classes)).all()):
            raise UserError(
                f"prune_score {design.recipe.prune_score} needs the class of every calibration image, 0 to "
                f"{classes - 1}, and {data.calibration.source} has others: calibrate on labelled images, or choose "
                "another score"
            )
        return cls(**vars(design), data=data, labels=names, console=console)

    def calibration_batches(self, augmented: bool = False) -> Iterator[Tensor]:
        """Normalized calibration images, `float32 [B, 3, H, W]`, or all views of them that the recipe asks for."""
        pixels, recipe = self.data.calibration.pixels, self.recipe
        if augmented:
            pixels = views(pixels, recipe.mirror, recipe.crops, recipe.seed)
        images = min(MOST_IMAGES, max(1, MOST_TOKENS // self.dense.num_tokens))
        return (self.preprocessing.normalize(batch) for batch in pixels.split(images))

    def calibration_tokens(self, augmented: bool = False) -> Tokens:
        """Residual stream before the first block, of the images of `calibration_batches`."""
        return embed(self.dense, self.console.progress(list(self.calibration_batches(augmented)), "embed"))

    def calibration_labels(self, augmented: bool = False) -> Tensor:
        """Classes of the images of `calibration_batches`, `int64 [images]`."""
        return self.data.calibration.labels.repeat(self.recipe.views if augmented else 1)


def design_file(model: nn.Module, preprocessing: Preprocessing, recipe: Recipe, threads: int) -> Design:
    """Decide everything that does not depend on images.

    Raises:
        UserError: model too large for this machine or without an edge form; recipe or preprocessing that do not fit it;
            an arena budget that is out of reach; tokens to merge where the head reads them all; a target whose
            compiler is not installed.
    """
    check_target(recipe.target)
    check_model_fits(model)
    dense = form_for(recipe.target, to_edge_form(model, recipe.rewrites))
    if recipe.merges:
        check_mergeable(dense)
    size = (preprocessing.height, preprocessing.width)
    if size != dense.img_size:
        raise UserError(
            f"the images are {size[0]}x{size[1]} and the model takes {dense.img_size}: give --img_size={size[0]}"
        )
    spec = InputSpec(recipe.input_layout, recipe.input_range, preprocessing.mean, preprocessing.std, *size)
    precisions = plan_precision(recipe, weight_sites(dense), compute_sites(dense))
    widths = [block.mlp.width for block in dense.blocks]
    float_cost, dense_cost = predict_memory(dense, widths, precisions, spec, threads, WHOLE, recipe.batches)
    chunks = WHOLE
    if recipe.arena_budget_bytes is not None:
        chunks, dense_cost = fit_arena(dense, precisions, spec, recipe.arena_budget_bytes, threads, dense_cost)
    return Design(model, dense, preprocessing, recipe, spec, precisions, dense_cost, float_cost, threads, chunks)
