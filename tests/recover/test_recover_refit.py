"""Fitting linears to what is wanted: the closed form, and what it is good for."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeflex_tflite.artifacts import BlockCut, PrunePlan
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import embed
from edgeflex_tflite.prune.sweep import prune
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.recover.refit import refit_
from edgeflex_tflite.recover.regression import RELATIVE_RIDGE
from edgeflex_tflite.recover.walk import Stage
from tests.conftest import random_vit


def linear(inside: int, out: int, seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(inside, out).requires_grad_(False)


def refitted(linears: list[nn.Linear], batches: list[tuple[Tensor, Tensor]], **options: bool) -> list[nn.Linear]:
    parent = nn.ModuleList(linears)
    paths = tuple(str(number) for number in range(len(linears)))
    refit_(Stage(parent, None, paths, batches.__getitem__, len(batches), **options))  # type: ignore[arg-type]
    return list(parent)  # type: ignore[arg-type]


def activations(rows: int, width: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator) @ torch.randn(width, width, generator=generator) + 1


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 6), out=st.integers(1, 4), seed=st.integers(0, 100))
def test_it_is_ridge_regression_drawn_to_the_old_weights(width: int, out: int, seed: int) -> None:
    """Against the normal equations of `|wanted - W x - b|^2 + lambda |W - W_old|^2`, solved with b as a column."""
    fc2, x = linear(width, out, seed), activations(40, width, seed)
    wanted = torch.randn(40, out, generator=torch.Generator().manual_seed(seed + 1))
    found = refitted([fc2], [(x[:15], wanted[:15]), (x[15:], wanted[15:])])[0]
    ridge = float(RELATIVE_RIDGE * x.double().var(0, correction=0).mean())
    A = torch.cat([x.double(), torch.ones(40, 1, dtype=torch.float64)], dim=1)
    penalty = torch.diag(torch.tensor([ridge] * width + [0.0], dtype=torch.float64))
    old = torch.cat([fc2.weight, torch.zeros(out, 1)], dim=1).double()
    expected = torch.linalg.solve(A.T @ A / 40 + penalty, (A.T @ wanted.double()) / 40 + penalty @ old.T).T
    torch.testing.assert_close(found.weight.double(), expected[:, :-1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.bias.double(), expected[:, -1], rtol=1e-3, atol=1e-4)


def test_nothing_changes_where_nothing_is_missing() -> None:
    fc2, x = linear(6, 3, 0), activations(50, 6, 0)
    found = refitted([fc2], [(x, fc2(x))])[0]
    torch.testing.assert_close(found.weight, fc2.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.bias, fc2.bias, rtol=1e-5, atol=1e-5)


def test_readers_of_one_input_answer_what_they_answered_to_the_wanted_one() -> None:
    first, second, x = linear(6, 3, 0), linear(6, 5, 1), activations(50, 6, 0)
    wanted = x @ torch.randn(6, 6) + torch.randn(6)
    together = refitted([first, second], [(x, wanted)], wants_input=True)
    for old, new in zip((first, second), together, strict=True):
        alone = refitted([old], [(x, old(wanted))])[0]
        torch.testing.assert_close(new.weight, alone.weight, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(new.bias, alone.bias, rtol=1e-4, atol=1e-4)
        assert (new(x) - old(wanted)).square().mean() < (old(x) - old(wanted)).square().mean()


def test_the_old_linear_stays_as_it_was() -> None:
    fc2, x = linear(6, 3, 0), activations(50, 6, 0)
    before = copy.deepcopy(fc2.state_dict())
    refitted([fc2], [(x, torch.zeros(50, 3))])
    assert all(torch.equal(value, before[name]) for name, value in fc2.state_dict().items())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_stream_comes_nearer_to_the_dense_one_on_images_that_were_not_seen(seed: int) -> None:
    edge = to_edge_form(random_vit(embed_dim=24, depth=4, seed=seed))
    generator = torch.Generator().manual_seed(seed)
    seen, unseen = (torch.randn(64, 3, 32, 32, generator=generator) for _ in range(2))
    plan = PrunePlan(tuple(BlockCut(32, block.mlp.width, 0.5, 0.25) for block in edge.blocks), 100, 10)
    expected = edge(unseen)
    errors = {}
    for fitted in (False, True):
        recipe = Recipe(prune_score="energy", refit=fitted)
        smaller, _ = prune(edge, embed(edge, seen.split(16)), plan, recipe)
        errors[fitted] = (smaller(unseen) - expected).square().mean().item()
    assert errors[True] < errors[False]


def test_what_is_left_of_a_cut_mlp_is_fitted_to_what_is_wanted() -> None:
    """By the normal equations on the kept neurons, drawn to what the cut alone leaves there."""
    edge = to_edge_form(random_vit(embed_dim=24, depth=1))
    tokens = embed(edge, [torch.randn(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))])
    plan = PrunePlan((BlockCut(48, 96, None, None),), 100, 10)
    alone, fitted = (prune(edge, tokens, plan, Recipe(refit=refit))[0].blocks[0] for refit in (False, True))
    torch.testing.assert_close(fitted.mlp.fc1.weight, alone.mlp.fc1.weight)
    entering, wanted = edge.blocks[0].after_attention(tokens[0]), edge.blocks[0](tokens[0])
    x = fitted.hidden(fitted.after_attention(tokens[0])).flatten(0, -2).double()
    y = (wanted - entering).flatten(0, -2).double()
    x, y = x - x.mean(0), y - y.mean(0)
    sigma, ridge = x.T @ x / len(x), RELATIVE_RIDGE * x.square().mean()
    old = alone.mlp.fc2.weight.double()
    expected = torch.linalg.solve(sigma + ridge * torch.eye(48), (y.T @ x / len(x) + ridge * old).T).T
    torch.testing.assert_close(fitted.mlp.fc2.weight.double(), expected, rtol=1e-3, atol=1e-5)


def test_blocks_before_the_first_cut_stay_as_they_are() -> None:
    edge = to_edge_form(random_vit(embed_dim=24, depth=3))
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    widths = [96, 48, 96]
    plan = PrunePlan(tuple(BlockCut(width, 96, 0.5, 0.25) for width in widths), 100, 10)
    smaller, _ = prune(edge, embed(edge, [images]), plan, Recipe(refit=True))
    same = [
        torch.equal(new.mlp.fc2.weight, old.mlp.fc2.weight) if new.mlp.width == old.mlp.width else None
        for new, old in zip(smaller.blocks, edge.blocks, strict=True)
    ]
    assert same == [True, None, False]
