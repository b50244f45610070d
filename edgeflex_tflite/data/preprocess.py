"""From an image to what a model reads: timm's own evaluation transform, in two steps that meet at uint8 pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from edgeflex_tflite.errors import UserError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor, nn

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")
CROP_MODES = ("center", "squash", "border")
RGB = 3


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a model's input.

    Attributes:
        height, width: size of the input in pixels.
        interpolation: one of INTERPOLATIONS.
        crop_pct: share of the resized image's edge that the crop keeps, above 0 and at most 1.
        crop_mode: one of CROP_MODES, as timm defines them.
        mean, std: per channel (RGB), on pixels scaled to 0..1.
    """

    height: int
    width: int
    interpolation: str
    crop_pct: float
    crop_mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        """Raises UserError for a value that is not supported."""
        for name, value, valid, supported in (
            ("img_size", (self.height, self.width), self.height > 0 and self.width > 0, "sizes of 1 pixel and more"),
            ("interpolation", self.interpolation, self.interpolation in INTERPOLATIONS, ", ".join(INTERPOLATIONS)),
            ("crop_pct", self.crop_pct, 0 < self.crop_pct <= 1, "above 0 and at most 1"),
            ("crop_mode", self.crop_mode, self.crop_mode in CROP_MODES, ", ".join(CROP_MODES)),
            ("mean", self.mean, len(self.mean) == RGB, "three numbers, for RGB"),
            ("std", self.std, len(self.std) == RGB and min(self.std) > 0, "three numbers above 0, for RGB"),
        ):
            if not valid:
                raise UserError(f"{name} {value!r} is not supported: use {supported}.")

    @classmethod
    def of_model(
        cls,
        model: nn.Module,
        *,
        img_size: int | None = None,
        interpolation: str | None = None,
        crop_pct: float | None = None,
        crop_mode: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> Preprocessing:
        """The preprocessing that a timm model was trained for; what is given replaces the model's own.

        Without `img_size` it is the size that the model was built for. Raises UserError for a value that is not
        supported, and for a model that does not read RGB.
        """
        from timm.data import resolve_model_data_config

        given = {"interpolation": interpolation, "crop_pct": crop_pct, "crop_mode": crop_mode, "mean": mean, "std": std}
        config = resolve_model_data_config(model)
        config.update({name: value for name, value in given.items() if value is not None})
        # timm's configuration is of the weights: what the model was built for is in the model.
        stem = getattr(model, "patch_embed", None)
        channels = getattr(getattr(stem, "proj", None), "in_channels", RGB)
        if channels != RGB:
            raise UserError(f"the model reads {channels} channels: only RGB is supported; use a model of 3 channels.")
        built_for = getattr(stem, "img_size", None) or config["input_size"][1:]
        height, width = built_for if img_size is None else (img_size, img_size)
        return cls.from_json({**config, "height": height, "width": width})

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Preprocessing:
        """From what `to_json` gave. Raises UserError for a value that is not supported."""
        return cls(
            height=int(values["height"]),
            width=int(values["width"]),
            interpolation=values["interpolation"],
            crop_pct=float(values["crop_pct"]),
            crop_mode=values["crop_mode"],
            mean=_floats(values["mean"]),
            std=_floats(values["std"]),
        )

    def to_json(self) -> dict[str, Any]:
        """The fields, as values that JSON has."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def resize(self, image: Image.Image) -> Tensor:
        """RGB image of any size -> uint8 `[3, height, width]`: timm's evaluation transform but for its last step."""
        return self._transform(image)

    def normalize(self, pixels: Tensor) -> Tensor:
        """uint8 `[B, 3, height, width]` -> float32 of the same shape, `(pixels / 255 - mean) / std`."""
        import torch

        mean, std = (torch.tensor(values, device=pixels.device).view(RGB, 1, 1) for values in (self.mean, self.std))
        return pixels.to(torch.float32).div(255).sub(mean).div(std)

    @cached_property
    def _transform(self) -> Callable[[Image.Image], Tensor]:
        from timm.data import create_transform

        return create_transform(
            (RGB, self.height, self.width),
            is_training=False,
            normalize=False,
            interpolation=self.interpolation,
            crop_pct=self.crop_pct,
            crop_mode=self.crop_mode,
            mean=self.mean,  # colour of the border that crop_mode "border" adds
            std=self.std,
        )


def _floats(values: Sequence[float]) -> tuple[float, float, float]:
    return tuple(float(value) for value in values)  # type: ignore[return-value]
