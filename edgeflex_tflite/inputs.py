"""The flags that name a model and its images, for every command that needs both, and what they name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from absl import flags

from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from edgeflex_tflite.data import Preprocessing

DEMO_MODEL = "vit_edgeflex_digits"
DEMO_DATA, DEMO_CALIBRATION = "demo/test", "demo/train"


def define_model_flags(values: flags.FlagValues) -> None:
    """Add the flags of the model."""
    text, integer, switch = (
        lambda name, default, words: flags.DEFINE_string(name, default, words, flag_values=values),
        lambda name, default, words: flags.DEFINE_integer(name, default, words, flag_values=values),
        lambda name, default, words: flags.DEFINE_bool(name, default, words, flag_values=values),
    )
    text(
        "model",
        DEMO_MODEL,
        "timm name of a VisionTransformer: vit_*, deit_*, deit3_*, dinov2, CLIP and SigLIP image towers.",
    )
    switch("pretrained", False, "Load timm's own weights of the model (from the Hugging Face hub).")
    text("checkpoint", None, "Trained weights: .safetensors, or .pt/.pth that torch reads with weights_only.")
    integer("num_classes", None, "Classes of the head. Default: what the checkpoint has, else the model's own.")
    integer("img_size", None, "Edge of the square input, in pixels. Default: the model's own.")


def define_input_flags(values: flags.FlagValues) -> None:
    """Add the flags of the model, the data and the preprocessing."""
    define_model_flags(values)

    def text(name: str, default: str | None, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    text(
        "data",
        None,
        "Labelled images to measure accuracy on: a folder or tar of class folders or an .npz, by its path; "
        "torch/NAME:FOLDER, hfds/NAME, or demo. Default: demo, for the model that ships with the package.",
    )
    text("data_split", "validation", "Split of --data, where it has splits.")
    text(
        "calibration_data",
        None,
        "Another such source to calibrate on. Default: a part of --data that evaluation leaves out.",
    )
    text("calibration_split", "train", "Split of --calibration_data, where it has splits.")
    text(
        "interpolation",
        None,
        "How images are resized: bilinear, bicubic, ... Default: as the model's timm config says.",
    )
    by_model = "Default: as the model's timm config says."
    words = f"Share of the resized image that the centre crop keeps, above 0 and at most 1. {by_model}"
    flags.DEFINE_float("crop_pct", None, words, flag_values=values)
    text("crop_mode", None, f"How an image that is not square is cropped: center, squash or border. {by_model}")
    for name in ("mean", "std"):
        flags.DEFINE_list(name, None, f"Normalization {name} of 0-1 pixels, R,G,B. {by_model}", flag_values=values)


def data_specs(values: flags.FlagValues) -> tuple[str, str | None]:
    """Names of the evaluation and the calibration data. Raises UserError where the first is missing."""
    if values.data is not None:
        return values.data, values.calibration_data
    if values.model != DEMO_MODEL or values.checkpoint:
        raise UserError("--data is missing: give labelled images (a folder or tar of class folders, an .npz, ...)")
    return DEMO_DATA, values.calibration_data or DEMO_CALIBRATION


def open_model(values: flags.FlagValues) -> Any:
    """The timm model. Raises UserError, as `load_model` does."""
    from edgeflex_tflite.models.load import load_model

    return load_model(
        values.model,
        pretrained=values.pretrained,
        checkpoint=values.checkpoint,
        num_classes=values.num_classes,
        img_size=values.img_size,
    )


def open_preprocessing(values: flags.FlagValues, model: Any) -> Preprocessing:
    """What makes images the model's input."""
    from edgeflex_tflite.data import Preprocessing

    return Preprocessing.of_model(
        model,
        interpolation=values.interpolation,
        crop_pct=values.crop_pct,
        crop_mode=values.crop_mode,
        mean=_floats(values, "mean"),
        std=_floats(values, "std"),
    )


def _floats(values: flags.FlagValues, name: str) -> list[float] | None:
    given: list[str] | None = values[name].value
    if given is None:
        return None
    try:
        numbers = [float(value) for value in given]
    except ValueError:
        numbers = []
    if len(numbers) != len("RGB") or not all(map(math.isfinite, numbers)):
        raise UserError(f"--{name} is {','.join(given)!r}: give three numbers, as in 0.5,0.5,0.5")
    return numbers
