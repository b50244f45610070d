"""What integers make of weights and activations, by hand and as bounds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.quantize.rounding import (
    SMALLEST_OF_BLOCK,
    SMALLEST_SHARE,
    clipped_steps,
    levels,
    on_grid,
    round_activation,
    round_between,
    round_weight,
    steps_of_largest,
    storable,
)


def values(seed: int, rows: int, columns: int) -> Tensor:
    """Rows of very different magnitude and offset."""
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.empty(rows, 1).uniform_(-3, 3, generator=generator)
    offset = torch.randn(rows, 1, generator=generator) * 2
    return (torch.randn(rows, columns, generator=generator) + offset) * scale


SHAPES = {"seed": st.integers(0, 10**6), "rows": st.integers(1, 6), "columns": st.integers(1, 20)}


def test_weight_golden() -> None:
    weight = torch.tensor([[127.0, -64.4, 0.6, 0.4], [-2.54, 1.27, 0.009, 0.0], [0.0, 0.0, 0.0, 0.0]])
    expected = torch.tensor([[127.0, -64.0, 1.0, 0.0], [-2.54, 1.28, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(round_weight(weight), expected, rtol=1e-6, atol=1e-7)


@settings(deadline=None)
@given(**SHAPES)
def test_weight_is_on_its_channels_grid(seed: int, rows: int, columns: int) -> None:
    weight = values(seed, rows, columns)
    rounded, step = round_weight(weight), weight.abs().amax(1, keepdim=True) / 127
    levels = rounded / step
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert levels.abs().max() <= 127 + 1e-4
    assert ((rounded - weight).abs() <= step * (0.5 + 1e-4)).all()


@settings(deadline=None)
@given(**SHAPES)
def test_rounding_weights_twice_changes_nothing(seed: int, rows: int, columns: int) -> None:
    once = round_weight(values(seed, rows, columns))
    torch.testing.assert_close(round_weight(once), once, rtol=1e-6, atol=0)


def test_channels_do_not_share_a_scale() -> None:
    small, large = torch.tensor([[0.1, 0.03]]), torch.tensor([[1000.0, 1.0]])
    assert torch.equal(round_weight(torch.cat([small, large]))[:1], round_weight(small))


def test_activation_golden() -> None:
    """From -1 to 4.1 in 255 steps of 0.02, with the zero point at 50."""
    x = torch.tensor([[-1.0, 4.1, 0.0, 0.011, 0.009, 1.0]])
    expected = torch.tensor([[-1.0, 4.1, 0.0, 0.02, 0.0, 1.0]])
    for per_token in (False, True):
        torch.testing.assert_close(round_activation(x, per_token), expected, rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(**SHAPES, per_token=st.booleans())
def test_activation_error_is_at_most_half_a_step(seed: int, rows: int, columns: int, per_token: bool) -> None:
    x = values(seed, rows, columns)
    low, high = (x.amin(1, keepdim=True), x.amax(1, keepdim=True)) if per_token else (x.min(), x.max())
    step = (high.clamp_min(0) - low.clamp_max(0)) / 255
    assert ((round_activation(x, per_token) - x).abs() <= step * (0.5 + 1e-3)).all()


@settings(deadline=None)
@given(**SHAPES, per_token=st.booleans())
def test_zero_stays_zero(seed: int, rows: int, columns: int, per_token: bool) -> None:
    x = torch.cat([values(seed, rows, columns), torch.zeros(rows, 1)], 1)
    assert not round_activation(x, per_token)[:, -1].any()


def test_activation_takes_at_most_256_values() -> None:
    x = torch.rand(1, 5000, generator=torch.Generator().manual_seed(0)) - 0.3
    assert 200 < len(round_activation(x, per_token=True).unique()) <= 256


def test_token_scales() -> None:
    """A quiet token beside a loud one keeps its detail only where each has a scale of its own."""
    x = torch.tensor([[[0.01, 0.02, -0.01]], [[100.0, -50.0, 3.0]]])
    torch.testing.assert_close(round_activation(x, per_token=True)[0], x[0], rtol=0, atol=1e-4)
    assert not round_activation(x, per_token=False)[0].any()


@pytest.mark.parametrize("value", [0.0, 3.0, -3.0])
def test_constant_activation(value: float) -> None:
    x = torch.full((2, 4), value)
    torch.testing.assert_close(round_activation(x, per_token=True), x, rtol=1e-6, atol=0)


def test_inputs_are_not_changed() -> None:
    x = torch.randn(3, 4)
    before = x.clone()
    round_weight(x)
    round_activation(x, per_token=True)
    round_activation(x, per_token=False)
    assert torch.equal(x, before)


def test_levels() -> None:
    assert (levels(8), levels(4), levels(2)) == (127, 7, 1)


def test_int4_golden() -> None:
    weight = torch.tensor([[7.0, -3.4, 0.6, 0.4], [0.14, -0.078, 0.0, 0.025]])
    expected = torch.tensor([[7.0, -3.0, 1.0, 0.0], [0.14, -0.08, 0.0, 0.02]])
    torch.testing.assert_close(round_weight(weight, 4), expected, rtol=1e-6, atol=1e-7)


@settings(deadline=None)
@given(**SHAPES, share=st.floats(0.1, 1))
def test_what_is_clipped_becomes_the_largest_integer(seed: int, rows: int, columns: int, share: float) -> None:
    """15 integers of four bits, whatever the step."""
    weight = values(seed, rows, columns).double()
    step = steps_of_largest(weight, 4) * share
    integers = on_grid(weight, step, 4) / step
    torch.testing.assert_close(integers, (weight / step).round().clamp(-7, 7), rtol=0, atol=1e-9)


def hessian_of(seed: int, columns: int) -> Tensor:
    x = values(seed, columns + 3, columns).double()
    return x.T @ x


@settings(deadline=None)
@given(**SHAPES, bits=st.sampled_from([4, 8]))
def test_the_clip_search_is_never_worse_than_no_clipping(seed: int, rows: int, columns: int, bits: int) -> None:
    weight, H = values(seed, rows, columns).double(), hessian_of(seed + 1, columns)
    errors = [
        on_grid(weight, step, bits) - weight
        for step in (clipped_steps(weight, H, bits), steps_of_largest(weight, bits))
    ]
    clipped, plain = (((error @ H) * error).sum(1) for error in errors)
    assert (clipped <= plain).all()


@settings(deadline=None, max_examples=30)
@given(**SHAPES, bits=st.sampled_from([4, 8]))
def test_the_clip_search_takes_the_best_of_every_other_share_and_its_neighbours(
    seed: int, rows: int, columns: int, bits: int
) -> None:
    weight, H = values(seed, rows, columns).double(), hessian_of(seed + 1, columns)
    steps, largest = clipped_steps(weight, H, bits), weight.abs().amax(1) / levels(bits)
    for row, step, most in zip(weight, steps, largest, strict=True):
        losses = []
        for share in torch.linspace(1, SMALLEST_SHARE, 10).double():
            error = (row / (share * most)).round().clamp(-levels(bits), levels(bits)) * share * most - row
            losses.append((error @ H @ error).item())
        coarse = 2 * min(range(5), key=lambda number: losses[2 * number])
        error = on_grid(row[None], step[None], bits)[0] - row
        assert (error @ H @ error).item() <= min(losses[max(0, coarse - 1) : coarse + 2]) * (1 + 1e-4)
        assert SMALLEST_SHARE - 1e-6 <= step / most <= 1


def test_an_outlier_that_no_input_reaches_is_clipped() -> None:
    weight = torch.cat([torch.linspace(-1, 1, 15), torch.tensor([1.6])])[None].double()
    H = torch.eye(16).double()
    H[15, 15] = 100
    assert clipped_steps(weight, H, 4).item() == pytest.approx(1.6 / 7)
    H[15, 15] = 1e-9
    assert clipped_steps(weight, H, 4).item() < 1.2 / 7


def test_rows_of_zeros_have_a_step() -> None:
    step = clipped_steps(torch.zeros(2, 3).double(), torch.eye(3).double(), 8)
    assert (step > 0).all() and not on_grid(torch.zeros(2, 3).double(), step, 8).any()


BLOCKS = {"seed": st.integers(0, 10**6), "rows": st.integers(1, 4), "blocks": st.integers(1, 4)}


@settings(deadline=None)
@given(**BLOCKS, block=st.integers(1, 6))
def test_a_block_is_rounded_by_itself(seed: int, rows: int, blocks: int, block: int) -> None:
    """As a row of its own would be, but for the step that can be stored."""
    weight = values(seed, rows, blocks * block).double()
    parts = weight.reshape(rows * blocks, block)
    step = storable(parts.abs().amax(1, keepdim=True) / 7, block)
    torch.testing.assert_close(round_weight(weight, 4, block), on_grid(parts, step, 4).reshape_as(weight))


@settings(deadline=None)
@given(**BLOCKS, block=st.integers(1, 6))
def test_the_clip_search_of_a_block_sees_its_inputs_alone(seed: int, rows: int, blocks: int, block: int) -> None:
    weight, H = values(seed, rows, blocks * block).double(), hessian_of(seed + 1, blocks * block)
    found = clipped_steps(weight, H, 4, block)
    for number in range(blocks):
        at = slice(number * block, (number + 1) * block)
        alone = clipped_steps(weight[:, at].contiguous(), H[at, at].contiguous(), 4, block)
        torch.testing.assert_close(found[:, number : number + 1], alone)


@given(st.floats(-30, 15))
def test_a_step_of_a_block_is_a_number_of_both_formats(exponent: float) -> None:
    step = torch.tensor([2.0**exponent], dtype=torch.float64)
    found = storable(step, block=32)
    assert torch.equal(found.half().double(), found)
    assert torch.equal(found.bfloat16().double(), found)
    assert abs(found - step) <= max(2.0**-8 * step, SMALLEST_OF_BLOCK)


def test_an_outlier_costs_its_own_block_alone() -> None:
    weight = torch.linspace(-1, 1, 64)[None].double()
    weight[0, 3] = 50
    whole, in_blocks = (round_weight(weight, 4, block) - weight for block in (0, 32))
    assert in_blocks[0, 32:].abs().max() < 0.1 < whole[0, 32:].abs().max()


def test_values_outside_of_the_range_are_clipped() -> None:
    x = torch.tensor([-5.0, -1.0, 0.0, 0.5, 2.0, 9.0])
    found = round_between(x, torch.tensor(-1.0), torch.tensor(2.0))
    torch.testing.assert_close(found, torch.tensor([-1.0, -1, 0, 0.5, 2, 2]), rtol=0, atol=3 / 255)


def test_a_range_always_has_zero() -> None:
    found = round_between(torch.tensor([0.0, 4.0, 5.0]), torch.tensor(4.0), torch.tensor(5.0))
    assert found[0] == 0 and found[2] == pytest.approx(5.0)
