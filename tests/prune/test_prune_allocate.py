"""The budget holds, at the least predicted cost for each byte saved."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.prune.allocate import (
    BlockCurve,
    allocate,
    bytes_for_ratio,
    divergence_curve,
    level_curve,
    relative,
    smallest_width,
)


def curve(dense: int, errors: list[float], sensitivity: float = 1.0, neuron_bytes: int = 1) -> BlockCurve:
    """`errors[i]` is what cutting the neuron number i adds."""
    error = torch.cat([torch.zeros(1), torch.tensor(errors)]).double().cumsum(0)
    assert len(error) == dense + 1
    return BlockCurve(dense, error, sensitivity * error, neuron_bytes)


def level(dense: int, each: float, sensitivity: float = 1.0, neuron_bytes: int = 1) -> BlockCurve:
    return curve(dense, [each] * dense, sensitivity, neuron_bytes)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[BlockCurve], int]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    curves = []
    for _ in range(draw(st.integers(1, 5))):
        dense = draw(st.integers(1, 40))
        errors = torch.rand(dense, generator=generator).sort().values
        curves.append(curve(dense, errors.tolist(), draw(st.floats(0, 10)), draw(st.integers(1, 9))))
    return curves, draw(st.sampled_from([1, 4, 16]))


def most_to_save(curves: list[BlockCurve], multiple: int) -> int:
    return sum((c.dense_width - min(multiple, c.dense_width)) * c.neuron_bytes for c in curves)


def saved(curves: list[BlockCurve], widths: tuple[int, ...]) -> int:
    return sum((c.dense_width - width) * c.neuron_bytes for c, width in zip(curves, widths, strict=True))


@settings(deadline=None)
@given(problems(), st.floats(0, 1))
def test_budget_holds_in_allowed_widths(problem: tuple[list[BlockCurve], int], share: float) -> None:
    curves, multiple = problem
    wanted = int(share * most_to_save(curves, multiple))
    widths = allocate(curves, wanted, multiple)
    assert saved(curves, widths) >= wanted
    for width, block in zip(widths, curves, strict=True):
        assert 0 < width <= block.dense_width
        assert width == block.dense_width or width % multiple == 0


@settings(deadline=None)
@given(problems(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_budget_never_narrows(problem: tuple[list[BlockCurve], int], one: float, other: float) -> None:
    curves, multiple = problem
    more, less = sorted((int(share * most_to_save(curves, multiple)) for share in (one, other)), reverse=True)
    pairs = zip(allocate(curves, more, multiple), allocate(curves, less, multiple), strict=True)
    assert all(narrow <= wide for narrow, wide in pairs)


@settings(deadline=None)
@given(problems(), st.floats(0, 1))
def test_last_step_was_needed(problem: tuple[list[BlockCurve], int], share: float) -> None:
    """With any one block a step wider, the budget would be missed."""
    curves, multiple = problem
    wanted = int(share * most_to_save(curves, multiple))
    widths = allocate(curves, wanted, multiple)
    cut = [i for i, c in enumerate(curves) if widths[i] < c.dense_width]
    largest_step = max((multiple * curves[i].neuron_bytes for i in cut), default=0)
    assert saved(curves, widths) - wanted < max(largest_step, 1)


@pytest.mark.parametrize(
    ("to_save", "widths"),
    [(0, (8, 8)), (-5, (8, 8)), (1, (8, 4)), (4, (8, 4)), (5, (4, 4)), (8, (4, 4))],
)
def test_cheapest_first(to_save: int, widths: tuple[int, int]) -> None:
    """The second block's neurons cost half."""
    assert allocate([level(8, 2.0), level(8, 1.0)], to_save, 4) == widths


def test_cost_is_for_each_byte() -> None:
    """The second block's neurons cost twice and save three times as much."""
    assert allocate([level(8, 1.0, neuron_bytes=1), level(8, 2.0, neuron_bytes=3)], 1, 4) == (8, 4)


@given(
    dense=st.integers(2, 40),
    seed=st.integers(0, 1000),
    probes=st.dictionaries(st.floats(0.01, 1), st.floats(0, 10), min_size=1, max_size=5),
)
def test_divergence_goes_through_what_was_measured_and_never_falls(
    dense: int, seed: int, probes: dict[float, float]
) -> None:
    errors = torch.rand(dense, generator=torch.Generator().manual_seed(seed)) + 0.01
    error = curve(dense, errors.tolist()).error
    measured = {max(1, round(share * dense)): found for share, found in probes.items()}
    found = divergence_curve(error, measured)
    assert found.shape == error.shape
    assert found[0] == 0
    assert bool((found.diff() >= -1e-9).all())
    most = 0.0
    for k in sorted(measured):
        most = max(most, measured[k])
        assert found[k].item() == pytest.approx(most, abs=1e-9)


def test_divergence_between_two_measurements_follows_the_error() -> None:
    error = torch.tensor([0.0, 1.0, 2.0, 6.0, 10.0], dtype=torch.float64)
    assert divergence_curve(error, {2: 4.0, 4: 12.0}).tolist() == [0, 2, 4, 8, 12]
    assert divergence_curve(error, {2: 4.0}).tolist() == [0, 2, 4, 12, 20], "it goes on as it came"
    assert divergence_curve(error, {2: 4.0, 4: 3.0}).tolist() == [0, 2, 4, 4, 4], "a fall is noise"
    assert divergence_curve(error, {}).tolist() == [0] * 5


def test_cost_counts_sensitivity() -> None:
    assert allocate([level(8, 1.0, sensitivity=5.0), level(8, 3.0, sensitivity=1.0)], 1, 4) == (8, 4)


def test_cost_is_of_the_next_step() -> None:
    """The first block is cheap at first and then dear: marginal cost decides, not the total."""
    steep = curve(12, [0.1] * 4 + [9.0] * 8)
    even = level(12, 1.0)
    assert allocate([steep, even], 4, 4) == (8, 12)
    assert allocate([steep, even], 12, 4) == (8, 4)
    assert allocate([steep, even], 16, 4) == (4, 4)


def test_ties_go_to_the_front() -> None:
    assert allocate([level(32, 1.0)] * 3, 1, 16) == (16, 32, 32)


def test_first_step_reaches_a_multiple() -> None:
    assert allocate([level(20, 1.0)], 1, 16) == (16,)
    assert allocate([level(33, 1.0)], 1, 16) == (32,)


def test_blocks_below_the_multiple_stay_dense() -> None:
    assert allocate([level(10, 0.1), level(32, 5.0)], 1, 16) == (10, 16)
    assert smallest_width(10, 16) == 10
    assert smallest_width(32, 16) == 16


@pytest.mark.parametrize(("curves", "possible"), [([level(10, 1.0)], 0), ([level(32, 1.0, neuron_bytes=7)] * 2, 224)])
def test_impossible(curves: list[BlockCurve], possible: int) -> None:
    assert saved(curves, allocate(curves, possible, 16)) == possible
    with pytest.raises(UserError, match=f"saves at most {possible} bytes, {possible + 1} are needed"):
        allocate(curves, possible + 1, 16)


def test_cost_of_a_width() -> None:
    assert curve(3, [0.5, 1.0, 2.0], sensitivity=10.0).cost(1) == pytest.approx(15.0)
    assert curve(3, [0.5, 1.0, 2.0], sensitivity=10.0).cost(3) == 0


def test_ratio_is_of_all_neurons() -> None:
    assert bytes_for_ratio([level(10, 1.0, neuron_bytes=3), level(20, 1.0, neuron_bytes=2)], 0.5) == 35


def test_relative_error() -> None:
    assert relative(torch.tensor([0.0, 3.0]).double(), 6.0).tolist() == [0.0, 0.5]
    assert relative(torch.tensor([0.0, 0.0]).double(), 0.0).tolist() == [0.0, 0.0]


@settings(deadline=None)
@given(
    widths=st.lists(st.integers(1, 80), min_size=1, max_size=5),
    multiple=st.sampled_from([1, 4, 16]),
    share=st.floats(0, 0.9),
)
def test_level_curves_cut_the_same_share_of_every_block(widths: list[int], multiple: int, share: float) -> None:
    """To one step of a width: nobody's last step went deeper than anybody's next step would go."""
    curves = [level_curve(width, neuron_bytes) for neuron_bytes, width in enumerate(widths, 1)]
    wanted = int(share * most_to_save(curves, multiple))
    found = allocate(curves, wanted, multiple)
    assert saved(curves, found) >= wanted
    pairs = list(zip(found, widths, strict=True))
    last = [1 - min(dense, width + multiple) / dense for width, dense in pairs if width < dense]
    following = [
        1 - max(width - multiple, 0) / dense for width, dense in pairs if width > smallest_width(dense, multiple)
    ]
    assert max(last, default=0) <= min(following, default=1) + 1e-9


@pytest.mark.parametrize(
    ("share", "widths"), [(0.25, (1152,) * 3), (0.5, (768,) * 3), (0.7, (448, 464, 464)), (0, (1536,) * 3)]
)
def test_uniform_widths_meet_the_ratio(share: float, widths: tuple[int, ...]) -> None:
    curves = [level_curve(1536, 7)] * 3
    assert allocate(curves, bytes_for_ratio(curves, share), 16) == widths
