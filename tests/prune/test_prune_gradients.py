"""Scores from the loss, against losses that are computed by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.prune import gradients
from edgeflex_tflite.prune.gradients import loss_scores
from tests.conftest import random_vit

LABELS = torch.tensor([3, 0, 7, 3, 9])
NEURONS = (0, 5, 17)
STEP = 1e-5


def edge_vit(name: str = "vit_tiny_patch16_224") -> EdgeViT:
    return to_edge_form(random_vit(name, embed_dim=24, depth=2)).double()


def images() -> Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()


def losses(edge: EdgeViT) -> Tensor:
    """Of each image, `[images]`."""
    with torch.inference_mode():
        return F.cross_entropy(edge(images()), LABELS, reduction="none")


def with_gate(edge: EdgeViT, block: int, neuron: int, gate: float) -> EdgeViT:
    """The model with one neuron's output scaled; 0 cuts it."""
    changed = copy.deepcopy(edge)
    with torch.no_grad():
        changed.blocks[block].mlp.fc2.weight[:, neuron] *= gate
    return changed


@pytest.mark.parametrize("block", [0, 1])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_giant_patch14_dinov2"])
def test_taylor_is_the_squared_slope_of_the_loss(name: str, block: int) -> None:
    """The last block computes only the tokens that the head reads; the loss does not depend on the others."""
    edge = edge_vit(name)
    scores = loss_scores(edge, embed(edge, images().split(2)), LABELS, "taylor")[block]
    assert scores.shape == (edge.blocks[block].mlp.width,) and scores.dtype == torch.float64
    for neuron in NEURONS:
        up, down = (losses(with_gate(edge, block, neuron, 1 + step)) for step in (STEP, -STEP))
        slope = (up - down) / (2 * STEP)
        assert scores[neuron].item() == pytest.approx(slope.square().mean().item(), rel=1e-4)


def test_taylor_foretells_the_cut_of_a_neuron_that_does_little() -> None:
    edge = with_gate(edge_vit(), 0, 5, 1e-3)
    change = losses(with_gate(edge, 0, 5, 0)) - losses(edge)
    found = loss_scores(edge, embed(edge, [images()]), LABELS, "taylor")[0][5]
    assert found.item() == pytest.approx(change.square().mean().item(), rel=1e-2)


@pytest.mark.parametrize("block", [0, 1])
def test_hessian_is_the_fisher_diagonal_times_the_energy(block: int) -> None:
    """The derivative at one token of one image is that of the loss with a bump on the neuron there."""
    edge = edge_vit()
    tokens = 17 if block == 0 else 1
    slopes, activations = torch.zeros(2, 5, tokens, len(NEURONS)).double()

    def bumped(token: int, neuron: int, step: float) -> Tensor:
        def bump(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
            hidden = inputs[0].clone()
            activations[:, token, NEURONS.index(neuron)] = hidden[:, token, neuron]
            hidden[:, token, neuron] += step
            return hidden

        hook = edge.blocks[block].mlp.fc2.register_forward_pre_hook(bump)
        found = losses(edge)
        hook.remove()
        return found

    for token in range(tokens):
        for place, neuron in enumerate(NEURONS):
            slopes[:, token, place] = (bumped(token, neuron, STEP) - bumped(token, neuron, -STEP)) / (2 * STEP)
    expected = slopes.square().mean((0, 1)) * activations.square().mean((0, 1)) / 2
    found = loss_scores(edge, embed(edge, [images()]), LABELS, "hessian")[block]
    torch.testing.assert_close(found[list(NEURONS)], expected, rtol=1e-4, atol=1e-15)


@pytest.mark.parametrize("score", gradients.LOSS_SCORES)
def test_batches_do_not_matter(score: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = edge_vit()
    whole = loss_scores(edge, embed(edge, [images()]), LABELS, score)
    monkeypatch.setattr(gradients, "BATCH", 2)
    for one, other in zip(whole, loss_scores(edge, embed(edge, images().split(3)), LABELS, score), strict=True):
        torch.testing.assert_close(one, other)


def test_nothing_is_left_behind() -> None:
    """No hook on the model, and no gradient in it."""
    edge = edge_vit()
    loss_scores(edge, embed(edge, [images()]), LABELS, "taylor")
    assert all(not block.mlp.fc2._forward_pre_hooks for block in edge.blocks)
    assert all(parameter.grad is None for parameter in edge.parameters())
