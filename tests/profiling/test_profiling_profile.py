"""Every site is watched, nothing stays behind, and what never ran is said to have never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.profile import hooked, profile
from tests.conftest import random_vit

ARCHITECTURES = [
    ("vit_tiny_patch16_224", {}),
    ("vit_giant_patch14_dinov2", {}),
    ("vit_base_patch16_siglip_224", {"qk_norm": True}),
    ("vit_base_patch32_clip_quickgelu_224", {}),
]


def edge_vit(name: str = "vit_tiny_patch16_224", **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"depth": 2} | options)))


def images(*sizes: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(size, 3, 32, 32, generator=generator) for size in sizes]


def hooks_left(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


@pytest.mark.parametrize(("name", "options"), ARCHITECTURES)
def test_every_site_is_profiled(name: str, options: dict[str, Any]) -> None:
    edge = edge_vit(name, **options)
    found = profile(edge, images(3, 2))
    assert found.images == 5
    assert set(found.sites) == set(weight_sites(edge)) | set(compute_sites(edge))
    assert found.never_called == ()
    assert all(site.calls == 2 for site in found.sites.values())


@pytest.mark.parametrize("site", ["patch_embed", "blocks.1.mlp.fc1", "blocks.0.norm2", "head", "blocks.0.attn.softmax"])
def test_figures_are_those_of_the_output(site: str) -> None:
    edge, batches = edge_vit(), images(3, 2)
    outputs: list[Tensor] = []
    handle = edge.get_submodule(site).register_forward_hook(lambda _, __, output: outputs.append(output))
    with torch.no_grad():
        edge(torch.cat(batches))
    handle.remove()
    rows = outputs[0].movedim(1 if site == "patch_embed" else -1, -1).flatten(0, -2).double()
    found = profile(edge, batches).sites[site]
    torch.testing.assert_close(torch.tensor(found.mean), rows.mean(0).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found.mean_abs), rows.abs().mean(0).float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found.max_abs), rows.abs().amax(0).float(), rtol=1e-4, atol=1e-5)
    assert set(found.percentiles) == {"50", "99", "99.9"}
    assert found.percentiles["50"] == pytest.approx(rows.abs().median().item(), rel=0.05)


SIZES = [
    ("patch_embed", 48 * 16),
    ("blocks.0", 48 * 17),
    ("blocks.0.attn.softmax", 3 * 17 * 17),
    ("blocks.0.mlp.fc1", 192 * 17),
    ("blocks.1.mlp.fc1", 192),
    ("blocks.1.attn.softmax", 3 * 17),
    ("norm", 48),
    ("head", 10),
]


@pytest.mark.parametrize("batches", [(1,), (4,), (3, 2)])
def test_activation_bytes_are_of_one_image(batches: tuple[int, ...]) -> None:
    """The last block computes the class token alone."""
    sites = profile(edge_vit(), images(*batches)).sites
    assert {name: sites[name].activation_bytes for name, _ in SIZES} == {name: 4 * size for name, size in SIZES}


def test_activation_bytes_of_a_constant() -> None:
    """The query of attention pooling has no batch dimension."""
    sites = profile(edge_vit("vit_base_patch16_siglip_224"), images(4)).sites
    assert sites["attention_pool.attn.q"].activation_bytes == 4 * 48
    assert sites["attention_pool.attn.softmax"].activation_bytes == 4 * 3 * 16


def test_never_called() -> None:
    edge = edge_vit()
    edge.add_module("idle", nn.Linear(2, 2))
    found = profile(edge, images(2))
    assert found.never_called == ("idle",)
    idle = found.sites["idle"]
    assert (idle.calls, idle.mean, idle.activation_bytes) == (0, (), 0)


def test_no_images() -> None:
    edge = edge_vit()
    found = profile(edge, [])
    assert found.images == 0
    assert set(found.never_called) == set(found.sites)


def test_profiling_leaves_no_hook_and_changes_nothing() -> None:
    edge, batch = edge_vit(), images(2)
    with torch.no_grad():
        before = edge(batch[0])
        profile(edge, batch)
        assert hooks_left(edge) == 0
        assert torch.equal(edge(batch[0]), before)


def test_hooks_are_gone_after_an_exception() -> None:
    edge = edge_vit()

    def failing() -> Iterator[Tensor]:
        yield images(2)[0]
        assert hooks_left(edge) == len(weight_sites(edge)) + len(compute_sites(edge))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile(edge, failing())
    assert hooks_left(edge) == 0


def test_hooked_keeps_the_hooks_of_others() -> None:
    linear, seen = nn.Linear(2, 2), []
    linear.register_forward_hook(lambda *_: seen.append("other"))
    with hooked({"linear": (linear, lambda *_: seen.append("ours"))}):
        linear(torch.ones(2))
    linear(torch.ones(2))
    assert seen == ["other", "ours", "other"]
