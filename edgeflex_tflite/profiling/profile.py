"""Activation profiling with forward hooks (EdgeFlex-Transformer, arXiv 2512.19741, stage 1)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import ActivationProfile, SiteProfile
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.profiling.streaming import StreamingStatistics
from edgeflex_tflite.side_by_side import each

PERCENTILES = (50.0, 99.0, 99.9)
FLOAT_BYTES = 4


@torch.inference_mode()
def profile(model: EdgeViT, batches: Iterable[Tensor]) -> ActivationProfile:
    """Run the model on calibration images and keep statistics of every site's output.

    Args:
        model: in evaluation mode.
        batches: normalized images, `float32 [B, 3, H, W]` each.

    Returns:
        The profile; sites that were never called have `calls == 0`. Memory: one histogram and three vectors a site, for
        all images and for each of the batches at work.
    """
    sites = weight_sites(model) | compute_sites(model)
    statistics = {name: StreamingStatistics() for name in sites}
    elements = dict.fromkeys(sites, 0)
    images = 0
    batch_at_work = threading.local()

    def watch(name: str, channel_dim: int) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_: nn.Module, __: object, output: Tensor) -> None:
            batch_at_work.found.setdefault(name, StreamingStatistics()).add(output, channel_dim)
            elements[name] = output.numel() // len(output)

        return hook

    def observe(batch: Tensor) -> tuple[int, dict[str, StreamingStatistics]]:
        batch_at_work.found = {}
        model(batch)
        return len(batch), batch_at_work.found

    with hooked({name: (module, watch(name, _channel_dim(module))) for name, module in sites.items()}):
        for count, found in each(observe, batches):
            images += count
            for name, of_batch in found.items():
                statistics[name] += of_batch
    return ActivationProfile(images, {name: _summary(statistics[name], elements[name]) for name in sites})


@contextlib.contextmanager
def hooked(hooks: dict[str, tuple[nn.Module, Callable[..., None]]]) -> Iterator[None]:
    """Forward hooks that are gone when the block ends, however it ends."""
    with contextlib.ExitStack() as stack:
        for module, hook in hooks.values():
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def _channel_dim(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.Conv2d) else -1


def _summary(statistics: StreamingStatistics, elements: int) -> SiteProfile:
    return SiteProfile(
        calls=statistics.calls,
        mean=tuple(statistics.mean.tolist()),
        mean_abs=tuple(statistics.mean_abs.tolist()),
        max_abs=tuple(statistics.max_abs.tolist()),
        percentiles={f"{percent:g}": statistics.percentile(percent) for percent in PERCENTILES},
        activation_bytes=elements * FLOAT_BYTES,
    )
