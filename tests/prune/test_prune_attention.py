"""Surgery on attention: smaller tensors, the promised outputs, and the source as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_attentions import inputs_of, random_attention, random_tokens
from torch import Tensor, nn

from edgeflex_tflite.models.edge import ALL_TOKENS, Attention
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.profiling.blocks import attention_inputs, embed
from edgeflex_tflite.prune.attention import (
    can_truncate,
    context_moments,
    cut_heads,
    score_moments,
    truncate_keys,
    truncate_values,
)
from edgeflex_tflite.prune.heads import head_error_curve, head_order
from edgeflex_tflite.prune.value import value_error_curve
from edgeflex_tflite.recover.refit import refit_
from edgeflex_tflite.recover.walk import Stage
from tests.conftest import random_vit

SEEDS = st.integers(0, 10**6)
SHAPE = (3, 4, 4)


def shape(attn: Attention) -> tuple[int, int, int]:
    return attn.num_heads, attn.key_dim, attn.value_dim


def narrower_keys(attn: Attention, x: Tensor, rank: int, _: bool = True) -> Attention:
    return truncate_keys(attn, score_moments(attn, inputs_of(x)), rank)


def narrower_values(attn: Attention, x: Tensor, rank: int, compensate: bool = True) -> Attention:
    return truncate_values(attn, context_moments(attn, inputs_of(x)), rank, compensate)


def fewer_heads(attn: Attention, x: Tensor, heads: int, compensate: bool = True) -> Attention:
    moments = context_moments(attn, inputs_of(x))
    return cut_heads(attn, moments, head_order(attn.proj.weight, moments, attn.num_heads), heads, compensate)


def output_error(attn: Attention, smaller: Attention, x: Tensor) -> float:
    """Mean over tokens of the squared output error, summed over channels."""
    return (attn(x, x) - smaller(x, x)).double().square().sum(-1).mean().item()


SURGERY: dict[str, tuple[Callable[..., Attention], tuple[int, int, int]]] = {
    "keys": (narrower_keys, (3, 2, 4)),
    "values": (narrower_values, (3, 4, 2)),
    "heads": (fewer_heads, (2, 4, 4)),
}


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("what", SURGERY)
def test_linears_really_shrink(what: str, compensate: bool) -> None:
    cut, expected = SURGERY[what]
    attn, x = random_attention(0), random_tokens(0)
    before = copy.deepcopy(attn.state_dict())
    smaller = cut(attn, x, 2, compensate)
    assert shape(smaller) == expected and shape(attn) == SHAPE
    heads, key_dim, value_dim = expected
    sizes = [tuple(linear.weight.shape) for linear in (smaller.q, smaller.k, smaller.v, smaller.proj)]
    assert sizes == [(heads * key_dim, 12)] * 2 + [(heads * value_dim, 12), (12, heads * value_dim)]
    assert smaller(x, x).shape == x.shape and smaller(x, x).dtype == torch.float32
    assert not any(parameter.requires_grad for parameter in smaller.parameters())
    assert all(torch.equal(value, before[name]) for name, value in attn.state_dict().items())


@pytest.mark.parametrize(("cut", "full"), [(narrower_keys, 4), (narrower_values, 4), (fewer_heads, 3)])
def test_nothing_to_cut_is_the_same(cut: Callable[..., Attention], full: int) -> None:
    attn, x = random_attention(0), random_tokens(0)
    assert cut(attn, x, full) is attn


@pytest.mark.parametrize("seed", range(3))
def test_keys_of_few_dimensions_lose_nothing(seed: int) -> None:
    """Tokens of two dimensions around a mean: keys around theirs have rank 2, the softmax weights stay."""
    attn, x = random_attention(seed), random_tokens(seed, rank=2)
    smaller = narrower_keys(attn, x, 2)
    torch.testing.assert_close(smaller(x, x), attn(x, x), rtol=1e-3, atol=1e-3)
    uncut = narrower_keys(attn, x, 1)
    assert output_error(attn, uncut, x) > 100 * output_error(attn, smaller, x)


@pytest.mark.parametrize("compensate", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_values_of_few_dimensions_lose_nothing(seed: int, compensate: bool) -> None:
    """Values of two dimensions around a mean, which goes to the bias; compensation has a ridge and costs a little."""
    attn, x = random_attention(seed), random_tokens(seed, rank=2)
    smaller = narrower_values(attn, x, 2, compensate)
    size = (attn(x, x) - attn(x, x).mean((0, 1))).square().sum(-1).mean().item()
    assert output_error(attn, smaller, x) < 1e-5 * size
    assert output_error(attn, narrower_values(attn, x, 1, compensate), x) > 1e-3 * size


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, rank=st.integers(1, 3))
def test_value_curve_is_the_error_of_the_surgery(seed: int, rank: int) -> None:
    attn, x = random_attention(seed), random_tokens(seed)
    moments = context_moments(attn, inputs_of(x))
    alone, compensated = (value_error_curve(attn.proj.weight, moments, 3, c)[4 - rank].item() for c in (False, True))
    assert output_error(attn, narrower_values(attn, x, rank, False), x) == pytest.approx(alone, rel=1e-3)
    assert output_error(attn, narrower_values(attn, x, rank, True), x) <= 1.001 * min(alone, compensated)


@settings(deadline=None, max_examples=20)
@given(seed=SEEDS, heads=st.integers(1, 2))
def test_head_curve_is_the_error_of_the_surgery(seed: int, heads: int) -> None:
    attn, x = random_attention(seed), random_tokens(seed)
    moments = context_moments(attn, inputs_of(x))
    order = head_order(attn.proj.weight, moments, 3)
    alone, compensated = (
        head_error_curve(attn.proj.weight, moments, order, c)[3 - heads].item() for c in (False, True)
    )
    assert output_error(attn, fewer_heads(attn, x, heads, False), x) == pytest.approx(alone, rel=1e-3)
    assert output_error(attn, fewer_heads(attn, x, heads, True), x) <= 1.001 * min(alone, compensated)


def test_one_head_is_chosen_as_if_all_had_been_tried() -> None:
    for seed in range(5):
        attn, x = random_attention(seed), random_tokens(seed, images=200)
        moments = context_moments(attn, inputs_of(x))
        orders = {cut: torch.tensor([head for head in range(3) if head != cut] + [cut]) for cut in range(3)}
        errors = {cut: output_error(attn, cut_heads(attn, moments, orders[cut], 2, True), x) for cut in orders}
        chosen = int(head_order(attn.proj.weight, moments, 3)[-1])
        assert errors[chosen] <= 1.01 * min(errors.values())


def test_cut_heads_leave_the_others_as_they_are() -> None:
    attn, x = random_attention(0), random_tokens(0)
    moments = context_moments(attn, inputs_of(x))
    smaller = cut_heads(attn, moments, torch.tensor([2, 0, 1]), 2, compensate=False)
    kept = [0, 1, 2, 3, 8, 9, 10, 11]
    torch.testing.assert_close(smaller.context(x, x), attn.context(x, x)[..., kept])
    assert torch.equal(smaller.proj.weight, attn.proj.weight[:, kept])
    assert torch.equal(smaller.proj.bias, attn.proj.bias)


@pytest.mark.parametrize("cut", [narrower_values, fewer_heads])
@pytest.mark.parametrize("seed", range(3))
def test_compensation_helps_on_images_that_were_not_seen(cut: Callable[..., Attention], seed: int) -> None:
    """The second head has the contexts of the first, and another proj: each tells what the other loses."""
    attn = random_attention(seed)
    for linear in (attn.q, attn.k, attn.v):
        assert isinstance(linear, nn.Linear)
        linear.weight[4:8], linear.bias[4:8] = linear.weight[:4], linear.bias[:4]
    seen, unseen = random_tokens(seed, images=400).split(200)
    alone, compensated = (output_error(attn, cut(attn, seen, 2, c), unseen) for c in (False, True))
    assert compensated < 0.6 * alone


@pytest.mark.parametrize("seed", range(3))
def test_refit_makes_up_for_scores_on_images_that_were_not_seen(seed: int) -> None:
    attn = random_attention(seed)
    seen, unseen = random_tokens(seed, images=400).split(200)
    smaller = narrower_keys(attn, seen, 1)
    before = copy.deepcopy(smaller.state_dict())
    fitted = copy.deepcopy(smaller)
    batches = [(smaller.context(x, x), attn(x, x)) for x in seen.split(100)]
    refit_(Stage(fitted, None, ("proj",), batches.__getitem__, len(batches)))
    assert output_error(attn, fitted, unseen) < 0.95 * output_error(attn, smaller, unseen)
    assert all(torch.equal(value, before[name]) for name, value in smaller.state_dict().items())
    assert torch.equal(fitted.context(unseen, unseen), smaller.context(unseen, unseen))
    assert not fitted.proj.weight.is_inference(), "it can still be trained or loaded into"


def test_new_keys_have_no_mean() -> None:
    """The softmax is blind to it, so nothing else shows where it went."""
    attn, x = random_attention(0), random_tokens(0)
    assert attn.k(x).mean((0, 1)).abs().max() > 0.1
    assert narrower_keys(attn, x, 2).k(x).mean((0, 1)).abs().max() < 1e-4


def test_heads_and_values_may_go_where_keys_have_a_norm() -> None:
    attn, x = random_attention(0, normed=True), random_tokens(0)
    assert not can_truncate(attn) and can_truncate(random_attention(0))
    assert shape(fewer_heads(narrower_values(attn, x, 3), x, 2)) == (2, 4, 3)
    with pytest.raises(AssertionError):
        truncate_keys(attn, score_moments(attn, inputs_of(x)), 2)


def test_one_after_the_other() -> None:
    attn, x = random_attention(1), random_tokens(1)
    smaller = narrower_keys(narrower_values(fewer_heads(attn, x, 2), x, 3), x, 2)
    assert shape(smaller) == (2, 2, 3)
    assert shape(narrower_values(smaller, x, 1)) == (2, 2, 1)
    assert smaller(x, x).shape == x.shape


def test_inputs_are_what_the_block_gives_its_attention() -> None:
    """Of the tokens that are read, in a translated model; the stream keeps its zero mean, which norms rely on."""
    edge = to_edge_form(random_vit())
    tokens = embed(edge, torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0)).split(4))
    block = edge.blocks[0]
    for reads in (ALL_TOKENS, edge.reads):
        inputs = list(attention_inputs(block, tokens, reads))
        for x, pair in zip(tokens, inputs, strict=True):
            torch.testing.assert_close(x[..., reads, :] + block.attn(*pair), block.after_attention(x, reads))
        assert context_moments(block.attn, inputs).rows == sum(pair[0].shape[:-1].numel() for pair in inputs)
    moments = context_moments(block.attn, attention_inputs(block, tokens))
    order = head_order(block.attn.proj.weight, moments, 3)
    for attn in (truncate_values(block.attn, moments, 8, True), cut_heads(block.attn, moments, order, 2, True)):
        assert isinstance(attn.proj, nn.Linear)
        assert attn.proj.weight.mean(0).abs().max() < 1e-6
        assert attn.proj.bias.mean().abs() < 1e-6
