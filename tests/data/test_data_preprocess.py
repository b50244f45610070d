"""Preprocessing is timm's evaluation transform, cut in two."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.data import create_transform, resolve_model_data_config

from edgeflex_tflite.data import Preprocessing
from edgeflex_tflite.errors import UserError

SIZES = [(9, 7), (64, 48), (33, 80), (32, 32), (500, 375)]
IMAGENET = Preprocessing(32, 32, "bicubic", 0.9, "center", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OTHERS = [
    IMAGENET,
    replace(IMAGENET, crop_pct=1.0, interpolation="bilinear"),
    replace(IMAGENET, crop_mode="squash", crop_pct=0.7),
    replace(IMAGENET, crop_mode="border", mean=(0.1, 0.9, 0.3)),
    replace(IMAGENET, height=24, width=40, interpolation="nearest"),
]


@pytest.mark.parametrize("preprocessing", OTHERS)
@pytest.mark.parametrize("size", SIZES)
def test_both_steps_are_timms_transform(preprocessing: Preprocessing, size: tuple[int, int], picture: Callable) -> None:
    config = preprocessing.to_json()
    height, width = config.pop("height"), config.pop("width")
    whole = create_transform((3, height, width), is_training=False, **config)
    image = picture(0, *size)
    pixels = preprocessing.resize(image)
    assert (pixels.dtype, tuple(pixels.shape)) == (torch.uint8, (3, height, width))
    normal = preprocessing.normalize(pixels[None])
    assert (normal.dtype, tuple(normal.shape)) == (torch.float32, (1, 3, height, width))
    assert torch.equal(normal[0], whole(image))


def test_a_models_own(picture: Callable) -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    preprocessing = Preprocessing.of_model(model)
    config = resolve_model_data_config(model, args={"img_size": 64})
    image = picture(0, 100, 90)
    normal = preprocessing.normalize(preprocessing.resize(image)[None])[0]
    assert torch.equal(normal, create_transform(**config, is_training=False)(image))


def test_size_is_what_the_model_was_built_for() -> None:
    built = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), depth=1)
    assert (Preprocessing.of_model(built).height, Preprocessing.of_model(built).width) == (32, 48)
    other = Preprocessing.of_model(built, img_size=160)
    assert (other.height, other.width) == (160, 160)


def test_what_is_given_replaces_the_models_own() -> None:
    model = timm.create_model("vit_tiny_patch16_224", depth=1)
    given: dict[str, Any] = {
        "interpolation": "nearest",
        "crop_pct": 0.5,
        "crop_mode": "squash",
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
    }
    changed = Preprocessing.of_model(model, **given)
    assert changed == Preprocessing(224, 224, **given)
    assert Preprocessing.of_model(model) == Preprocessing(224, 224, "bicubic", 0.9, "center", (0.5,) * 3, (0.5,) * 3)


def test_grey_model_is_refused() -> None:
    model = timm.create_model("vit_tiny_patch16_224", in_chans=1, depth=1)
    with pytest.raises(UserError, match=r"the model reads 1 channels: only RGB is supported"):
        Preprocessing.of_model(model)


@pytest.mark.parametrize("preprocessing", OTHERS)
def test_through_json(preprocessing: Preprocessing) -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(preprocessing.to_json()))) == preprocessing


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("height", 0, r"img_size \(0, 32\) is not supported: use sizes of 1 pixel and more"),
        ("interpolation", "random", r"interpolation 'random' is not supported: use nearest, bilinear"),
        ("crop_pct", 0.0, r"crop_pct 0\.0 is not supported: use above 0 and at most 1"),
        ("crop_pct", 87.5, r"crop_pct 87\.5 is not supported"),
        ("crop_mode", "middle", r"crop_mode 'middle' is not supported: use center, squash, border"),
        ("mean", (0.5,), r"mean \(0\.5,\) is not supported: use three numbers"),
        ("std", (0.5, 0.5, 0.0), r"std \(0\.5, 0\.5, 0\.0\) is not supported: use three numbers above 0"),
    ],
)
def test_unsupported_values(field: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(IMAGENET, **{field: value})
