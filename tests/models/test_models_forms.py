"""The form for an Edge TPU computes what the edge form does, but for GELU, in operators that it has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeflex_tflite import chips
from edgeflex_tflite.analysis.edgetpu import forecast
from edgeflex_tflite.artifacts import BlockShape
from edgeflex_tflite.lower.deploy import DeployedViT
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.models.forms import SigmoidGelu, form_for
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.parse import load_graphs
from edgeflex_tflite.prune.cut import with_widths
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for

ATTENTION = {
    "BATCH_MATMUL is not among the supported operations",
    "SOFTMAX with more than one row",
}
"""What the form has no other operators for."""


@pytest.mark.parametrize("target", [chips.CPU, "ethos-u55-256", "qualcomm:SM8650"])
def test_other_targets_take_the_edge_form_itself(target: str, vit: nn.Module) -> None:
    edge = to_edge_form(vit)
    assert form_for(target, edge) is edge


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_medium_patch16_gap_240", "vit_base_patch16_siglip_224"])
@torch.no_grad()
def test_all_but_gelu_is_exact(name: str) -> None:
    """Prefix tokens, none of them, and attention pooling; batches of images and the one image of the file."""
    edge = to_edge_form(random_vit(name, act_layer=nn.ReLU))
    form = form_for(chips.EDGETPU, edge)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = edge(images)
    assert (form(images) - expected).abs().max() <= 1e-5 * expected.abs().max()
    pixels = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(2)) * 255
    expected = DeployedViT(edge, SPEC)(pixels)
    assert (DeployedViT(form, SPEC)(pixels) - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not edge.for_edgetpu


@torch.no_grad()
def test_blocks_without_branches_stay_without(vit: nn.Module) -> None:
    edge = to_edge_form(vit)
    shape = edge.blocks[0].shape
    shapes = (dataclasses.replace(shape, width=0), BlockShape(shape.width, 0, 0, 0), BlockShape(0, 0, 0, 0))
    smaller = with_widths(edge, shapes)
    form = form_for(chips.EDGETPU, smaller)
    assert tuple(block.shape for block in form.blocks) == shapes
    pixels = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(2)) * 255
    expected = DeployedViT(smaller, SPEC)(pixels)
    assert (DeployedViT(form, SPEC)(pixels) - expected).abs().max() <= 0.05 * expected.abs().max()


def test_gelu_by_a_sigmoid_is_near() -> None:
    x = torch.linspace(-20, 20, 4001)
    assert (SigmoidGelu()(x) - nn.functional.gelu(x)).abs().max() < 0.0204


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_base_patch16_siglip_224"])
def test_every_gelu_is_changed_and_no_other_activation(name: str) -> None:
    form = form_for(chips.EDGETPU, to_edge_form(random_vit(name)))
    assert not any(isinstance(module, nn.GELU) for module in form.modules())
    assert {
        type(block.mlp.act) for block in form_for(chips.EDGETPU, to_edge_form(random_vit(act_layer=nn.ReLU))).blocks
    } == {nn.ReLU}


@pytest.mark.slow
def test_an_edge_tpu_takes_all_but_the_products_and_softmax_of_attention(vit: nn.Module, tmp_path: Path) -> None:
    form = form_for(chips.EDGETPU, to_edge_form(vit))
    export_float(form, SPEC, tmp_path / "float.tflite")
    images = np.random.default_rng(0).uniform(0, 255, (4, *SPEC.shape)).astype(np.float32)
    quantize_file(tmp_path / "float.tflite", tmp_path / "model.tflite", plan_for(form, "int8_full"), images, threads=1)
    found = forecast(load_graphs(tmp_path / "model.tflite")[0])
    assert found.refusals == ()
    assert {reason for reason, _ in found.obstacles} == ATTENTION
    assert sum(count for _, count in found.obstacles) == 3 * len(form.blocks)
    assert found.parts_with_all == len(form.blocks) + 1
    assert found.mapped > 10
