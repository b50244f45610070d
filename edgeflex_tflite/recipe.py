"""Everything that a user may choose about a compression, and the one home of its defaults."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import inspect
import json
import math
import re
from pathlib import Path
from typing import Any, get_type_hints

from edgeflex_tflite import chips
from edgeflex_tflite.artifacts.precision import BLOCK_SIZES
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.rewrites import ALL, IN_FLOAT, OF_FLOAT_WEIGHTS, REWRITES

KILOBYTE = 1000
MEGABYTE = 1_000_000
LARGEST = 2**63
"""Bound of every number: torch's and numpy's generators take seeds below it, and nothing else comes near."""

CHOICES = {
    "precision": ("mixed", "fp32", "fp16", "int8_dynamic", "int4_dynamic", "int8_static", "int8_full"),
    "prune_score": ("obs", "energy", "flap", "mean_abs", "magnitude", "taylor", "hessian"),
    "allocation": ("measured", "uniform"),
    "compensate": ("ridge", "bias", "none"),
    "rounding": ("gptq", "nearest"),
    "stream": ("auto", "fp32", "int16", "int8"),
    "spend": ("bytes", "tokens"),
    "input_layout": ("nhwc", "nchw"),
    "input_range": ("0-255", "0-1", "normalized"),
}
FLOAT_WEIGHTS = ("fp32", "fp16")
LEVERS = ("mlp", "heads", "qk", "v", "branches", "int4", "fp16")
SCORES_WITH_LABELS = ("taylor", "hessian")
POSITIVE = (
    "memory_budget_mb",
    "arena_budget_kb",
    "latency_target_ms",
    "calibration_samples",
    "eval_samples",
    "width_multiple",
    "probe_samples",
    "awq_tokens",
    "read_weight",
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A compression recipe.

    Attributes:
        target: what the file is for: `cpu`, an Ethos-U such as `ethos-u55-256`, `edgetpu`, or a phone's chip as in
            `qualcomm:SM8650`. NPUs get a file that their compiler has been run on, in precision `int8_full` where no
            other is given with the target.
        precision: `mixed` (INT8 linears with activations quantized at run time, FP16 at `fp16_sites`, the rest FP32),
            `fp32`, `fp16` (weights), `int8_dynamic`, `int4_dynamic` (INT4 linears), `int8_static` (integer inside,
            float input and output) or `int8_full`.
        memory_budget_mb: weights plus planned arena of the written file, in units of 1,000,000 bytes; None: no budget.
        arena_budget_kb: planned arena of the written file, in units of 1,000 bytes: blocks compute in as many pieces,
            one after the other, as that asks for, with the same result; None: no block does.
        merge_tokens: pairs of tokens that every block but the last merges into one, the nearest first (ToMe), for
            models whose head reads the class token; 0: none.
        batch_sizes: numbers of images that the file takes at once, with commas between: 1, which is the signature
            `serving_default`, on which accuracy is measured, and others, each a signature `batch_N`. They share their
            weights.
        latency_target_ms: of the written file on this machine, by the report's own protocol: `merge_tokens` is raised
            until it holds; None: any latency will do.
        prune_ratio: share of all MLP neurons to cut; None: as few as the budget asks for.
        prune_score: which neurons go first: `obs` (one after the other, by what the kept ones cannot make up for),
            `energy`, `flap`, `mean_abs` (the paper's), `magnitude`, or `taylor` and `hessian`, which differentiate the
            loss and need the labels of the calibration images.
        allocation: how the blocks share what is to be cut: `measured` (by what each one's cuts do to the logits) or
            `uniform` (the same share of every block).
        compensate: what makes up for the cut neurons, in closed form: `ridge` (the kept ones take over what they did),
            `bias` (the bias takes over their mean) or `none`.
        refit: fit every linear behind the first cut or rounded weight to what the float model answers, in closed form.
        mirror: prune on the mirror images of the calibration images too; not for text or digits.
        crops: prune on so many random crops of each calibration image too, every other one mirrored where `mirror` is.
        read_weight: as how many tokens each token that the head reads (the class token) counts in the closed forms of
            pruning; more than 1 needs many calibration images, or views of them.
        levers: what a memory budget may change, with commas between: `mlp` (fewer neurons), `heads`, `qk` and `v`
            (fewer channels of each head's queries and keys, or values), `branches` (no attention, or no MLP, in a
            block: judged on `probe_samples` images and fitted to the others), `int4` (INT8 linears), `fp16` (FP16 sites
            to INT8).
        int4_block: weights of INT4 linears that share a step: 32, 64, 128 or 256, as far as a linear's input is a
            multiple of one of these; 0: all of an output channel's. Smaller ones lose less and cost bytes and time.
        rounding: of integer weights: `gptq` (the weights not yet rounded make up for each that was) or `nearest`.
        awq: search activation-aware scales for INT8 linears.
        fp16_sites, fp32_sites: regular expressions over site names; what they find is kept in that precision.
            `fp16_sites` has effect in `mixed` and `int8_static` precision, `fp32_sites` in all.
        stream: with static activations, what is computed between the linears: `fp32`: all of it in float; `int16`:
            the residual stream and the norms that read it in 16 bits, the rest in 8; `int8`: all of it in 8 bits;
            `auto`: `fp32` in `int8_static`, `int8` in `int8_full`.
        max_accuracy_drop: largest loss of top-1 against the FP32 torch model, in percentage points; None: any.
        spend: what the loss that is allowed is given for: `bytes` (with neither budget nor ratio, the smallest file is
            looked for that keeps to it, with all that `levers` allow) or `tokens` (`merge_tokens` is raised, in the
            file of the budget or ratio, as far as the loss allows).
        calibration_samples: calibration images.
        eval_samples: evaluation images; None: all.
        input_layout, input_range: what the written file takes as its image.
        skip_rewrites: exact rewrites to leave out, with commas between, to see what each one brings: `shift`, `centre`,
            `last_block`, `scale`, `keep_dims`, `squares` or `flat`.
        width_multiple: MLP widths are multiples of this.
        probe_samples: calibration images on which each block's effect on the logits is measured.
        awq_tokens: tokens on which each AWQ scale is judged.
        seed: of every random choice.
    """

    target: str = chips.CPU
    precision: str = "mixed"
    memory_budget_mb: float | None = None
    arena_budget_kb: float | None = None
    merge_tokens: int = 0
    batch_sizes: str = "1"
    latency_target_ms: float | None = None
    prune_ratio: float | None = None
    prune_score: str = "obs"
    allocation: str = "measured"
    compensate: str = "ridge"
    refit: bool = True
    mirror: bool = False
    crops: int = 0
    read_weight: int = 1
    levers: str = "mlp,heads,qk,v,int4,fp16"
    int4_block: int = 0
    rounding: str = "gptq"
    awq: bool = True
    fp16_sites: str = r"^(patch_embed|head)$"
    fp32_sites: str = ""
    stream: str = "auto"
    max_accuracy_drop: float | None = None
    spend: str = "bytes"
    calibration_samples: int = 128
    eval_samples: int | None = None
    input_layout: str = "nhwc"
    input_range: str = "0-255"
    skip_rewrites: str = ""
    width_multiple: int = 16
    probe_samples: int = 64
    awq_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        _check_types(self)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise UserError(f"{name} is {getattr(self, name)!r}: choose one of {', '.join(choices)}")
        _check_ranges(self)
        for name, given, known in (
            ("levers", self.lever_list, LEVERS),
            ("skip_rewrites", self.skipped, tuple(REWRITES)),
        ):
            if unknown := [each for each in given if each not in known]:
                raise UserError(f"{name} has {unknown[0]!r}: give some of {','.join(known)}")
        if self.memory_budget_mb is not None and self.prune_ratio is not None:
            raise UserError(
                "memory_budget_mb and prune_ratio contradict each other: give the budget or the ratio, not both"
            )
        _check_int4_block(self)
        _check_branches(self)
        _check_target(self)
        _check_merging(self)
        _check_batches(self)
        _check_regexes(self)
        _make_floats_(self)

    @property
    def memory_budget_bytes(self) -> int | None:
        return None if self.memory_budget_mb is None else math.floor(self.memory_budget_mb * MEGABYTE)

    @property
    def arena_budget_bytes(self) -> int | None:
        return None if self.arena_budget_kb is None else math.floor(self.arena_budget_kb * KILOBYTE)

    @property
    def needs_labels(self) -> bool:
        """Whether the calibration images must carry the model's classes."""
        return self.prune_score in SCORES_WITH_LABELS

    @property
    def prunes(self) -> bool:
        """Whether anything may be cut."""
        return self.memory_budget_mb is not None or bool(self.prune_ratio) or self.spends_accuracy

    @property
    def merges(self) -> bool:
        """Whether tokens are merged, or may be."""
        return self.merge_tokens > 0 or self.measures_merging

    @property
    def measures_merging(self) -> bool:
        """Whether files are measured to see how many tokens to merge."""
        return self.latency_target_ms is not None or self.spend == "tokens"

    @property
    def spends_accuracy(self) -> bool:
        """Whether the loss that is allowed decides how small the file gets, and no budget or ratio does."""
        given = self.memory_budget_mb is not None or self.prune_ratio is not None
        return self.max_accuracy_drop is not None and self.spend == "bytes" and not given

    def allows(self, drop_points: float) -> bool:
        """Whether a file may lose so many percentage points of top-1."""
        return self.max_accuracy_drop is None or drop_points <= self.max_accuracy_drop

    @property
    def batches(self) -> tuple[int, ...]:
        """Images at once, of each signature of the file."""
        return tuple(int(size) for size in self.batch_sizes.split(","))

    @property
    def views(self) -> int:
        """How often pruning sees each calibration image, in one form or another."""
        return 1 + self.mirror + self.crops

    @property
    def lever_list(self) -> tuple[str, ...]:
        return tuple(lever.strip() for lever in self.levers.split(","))

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(name.strip() for name in self.skip_rewrites.split(",")) if self.skip_rewrites else ()

    @property
    def integer_stream(self) -> bool:
        """Whether integers are what is computed with between the linears too."""
        return self.precision == chips.INTEGER or self.stream in ("int16", "int8")

    @property
    def rewrites(self) -> frozenset[str]:
        """The exact rewrites that are made."""
        of_floats = () if self.precision in FLOAT_WEIGHTS else OF_FLOAT_WEIGHTS
        return ALL.difference(self.skipped, of_floats, IN_FLOAT if self.integer_stream else ())

    @property
    def sha256(self) -> str:
        """Of the recipe's JSON form."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def overruled_by(self, changes: dict[str, Any]) -> Recipe:
        """With some keys changed.

        A changed budget takes the place of a ratio, a changed ratio that of a budget, and the precision that a changed
        target needs that of the recipe.
        """
        instead = {"memory_budget_mb": "prune_ratio", "prune_ratio": "memory_budget_mb"}
        dropped = {instead[key]: None for key in instead if key in changes and instead[key] not in changes}
        return self.replace(**dropped, **_of_target(changes), **changes)

    def replace(self, **changes: Any) -> Recipe:
        return from_dict(dataclasses.asdict(self) | changes)


def load(name_or_path: str) -> Recipe:
    """A preset by name, or a recipe from a JSON file, which may leave out what it does not change.

    Raises:
        UserError: neither a preset nor a readable file, or the file has unknown keys or bad values.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if not path.is_file():
        raise UserError(f"recipe {name_or_path!r} is neither a preset ({', '.join(PRESETS)}) nor a JSON file")
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"recipe {name_or_path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"recipe {name_or_path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"recipe {name_or_path} must be a JSON object of recipe keys, not a {type(content).__name__}")
    return from_dict(content)


def from_dict(values: dict[str, Any]) -> Recipe:
    """A recipe from some of its keys; the rest take their defaults."""
    known = [field.name for field in dataclasses.fields(Recipe)]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise UserError(f"unknown recipe key {key!r}: {hint}")
    return Recipe(**_of_target(values), **values)


def _of_target(values: dict[str, Any]) -> dict[str, Any]:
    """The precision that comes with a target that is given without one."""
    return {} if "precision" in values or values.get("target", chips.CPU) == chips.CPU else {"precision": chips.INTEGER}


def kind_of(name: str) -> type:
    """The type of a recipe's key, apart from None."""
    hint = get_type_hints(Recipe)[name]
    return next(kind for kind in getattr(hint, "__args__", (hint,)) if kind is not type(None))


def _check_types(recipe: Recipe) -> None:
    for name, hint in get_type_hints(Recipe).items():
        value = getattr(recipe, name)
        allowed = hint.__args__ if hasattr(hint, "__args__") else (hint,)
        fits = any(type(value) is kind or (kind is float and type(value) is int) for kind in allowed)
        if not fits:
            kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in allowed)
            raise UserError(f"{name} is {value!r}: it must be {kinds}")


def _check_ranges(recipe: Recipe) -> None:
    """NaN and infinity, which JSON files can hold, are in none of them."""
    for name in POSITIVE:
        value = getattr(recipe, name)
        if value is not None and not 0 < value < LARGEST:
            raise UserError(f"{name} is {value}: give a number above 0 and below 2**63")
    if not 0 <= recipe.seed < LARGEST:
        raise UserError(f"seed is {recipe.seed}: give a number from 0 to below 2**63")
    if not 0 <= recipe.crops < LARGEST:
        raise UserError(f"crops is {recipe.crops}: give a number of views of each image, 0 or more")
    if not 0 <= recipe.merge_tokens < LARGEST:
        raise UserError(f"merge_tokens is {recipe.merge_tokens}: give a number of pairs a block, 0 or more")
    if recipe.prune_ratio is not None and not 0 <= recipe.prune_ratio < 1:
        raise UserError(f"prune_ratio is {recipe.prune_ratio}: give the share of MLP neurons to cut, from 0 to below 1")
    if recipe.max_accuracy_drop is not None and not 0 <= recipe.max_accuracy_drop <= 100:
        raise UserError(
            f"max_accuracy_drop is {recipe.max_accuracy_drop}: give percentage points, 0 or more, up to 100"
        )


def _check_int4_block(recipe: Recipe) -> None:
    if recipe.int4_block not in (0, *BLOCK_SIZES):
        raise UserError(
            f"int4_block is {recipe.int4_block}: give one of {', '.join(map(str, BLOCK_SIZES))}, or 0 for one step per "
            "output channel"
        )
    if recipe.int4_block and recipe.arena_budget_kb is not None:
        raise UserError(
            "linears in pieces have one step per output channel: give int4_block or arena_budget_kb, not both"
        )


def _check_branches(recipe: Recipe) -> None:
    if "branches" in recipe.lever_list and recipe.probe_samples >= recipe.calibration_samples:
        raise UserError(
            "levers has 'branches', which are judged on probe_samples images and fitted to the others: give more than "
            f"{recipe.probe_samples} calibration_samples, or fewer probe_samples than {recipe.calibration_samples}"
        )


def _check_target(recipe: Recipe) -> None:
    if not chips.is_known(recipe.target):
        raise UserError(
            f"target is {recipe.target!r}: choose one of {', '.join((chips.CPU, *chips.ETHOS_U, chips.EDGETPU))}, or "
            f"VENDOR:CHIP of a vendor among {', '.join(chips.VENDORS)}, as in qualcomm:SM8650"
        )
    if recipe.target == chips.EDGETPU and recipe.stream == "int16":
        raise UserError("an Edge TPU computes in 8 bits: stream int16 contradicts target edgetpu; give auto or int8")
    if not chips.takes(recipe.target, recipe.precision):
        raise UserError(
            f"target {recipe.target} and precision {recipe.precision} contradict each other: give precision "
            f"{chips.INTEGER}, or another target"
        )


def _check_merging(recipe: Recipe) -> None:
    if recipe.spend == "tokens" and recipe.max_accuracy_drop is None:
        raise UserError("spend is 'tokens': give max_accuracy_drop, the percentage points that may be lost by merging")
    if recipe.spend == "tokens" and recipe.latency_target_ms is not None:
        raise UserError(
            "latency_target_ms merges as few tokens as are needed and spend 'tokens' as many as may be: give one of "
            "them; max_accuracy_drop holds beside a latency target too"
        )
    if not recipe.merges:
        return
    if recipe.arena_budget_kb is not None:
        raise UserError(
            "blocks that merge tokens do not compute in pieces: give arena_budget_kb, or merge_tokens, "
            "latency_target_ms and spend 'tokens'"
        )
    if recipe.integer_stream:
        raise UserError(
            "tokens are compared and merged in floats: merge_tokens, latency_target_ms and spend 'tokens' need a "
            "precision other than int8_full, and stream auto or fp32"
        )


def _check_batches(recipe: Recipe) -> None:
    sizes = [size.strip() for size in recipe.batch_sizes.split(",")]
    wrong = next((size for size in sizes if not re.fullmatch(r"[1-9][0-9]{0,2}", size)), None)
    if wrong is not None:
        raise UserError(f"batch_sizes has {wrong!r}: give whole numbers of images from 1 to 999, as in 1,4,8")
    if len(set(sizes)) < len(sizes):
        raise UserError(f"batch_sizes is {recipe.batch_sizes!r}: give each number of images once")
    if sizes[0] != "1":
        raise UserError(
            f"batch_sizes is {recipe.batch_sizes!r}: begin with 1, on which the file is verified, as in 1,4"
        )
    if len(sizes) == 1:
        return
    if recipe.target != chips.CPU:
        raise UserError(
            f"target {recipe.target} takes one image at a time: leave out batch_sizes, or give the target {chips.CPU}"
        )
    if recipe.arena_budget_kb is not None:
        raise UserError(
            "an arena budget is of one image at a time: give arena_budget_kb, or batch_sizes of more than 1; "
            "memory_budget_mb counts the arenas of all batch sizes"
        )


def _make_floats_(recipe: Recipe) -> None:
    """10 and 10.0 are one recipe, so they must be one in JSON and in its hash too."""
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if kind_of(field.name) is float and value is not None:
            object.__setattr__(recipe, field.name, float(value))


def _check_regexes(recipe: Recipe) -> None:
    for name in ("fp16_sites", "fp32_sites"):
        try:
            re.compile(getattr(recipe, name))
        except re.error as error:
            raise UserError(f"{name} is not a regular expression: {error} in {getattr(recipe, name)!r}") from error


PRESETS: dict[str, Recipe] = {
    "balanced": Recipe(),
    "paper": Recipe(prune_score="mean_abs", compensate="none", refit=False, prune_ratio=0.25),
    "smallest": Recipe(max_accuracy_drop=1.0),
    "npu": Recipe(precision="int8_full"),
    "edgetpu": Recipe(target=chips.EDGETPU, precision="int8_full"),
}


def descriptions() -> dict[str, str]:
    """What the docstring of `Recipe` says of each key."""
    section = inspect.cleandoc(Recipe.__doc__ or "").split("Attributes:\n")[1]
    described: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if match := re.match(r"    (\w[\w, ]*): (.*)", line):
            names = match[1].split(", ")
            described |= dict.fromkeys(names, match[2])
        else:
            described |= {name: f"{described[name]} {line.strip()}" for name in names}
    return described
