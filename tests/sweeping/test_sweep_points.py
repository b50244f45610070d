"""The points of a sweep, what becomes of them, and which of them nothing beats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.sweeping import outcome as outcomes
from edgeflex_tflite.sweeping.front import pareto_front
from edgeflex_tflite.sweeping.outcome import Outcome
from edgeflex_tflite.sweeping.points import make_points, parse_vary

GRID = {"prune_ratio": [0.25, 0.5, None], "precision": ["mixed", "fp32"]}


def made(id: str, memory: int, top1: float) -> Outcome:
    return Outcome(id, id, {}, "made", weights_bytes=memory - 1, arena_bytes=1, top1_percent=top1)


def test_values_have_the_types_of_the_recipe() -> None:
    vary = parse_vary(["prune_ratio=0.25,none", "awq=true,False", "levers=mlp+heads,mlp", "crops=0,2", "model=a,b"])
    assert vary == {
        "prune_ratio": [0.25, None],
        "awq": [True, False],
        "levers": ["mlp,heads", "mlp"],
        "crops": [0, 2],
        "model": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["prune_ratio"], "give KEY=VALUE,VALUE"),
        (["prune_ratio="], "give KEY=VALUE,VALUE"),
        (["prune_ration=1"], "names 'prune_ration', which is neither of model, checkpoint, img_size"),
        (["seed=1,2", "seed=3"], "names 'seed' twice"),
        (["seed=one"], "--vary=seed: 'one' is not a int"),
        (["awq=yes"], "'yes' is not a bool"),
    ],
)
def test_bad_values(texts: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_vary(texts)


def test_every_combination_once() -> None:
    points = make_points(Recipe(seed=3), {"data": "demo/test"}, GRID, None, 0)
    assert [(point.recipe.prune_ratio, point.recipe.precision) for point in points] == [
        (ratio, precision) for ratio in GRID["prune_ratio"] for precision in GRID["precision"]
    ]
    assert len({point.id for point in points}) == 6
    assert all(point.recipe.seed == 3 and point.inputs == {"data": "demo/test"} for point in points)
    assert points[0].title == "prune_ratio 0.25, precision mixed"


def test_models_vary_too() -> None:
    points = make_points(Recipe(), {"data": "d"}, {"model": ["a", "b"]}, None, 0)
    assert [point.inputs for point in points] == [{"data": "d", "model": "a"}, {"data": "d", "model": "b"}]
    assert points[0].id != points[1].id


def test_the_same_recipe_twice_is_one_point() -> None:
    assert len(make_points(Recipe(), {}, {"prune_ratio": [0.5, 0.50], "seed": [0, 1]}, None, 0)) == 2


def test_a_budget_takes_the_place_of_a_ratio() -> None:
    points = make_points(Recipe(prune_ratio=0.5), {}, {"memory_budget_mb": [1.0, 2.0]}, None, 0)
    assert [(point.recipe.prune_ratio, point.recipe.memory_budget_mb) for point in points] == [(None, 1.0), (None, 2.0)]


def test_samples_are_drawn_by_the_seed() -> None:
    vary: dict[str, list[Any]] = {"seed": list(range(20))}
    first = make_points(Recipe(), {}, vary, 5, seed=1)
    assert len(first) == 5
    assert first == make_points(Recipe(), {}, vary, 5, seed=1)
    assert first != make_points(Recipe(), {}, vary, 5, seed=2)
    assert len(make_points(Recipe(), {}, vary, 100, seed=1)) == 20


@pytest.mark.parametrize("vary", [{}, {"seed": [1]}])
def test_nothing_to_vary(vary: dict[str, list[Any]]) -> None:
    with pytest.raises(UserError, match="there is nothing to sweep over"):
        make_points(Recipe(), {}, vary, None, 0)


def test_a_combination_that_is_no_recipe() -> None:
    vary = {"prune_ratio": [0.5], "memory_budget_mb": [1.0, None]}
    with pytest.raises(UserError, match=r"the point .*'memory_budget_mb': 1\.0.* is no recipe: .*contradict"):
        make_points(Recipe(), {}, vary, None, 0)


def test_outcomes_survive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert outcomes.read(path) == {}
    first, second = made("a", 10, 90.0), Outcome("b", "b", {"seed": 1}, "refused", "no such budget")
    for each in (first, second):
        outcomes.append(path, each)
    assert outcomes.read(path) == {"a": first, "b": second}


def test_a_line_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    outcomes.append(path, made("a", 10, 90.0))
    outcomes.append(path, made("b", 20, 91.0))
    path.write_bytes(path.read_bytes()[:-9])
    assert list(outcomes.read(path)) == ["a"]
    outcomes.append(path, made("c", 30, 92.0))
    assert list(outcomes.read(path)) == ["a", "c"]


def test_a_later_outcome_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    outcomes.append(path, Outcome("a", "a", {}, "lost", "killed"))
    outcomes.append(path, made("a", 10, 90.0))
    assert outcomes.read(path)["a"].state == "made"


def test_the_front() -> None:
    points = [made("big", 30, 95.0), made("worse", 30, 94.0), made("small", 10, 80.0), made("beaten", 20, 80.0)]
    refused = Outcome("no", "no", {}, "refused", "")
    assert [each.id for each in pareto_front([*points, refused])] == ["small", "big"]
    assert pareto_front([refused]) == []


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_nothing_beats_the_front_and_it_beats_the_rest(places: list[tuple[int, int]]) -> None:
    points = [made(str(number), memory, float(top1)) for number, (memory, top1) in enumerate(places)]
    front = pareto_front(points)

    def beats(one: Outcome, other: Outcome) -> bool:
        assert one.memory_bytes and other.memory_bytes
        assert one.top1_percent is not None and other.top1_percent is not None
        as_good = one.memory_bytes <= other.memory_bytes and one.top1_percent >= other.top1_percent
        return as_good and (one.memory_bytes, one.top1_percent) != (other.memory_bytes, other.top1_percent)

    assert not any(beats(point, each) for point in points for each in front)
    assert all(any(beats(each, point) for each in front) for point in points if point not in front)
