"""`edgeflex.json`: all that an app needs to know of the files beside it, in one versioned document."""

from __future__ import annotations

from dataclasses import dataclass

FORMAT_VERSION = 1
DESCRIPTION_FILE = "edgeflex.json"


@dataclass(frozen=True)
class TensorFormat:
    """The model's input or output.

    Attributes:
        name: In the file.
        dtype: numpy's name: "float32" or "int8".
        shape: Elements along each axis.
        scale: real = scale * (integer - zero_point); null for floats.
        zero_point: See `scale`.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    scale: float | None
    zero_point: int | None


@dataclass(frozen=True)
class ModelFile:
    """The model.

    Attributes:
        path: Of the .tflite file.
        name: Of the model that it was made from.
        precision: Of its recipe: "fp32", "mixed", ...
        bytes: Of the file.
        input, output: Of one image: its only input and its only output, logits `[1, classes]`.
        signatures: Images at once, by the name of the signature that takes them.
    """

    path: str
    name: str
    precision: str
    bytes: int
    input: TensorFormat
    output: TensorFormat
    signatures: dict[str, int]


@dataclass(frozen=True)
class ImageRule:
    """From an RGB image of 8 bits to the model's input.

    The image is resized with `interpolation` as Pillow does it (antialiased) and cropped in the middle, to `height` and
    `width`. With S = floor(size / crop_pct): `center` resizes the shorter edge to S; `squash` both edges, without
    keeping their ratio; `border` the longer edge, and fills what is missing with the mean colour.

    Attributes:
        layout: "nhwc" or "nchw".
        channel_order: "RGB".
        range: What the input holds: "0-255", "0-1", or "normalized", `(pixel / 255 - mean) / std`.
        height, width: Of the input, in pixels.
        interpolation: "nearest", "bilinear", "bicubic", "box", "hamming" or "lanczos".
        crop_pct: Share of the resized image's edge that the crop keeps.
        crop_mode: "center", "squash" or "border".
        mean, std: Per channel, on pixels from 0 to 1; the model does this itself unless `range` is "normalized".
    """

    layout: str
    channel_order: str
    range: str
    height: int
    width: int
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class RawArray:
    """An array as its bare numbers, little-endian, the last axis fastest.

    Attributes:
        path: Of the file.
        dtype: numpy's name.
        shape: Elements along each axis.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tolerance:
    """How far another machine's answer may be from the golden one; both, and the same class must come first.

    Attributes:
        relative_difference: Largest difference of any logit, over the largest golden logit without its sign.
        cosine: Least cosine between the two answers.
    """

    relative_difference: float
    cosine: float


@dataclass(frozen=True)
class Golden:
    """One image and what the model must answer, by which every place proves itself.

    Attributes:
        image: Path of the image, which has the size of the input already.
        input: The exact array that the model is given for it.
        output: What it answered where it was made.
        tolerance: Of that answer.
    """

    image: str
    input: RawArray
    output: RawArray
    tolerance: Tolerance


@dataclass(frozen=True)
class Description:
    """The document.

    Attributes:
        format_version: Of this document; another number means that fields changed their meaning.
        model: The .tflite file.
        labels: Path of the class names, one a line, in the order of the logits.
        image: How an image becomes the input.
        golden: The self-test.
        files: SHA-256 of every file, by its path relative to this document.
    """

    format_version: int
    model: ModelFile
    labels: str
    image: ImageRule
    golden: Golden
    files: dict[str, str]


def schema() -> dict:
    """JSON Schema of the document."""
    from pydantic import TypeAdapter

    return TypeAdapter(Description).json_schema()
