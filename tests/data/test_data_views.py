"""More views of calibration images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgeflex_tflite.data.views import CROP_AREA, views


def pictures(count: int = 5, height: int = 24, width: int = 36) -> Tensor:
    """Smooth ramps, which no crop leaves as they are."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    planes = torch.stack([rows * 4, columns * 4, rows * 2 + columns])
    return torch.stack([planes + number for number in range(count)]).to(torch.uint8)


def test_images_themselves_come_first_then_mirrored_then_crops() -> None:
    pixels = pictures()
    found = views(pixels, mirror=True, crops=2, seed=0)
    assert found.shape == (4 * 5, *pixels.shape[1:]) and found.dtype == torch.uint8
    assert torch.equal(found[:5], pixels)
    assert torch.equal(found[5:10], pixels.flip(-1))
    assert torch.equal(views(pixels, mirror=False, crops=0, seed=0), pixels)


def test_a_crop_shows_a_part_of_its_image() -> None:
    pixels = pictures()
    for image, shown in zip(pixels, views(pixels, mirror=False, crops=1, seed=1)[5:], strict=True):
        ramp, full = shown[0, :, 0].float(), image[0, :, 0].float()
        share = ((ramp.max() - ramp.min()) / (full.max() - full.min())).item()
        assert CROP_AREA[0] ** 0.5 - 0.1 < share <= 1
        assert (ramp.diff() >= 0).all() and (shown[1, 0].float().diff() >= 0).all()  # neither turned nor mirrored


def test_every_other_crop_is_mirrored_where_mirror_images_may_be_shown() -> None:
    found = views(pictures(), mirror=True, crops=2, seed=0)[10:, 1, 0].float().diff(dim=-1).sum(-1)
    assert (found[:5] > 0).all() and (found[5:] < 0).all()


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_gives_the_same_crops_and_leaves_the_generator_alone(seed: int) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = views(pictures(), mirror=False, crops=2, seed=seed)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(views(pictures(), mirror=False, crops=2, seed=seed), first)
    assert not torch.equal(views(pictures(), mirror=False, crops=2, seed=seed + 1), first)
