"""Every linear in order of execution, with what it reads and what it should answer: against hooks on whole models."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import Tokens, embed
from edgeflex_tflite.quantize.rounding import round_activation
from edgeflex_tflite.quantize.simulate import RoundedLinear
from edgeflex_tflite.recover.refit import bias_of, refit_
from edgeflex_tflite.recover.walk import Stage, walk
from tests.conftest import random_vit

PLAIN, GATED, POOLED = "vit_tiny_patch16_224", "vit_giant_patch14_dinov2", "vit_base_patch16_siglip_224"
LINEARS = ("attn.q", "attn.k", "attn.v", "attn.proj", "mlp.fc1", "mlp.gate", "mlp.fc2")


def edge_vit(name: str = PLAIN, **options: Any) -> EdgeViT:
    return to_edge_form(random_vit(name, **({"embed_dim": 24, "depth": 2} | options)))


def images(seed: int = 0, count: int = 6) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def damaged(edge: EdgeViT, site: str = "blocks.0.mlp.fc1") -> EdgeViT:
    """A copy in which one linear has lost its smaller weights."""
    changed = copy.deepcopy(edge)
    linear = changed.get_submodule(site)
    assert isinstance(linear, nn.Linear)
    weight = linear.weight.data
    weight[weight.abs() < weight.abs().median()] = 0
    return changed


def stages_of(dense: EdgeViT, model: EdgeViT, tokens: Tokens, treat: Callable[[Stage], None] = lambda _: None) -> list:
    seen: list[Stage] = []

    def watched(stage: Stage) -> None:
        seen.append(stage)
        treat(stage)

    walk(dense, model, tokens, watched)
    return seen


def inputs_and_outputs(model: EdgeViT, tokens: Tokens) -> dict[str, tuple[Tensor, Tensor]]:
    """Of every linear behind the embedding, while the model computes every token."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    handles = []
    for site, module in weight_sites(model).items():

        def record(_: nn.Module, args: tuple[Tensor], output: Tensor, site: str = site) -> None:
            found.setdefault(site, []).append((args[0], output))

        handles.append(module.register_forward_hook(record))
    with torch.no_grad():
        for x in tokens:
            model.classify(functools.reduce(lambda stream, block: block(stream), model.blocks, x)[..., model.reads, :])
    for handle in handles:
        handle.remove()
    return {site: tuple(torch.cat(x) for x in zip(*pairs, strict=True)) for site, pairs in found.items()}  # type: ignore


def streams(model: EdgeViT, tokens: Tokens) -> list[Tensor]:
    """After every attention and every MLP."""
    x, found = torch.cat(tokens), []
    with torch.no_grad():
        for block in model.blocks:
            half = x + block.attn(block.norm1(x), block.norm1(x))
            x = half + block.mlp(block.norm2(half))
            found += [half, x]
    return found


@pytest.mark.parametrize(("name", "gate"), [(PLAIN, ()), (GATED, ("mlp.gate",)), (POOLED, ())])
def test_stages_come_in_order_of_execution(name: str, gate: tuple[str, ...]) -> None:
    edge = edge_vit(name)
    found = stages_of(edge, copy.deepcopy(edge), embed(edge, [images()]))
    paths = [("attn.q", "attn.k", "attn.v"), ("attn.proj",), ("mlp.fc1", *gate), ("mlp.fc2",)]
    assert [stage.paths for stage in found] == [*paths, *paths, ("head",)]
    assert [stage.index for stage in found] == [0] * 4 + [1] * 4 + [None]
    sites = [site for stage in found for site in stage.sites]
    expected = {site for site in weight_sites(edge) if site.startswith("blocks.") or site == "head"}
    assert {*sites} == expected and len(sites) == len(expected)
    assert all(stage.block is stage.parent for stage in found[:-1])


@pytest.mark.parametrize("name", [PLAIN, GATED, POOLED, "vit_base_patch32_clip_quickgelu_224"])
def test_what_every_linear_reads_and_should_answer(name: str) -> None:
    dense = edge_vit(name)
    model = damaged(dense)
    tokens = embed(dense, images().split(4))
    mine, theirs, wanted = inputs_and_outputs(model, tokens), inputs_and_outputs(dense, tokens), streams(dense, tokens)
    own = streams(model, tokens)
    seen: dict[str, list] = {}

    def watch(stage: Stage) -> None:
        batches = list(stage.batches())
        assert [len(x) for x, _ in batches] == [4, 2]
        for site in stage.sites:
            seen[site] = [torch.cat([x for x, _ in batches]), torch.cat([wanted for _, wanted in batches])]
            assert stage.wants_input == site.endswith((".q", ".k", ".v", "fc1", "gate"))

    stages_of(dense, model, tokens, watch)
    for site, (x, answer) in seen.items():
        torch.testing.assert_close(x, mine[site][0], msg=site)
        expected = theirs[site][1 if site == "head" else 0]
        if site.endswith("proj"):
            number = int(site.split(".")[1])
            expected = wanted[2 * number] - (own[2 * number - 1] if number else torch.cat(tokens))
        elif site.endswith("fc2"):
            number = int(site.split(".")[1])
            expected = wanted[2 * number + 1] - own[2 * number]
        torch.testing.assert_close(answer, expected, msg=site)


def test_what_is_treated_is_read_by_those_behind() -> None:
    dense = edge_vit()
    tokens = embed(dense, [images()])

    def silence(stage: Stage) -> None:
        if stage.sites == ("blocks.0.mlp.fc2",):
            stage.block.mlp.fc2.weight.zero_()
        if stage.index == 1 and "attn.q" in stage.paths:
            (x, _) = next(stage.batches())
            block = dense.blocks[0]
            half = block.after_attention(tokens[0]) + model.blocks[0].mlp.fc2.bias
            torch.testing.assert_close(x, model.blocks[1].norm1(half))

    model = copy.deepcopy(dense)
    stages_of(dense, model, tokens, silence)


def test_treating_nothing_leaves_all_as_it_was() -> None:
    dense = edge_vit(GATED)
    model = damaged(dense)
    before = copy.deepcopy(model.state_dict()), copy.deepcopy(dense.state_dict())
    tokens = embed(dense, [images()])
    stream = [x.clone() for x in tokens]
    stages_of(dense, model, tokens, lambda stage: list(stage.batches()).clear())
    for state, module in zip(before, (model, dense), strict=True):
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert all(torch.equal(x, y) for x, y in zip(tokens, stream, strict=True))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_refitting_what_is_as_it_was_changes_nothing() -> None:
    dense = edge_vit()
    model = copy.deepcopy(dense)
    stages_of(dense, model, embed(dense, [images(count=16)]), refit_)
    with torch.no_grad():
        torch.testing.assert_close(model(images(1)), dense(images(1)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("site", ["blocks.0.attn.v", "blocks.0.mlp.fc1", "blocks.1.attn.proj", "blocks.2.mlp.fc2"])
@pytest.mark.parametrize("name", [PLAIN, POOLED])
def test_refit_behind_a_damaged_layer_brings_back_logits_of_other_images(name: str, site: str) -> None:
    dense = edge_vit(name, depth=3)
    before, after = damaged(dense, site), damaged(dense, site)
    stages_of(dense, after, embed(dense, images(0, 96).split(32)), refit_)
    unseen = images(1, 48)
    with torch.no_grad():
        errors = [(model(unseen) - dense(unseen)).square().mean().item() for model in (before, after)]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("name", [PLAIN, GATED])
def test_corrected_biases_leave_no_mean_error(name: str) -> None:
    """On the calibration tokens, at every linear, whatever its weights have become."""
    dense = edge_vit(name)
    tokens = embed(dense, images(0, 12).split(5))
    model = damaged(dense)

    def correct(stage: Stage) -> None:
        for path in stage.paths:
            linear = stage.parent.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            answering = copy.deepcopy(linear) if stage.wants_input else nn.Identity()
            bias = bias_of(stage, linear, 0.9 * linear.weight.double())
            linear.weight.mul_(0.9)
            linear.bias.copy_(bias)
            pairs = [(linear(x), answering(wanted)) for x, wanted in stage.batches()]
            error = torch.cat([(found - wanted).flatten(0, -2) for found, wanted in pairs])
            assert error.mean(0).abs().max() < 1e-4 * (1 + error.abs().max())
            seen.append(path)

    seen: list[str] = []
    stages_of(dense, model, tokens, correct)
    assert {*seen} == {path for path in LINEARS if name == GATED or path != "mlp.gate"} | {"head"}


def test_linears_that_round_their_input_are_shown_the_rounded_one() -> None:
    dense = edge_vit()
    model = copy.deepcopy(dense)
    for site in ("blocks.0.attn.q", "blocks.0.attn.v", "blocks.0.attn.proj", "blocks.1.mlp.fc1", "head"):
        linear = model.get_submodule(site)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(site, RoundedLinear(linear, lambda x: round_activation(x, per_token=True)))
    tokens = embed(dense, [images()])
    mine = inputs_and_outputs(model, tokens)
    exact = ("blocks.0.mlp.fc1", "blocks.1.attn.v")

    def watch(stage: Stage) -> None:
        ((x, _),) = stage.batches()
        site = stage.sites[-1]
        given = mine[site][0]
        rounded = site in ("blocks.0.attn.v", "blocks.0.attn.proj", "blocks.1.mlp.fc1", "head")
        torch.testing.assert_close(x, round_activation(given, per_token=True) if rounded else given)
        assert rounded or site in exact or site.endswith(("proj", "fc2"))
        if rounded:
            assert max(len(row.unique()) for row in x.flatten(0, -2)) <= 256 and not torch.equal(x, given)

    stages_of(dense, model, tokens, watch)


def test_a_rounded_linear_shares_its_parameters() -> None:
    linear = nn.Linear(4, 3)
    rounded = RoundedLinear(linear, torch.round)
    assert rounded.weight is linear.weight and rounded.plain().bias is linear.bias
    x = torch.tensor([[0.4, 1.6, -2.2, 7.0]])
    torch.testing.assert_close(rounded(x), linear(x.round()))
    torch.testing.assert_close(rounded.plain()(x), linear(x))


def test_tokens_that_the_head_reads_count_more_where_their_own_answer_is_fitted() -> None:
    """Not at Q, K and V; and the head sees nothing but them."""
    dense = edge_vit()
    tokens = embed(dense, images().split(4))
    plain, weighed = [], []
    walk(dense, damaged(dense), tokens, lambda stage: plain.append(stage.regression))
    walk(dense, damaged(dense), tokens, lambda stage: weighed.append(stage.regression), read_weight=3)
    rows = len(images()) * dense.num_tokens
    for index, (one, three) in enumerate(zip(plain, weighed, strict=True)):
        alike = index % 4 == 0  # Q, K and V of a block, and at the end the head
        assert three.inputs.rows == one.inputs.rows + (0 if alike else 2 * len(images()))
        assert torch.equal(three.cross, one.cross) == alike
    assert plain[0].inputs.rows == rows


def test_where_the_head_reads_all_tokens_none_counts_more() -> None:
    dense = edge_vit(global_pool="avg", class_token=False)
    tokens = embed(dense, images().split(4))
    found: list[Stage] = []
    walk(dense, damaged(dense), tokens, found.append, read_weight=3)
    assert {stage.regression.inputs.rows for stage in found[:-1]} == {len(images()) * dense.num_tokens}


def test_a_heavier_token_is_answered_better() -> None:
    """Of the linear that is fitted, the error at the class token falls, that of all tokens grows."""
    dense = edge_vit()
    tokens = embed(dense, images(count=32).split(8))
    errors = {}
    for weight in (1, 50):
        model = damaged(dense)

        def refit_proj(stage: Stage) -> None:
            if stage.index == 1 and stage.paths == ("attn.proj",):
                refit_(stage)

        walk(dense, model, tokens, refit_proj, read_weight=weight)
        wanted, found = torch.cat(tokens), torch.cat(tokens)
        with torch.no_grad():
            wanted, found = dense.blocks[0](wanted), model.blocks[0](found)
            missed = dense.blocks[1].after_attention(wanted) - model.blocks[1].after_attention(found)
        errors[weight] = missed[:, 0].square().mean().item(), missed.square().mean().item()
    assert errors[50][0] < errors[1][0] and errors[50][1] > errors[1][1]


@pytest.mark.parametrize("name", [PLAIN, GATED, POOLED])
def test_where_nothing_is_wanted_the_dense_model_is_not_run(name: str) -> None:
    dense = edge_vit(name)
    model, tokens = damaged(dense), embed(dense, images().split(4))
    compared: list[Stage] = []
    walk(dense, copy.deepcopy(model), tokens, compared.append)
    expected = [([x for x, _ in stage.batches()], stage.regression.inputs.covariance) for stage in compared]
    called: list[nn.Module] = []
    for module in dense.modules():
        module.register_forward_pre_hook(lambda module, _: called.append(module))
    found: list[Stage] = []
    walk(dense, model, tokens, found.append, compare=False)
    assert [stage.paths for stage in found] == [stage.paths for stage in compared]
    for stage, (inputs, covariance) in zip(found, expected, strict=True):
        batches = list(stage.batches())
        assert all(torch.equal(x, y) for (x, _), y in zip(batches, inputs, strict=True))
        assert all(wanted.shape == (*x.shape[:-1], 0) for x, wanted in batches)
        assert torch.equal(stage.regression.inputs.covariance, covariance)
    assert len(called) == 0
