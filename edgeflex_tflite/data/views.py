"""More views of calibration images: mirrored and cropped, as in the training of most image models."""

from __future__ import annotations

import torch
from torch import Tensor

CROP_AREA = (0.6, 1.0)
"""Share of an image that a crop shows, at the least and at most; it keeps the image's proportions."""


def views(pixels: Tensor, mirror: bool, crops: int, seed: int) -> Tensor:
    """Images, then their mirror images, then random crops of them, every other time mirrored where `mirror` is set.

    Args:
        pixels: `uint8 [n, 3, H, W]`.
        mirror: whether a mirrored image may be shown.
        crops: crops of every image.
        seed: of the crops.

    Returns:
        `uint8 [n * (1 + mirror + crops), 3, H, W]`.
    """
    found = [pixels]
    if mirror:
        found.append(pixels.flip(-1))
    if crops:
        from torchvision.transforms import v2

        height, width = pixels.shape[-2:]
        crop = v2.RandomResizedCrop(
            (height, width), CROP_AREA, (width / height, width / height), v2.InterpolationMode.BICUBIC
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for number in range(crops):
                shown = torch.stack([crop(image) for image in pixels])
                found.append(shown.flip(-1) if mirror and number % 2 else shown)
    return torch.cat(found)
