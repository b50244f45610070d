"""The edge form computes what timm's model computes, or is refused by the name of the part that has no edge form."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.layers.mlp import GatedMlp, GluMlp, SwiGLU
from torch import Tensor, nn
from torch.nn import functional as F

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models import translate
from edgeflex_tflite.models.edge import EdgeViT, Norm
from edgeflex_tflite.models.translate import to_edge_form
from tests.conftest import random_vit

SMALL: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 7}
NO_FINAL_NORM = {"final_norm": False}
GATE_FIRST, GATE_LAST = (partial(GluMlp, gate_last=last) for last in (False, True))


def make(name: str, **options: Any) -> nn.Module:
    """Random in every parameter: norms, LayerScale, class token and all biases too."""
    return random_vit(name, **(SMALL | options))


def images_for(edge: EdgeViT, count: int = 3) -> Tensor:
    return torch.randn(count, 3, *edge.img_size, generator=torch.Generator().manual_seed(99))


@torch.no_grad()
def relative_difference(model: nn.Module, edge: EdgeViT) -> float:
    images = images_for(edge)
    expected, actual = model(images), edge(images)
    assert actual.shape == expected.shape
    return ((actual - expected).abs().max() / expected.abs().max()).item()


EXACT: list[tuple[str, str, dict[str, Any], float]] = [
    ("class token", "vit_tiny_patch16_224", {}, 1e-5),
    ("deit", "deit_tiny_patch16_224", {}, 1e-5),
    ("deit3", "deit3_small_patch16_224", {}, 1e-5),
    ("dinov2", "vit_small_patch14_dinov2", {}, 1e-5),
    ("registers", "vit_small_patch14_reg4_dinov2", {}, 1e-5),
    ("average", "vit_medium_patch16_gap_240", {}, 1e-5),
    ("registers, average", "vit_medium_patch16_reg4_gap_256", {}, 1e-5),
    ("clip", "vit_base_patch32_clip_224", {}, 1e-5),
    ("clip, QuickGELU", "vit_base_patch32_clip_quickgelu_224", {}, 1e-5),
    ("siglip", "vit_base_patch16_siglip_224", {}, 1e-5),
    ("siglip, average", "vit_base_patch16_siglip_gap_224", {}, 1e-5),
    ("SwiGLUPacked", "vit_giant_patch14_dinov2", {}, 1e-5),
    ("SwiGLU", "vit_tiny_patch16_224", {"mlp_layer": SwiGLU}, 1e-5),
    ("gate in the first half", "vit_tiny_patch16_224", {"mlp_layer": GATE_FIRST}, 1e-5),
    ("gate in the last half", "vit_tiny_patch16_224", {"mlp_layer": GATE_LAST}, 1e-5),
    ("qk norm", "vit_tiny_patch16_224", {"qk_norm": True}, 1e-5),
    ("tanh GELU", "vit_tiny_patch16_224", {"act_layer": "gelu_tanh"}, 1e-5),
    ("timm's GELU", "vit_tiny_patch16_224", {"act_layer": "gelu"}, 1e-5),
    ("SiLU", "vit_tiny_patch16_224", {"act_layer": nn.SiLU}, 1e-5),
    ("ReLU", "vit_tiny_patch16_224", {"act_layer": nn.ReLU}, 1e-5),
    ("no bias in qkv", "vit_tiny_patch16_224", {"qkv_bias": False}, 1e-5),
    ("no bias in proj and fc2", "vit_tiny_patch16_224", {"proj_bias": False}, 1e-5),
    ("LayerNorm without weights", "vit_tiny_patch16_224", {"norm_layer": "layernorm", "norm_affine": False}, 1e-5),
    ("positions for patches alone", "vit_tiny_patch16_224", {"no_embed_class": True}, 1e-5),
    ("no positions", "vit_tiny_patch16_224", {"pos_embed": "none"}, 1e-5),
    ("average over prefix too", "vit_tiny_patch16_224", {"global_pool": "avg", "pool_include_prefix": True}, 1e-5),
    ("average after the norm", "vit_tiny_patch16_224", {"global_pool": "avg", "fc_norm": False}, 1e-5),
    ("token before the norm", "vit_tiny_patch16_224", {"fc_norm": True}, 1e-5),
    ("map before the norm", "vit_tiny_patch16_224", {"global_pool": "map", "fc_norm": True}, 1e-5),
    ("map, class token read", "vit_tiny_patch16_224", {"global_pool": "map", "pool_include_prefix": True}, 1e-5),
    ("no final norm", "vit_tiny_patch16_224", NO_FINAL_NORM, 1e-5),
    ("no final norm, average", "vit_tiny_patch16_224", NO_FINAL_NORM | {"global_pool": "avg"}, 1e-5),
    ("no final norm, map", "vit_tiny_patch16_224", NO_FINAL_NORM | {"global_pool": "map"}, 1e-5),
    ("no final norm, pre-norm", "vit_base_patch32_clip_224", NO_FINAL_NORM, 1e-5),
    ("pre-norm, average", "vit_base_patch32_clip_224", {"global_pool": "avg"}, 1e-5),
    ("one block", "vit_tiny_patch16_224", {"depth": 1}, 1e-5),
    ("one block, average", "vit_medium_patch16_gap_240", {"depth": 1}, 1e-5),
    ("wide image", "vit_tiny_patch16_224", {"img_size": (16, 40)}, 1e-5),
    ("wide patches", "vit_tiny_patch16_224", {"patch_size": (4, 16)}, 1e-5),
    ("any image size", "vit_tiny_patch16_224", {"dynamic_img_size": True}, 1e-5),
    ("image that patches do not fill", "vit_tiny_patch16_224", {"img_size": 35}, 1e-5),
]


def build(name: str, options: dict[str, Any]) -> nn.Module:
    options = dict(options)
    if options.pop("norm_affine", True) is False:
        options["norm_layer"] = partial(nn.LayerNorm, elementwise_affine=False)
    return make(name, **options)


@pytest.mark.parametrize(("name", "options", "bound"), [row[1:] for row in EXACT], ids=[row[0] for row in EXACT])
def test_edge_form_is_exact(name: str, options: dict[str, Any], bound: float) -> None:
    model = build(name, options)
    assert relative_difference(model, to_edge_form(model)) <= bound


@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_base_patch16_siglip_224"])
def test_source_is_not_changed(name: str) -> None:
    model = make(name).half().train()
    before = copy.deepcopy(model.state_dict())
    edge = to_edge_form(model)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) and after[key].dtype == torch.float16 for key in before)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    own = {parameter.data_ptr() for parameter in model.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in edge.parameters())


def test_shifts_and_scales_are_folded() -> None:
    """What the file would otherwise spend operators on is gone from the blocks."""
    edge = to_edge_form(make("deit3_small_patch16_224"))
    assert all(norm.bias is None for block in edge.blocks for norm in (block.norm1, block.norm2))
    assert {type(module).__name__ for module in edge.blocks[0].children()} == {"Norm", "Attention", "Mlp"}


def test_edge_form_is_ready_to_use() -> None:
    edge = to_edge_form(make("vit_tiny_patch16_224").half().train())
    assert not any(module.training for module in edge.modules())
    assert {parameter.dtype for parameter in edge.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in edge.parameters())


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("deit_tiny_distilled_patch16_224", {}, "VisionTransformerDistilled"),
    ("vit_base_patch16_rpn_224", {}, "ResPostBlock"),
    ("vit_base_patch16_xp_224", {}, "ParallelScalingBlock"),
    ("vit_dlittle_patch16_reg1_gap_256", {}, "DiffAttention"),
    ("vit_base_resnet26d_224", {"img_size": 64, "patch_size": None}, "HybridEmbed"),
    ("vit_tiny_patch16_224", {"global_pool": "max"}, "global_pool='max'"),
    ("vit_tiny_patch16_224", {"global_pool": "prr"}, "AttentionPoolPrr"),
    ("vit_tiny_patch16_224", {"num_classes": 0}, "no classification head"),
    ("vit_tiny_patch16_224", {"in_chans": 1}, "1 input channels"),
    ("vit_tiny_patch16_224", {"scale_attn_norm": True}, "a norm or gate on the attention output"),
    ("vit_tiny_patch16_224", {"scale_mlp_norm": True}, "a norm inside the MLP"),
    ("vit_tiny_patch16_224", {"embed_norm_layer": "layernorm"}, "PatchEmbed with LayerNorm"),
    ("vit_tiny_patch16_224", {"norm_layer": "rmsnorm"}, "the norm RmsNorm"),
    ("vit_tiny_patch16_224", {"act_layer": nn.Hardswish}, "the activation Hardswish"),
    ("vit_tiny_patch16_224", {"mlp_layer": GatedMlp}, "GatedMlp"),
]


@pytest.mark.parametrize(("name", "options", "part"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused_by_name(name: str, options: dict[str, Any], part: str) -> None:
    model = timm.create_model(name, **{key: value for key, value in (SMALL | options).items() if value is not None})
    with pytest.raises(UserError) as refusal:
        to_edge_form(model)
    assert part in str(refusal.value)


@pytest.mark.parametrize(
    ("model", "part"),
    [
        (partial(timm.create_model, "resnet18"), "ResNet"),
        (partial(timm.create_model, "eva02_tiny_patch14_224", depth=1, img_size=28), "Eva"),
        (partial(nn.Linear, 3, 3), "Linear"),
    ],
    ids=["ResNet", "Eva", "Linear"],
)
def test_not_a_vision_transformer(model: Any, part: str) -> None:
    with pytest.raises(UserError, match=f"^{part} is not supported: only timm's VisionTransformer"):
        to_edge_form(model())


CENTRED = [
    ("vit_tiny_patch16_224", {}),
    ("deit3_small_patch16_224", {}),
    ("vit_medium_patch16_reg4_gap_256", {}),
    ("vit_base_patch32_clip_224", {}),
    ("vit_base_patch16_siglip_224", {}),
    ("vit_tiny_patch16_224", {"pos_embed": "none"}),
]


@pytest.mark.parametrize(("name", "options"), CENTRED)
def test_residual_stream_has_zero_mean(name: str, options: dict[str, Any]) -> None:
    edge = to_edge_form(make(name, **options))
    means: dict[str, float] = {}

    def watch(site: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        means[site] = (inputs[0].mean(-1).abs().max() / inputs[0].square().mean().sqrt()).item()

    for site, module in edge.named_modules():
        if isinstance(module, Norm) and module.centred:
            module.register_forward_pre_hook(partial(watch, site))
    with torch.no_grad():
        edge(images_for(edge))
    final = "norm" if isinstance(edge.norm, Norm) else "fc_norm"
    assert set(means) == {f"blocks.{index}.{norm}" for index in range(2) for norm in ("norm1", "norm2")} | {final}
    assert max(means.values()) < 1e-6


def test_stream_that_the_head_reads_keeps_its_mean() -> None:
    edge = to_edge_form(make("vit_tiny_patch16_224", **NO_FINAL_NORM))
    assert not any(module.centred for module in edge.modules() if isinstance(module, Norm))


@pytest.mark.parametrize("centred", [False, True])
def test_norm_is_layer_norm(centred: bool) -> None:
    x, weight, bias = torch.randn(4, 5, 12), torch.randn(12), torch.randn(12)
    x = x - x.mean(-1, keepdim=True) if centred else x + 3
    expected = F.layer_norm(x, (12,), weight, bias, 1e-3)
    torch.testing.assert_close(Norm(weight, bias, 1e-3, centred)(x), expected, rtol=1e-5, atol=1e-5)


def test_centred_norm_does_not_subtract_the_mean() -> None:
    x = torch.tensor([[3.0, 4.0]])
    norm = Norm(torch.tensor([1.0, 2.0]), None, 0.0, centred=True)
    torch.testing.assert_close(norm(x), torch.tensor([[3.0, 8.0]]) / 12.5**0.5)


PLANTED: list[tuple[str, Callable[..., Any]]] = [
    ("_with_layer_scale", lambda linear, _: linear),
    ("_with_softmax_scale", lambda q, q_norm, _: (q, q_norm)),
    ("_tokens_pooled", lambda _: slice(None)),
    ("_centre_output", lambda _: None),
]


@pytest.mark.parametrize(("step", "wrong"), PLANTED, ids=[row[0] for row in PLANTED])
def test_planted_error_is_caught(monkeypatch: pytest.MonkeyPatch, step: str, wrong: Callable[..., Any]) -> None:
    monkeypatch.setattr(translate, step, wrong)
    with pytest.raises(UserError, match=r"differs from timm's by .* please report the model's name"):
        to_edge_form(make("vit_medium_patch16_reg4_gap_256", init_values=0.1))


@pytest.mark.parametrize(
    ("error", "caught"), [(0.0, False), (1e-5, False), (1e-3, True), (float("nan"), True), (float("inf"), True)]
)
@torch.no_grad()
def test_exactness_bound(error: float, caught: bool) -> None:
    model = make("vit_tiny_patch16_224")
    edge = to_edge_form(model)
    edge.head.bias[2] += error * model(images_for(edge)).abs().max()
    with pytest.raises(UserError, match="differs from timm's") if caught else nullcontext():
        translate._check_exact(model, edge)
    assert (relative_difference(model, edge) <= translate.EXACTNESS_BOUND) is not caught
