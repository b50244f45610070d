"""What profiling finds."""

from __future__ import annotations

import dataclasses


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
