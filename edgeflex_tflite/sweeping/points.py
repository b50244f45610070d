"""The points of a sweep: every combination of the values that vary, or some of them by chance."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from edgeflex_tflite import recipe as recipes
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.recipe import Recipe

INPUTS = ("model", "checkpoint", "img_size")
"""What may vary besides the keys of a recipe."""
ID_LETTERS = 12
NULL = ("none", "null")


@dataclasses.dataclass(frozen=True)
class Point:
    """One file to make.

    Attributes:
        varied: what sets it apart from the other points, by name.
        recipe: all of it.
        inputs: flags of `convert` that name model and images.
    """

    varied: dict[str, Any]
    recipe: Recipe
    inputs: dict[str, str]

    @property
    def id(self) -> str:
        """The same for the same recipe and inputs, in every sweep."""
        content = json.dumps([self.recipe.to_json(), self.inputs], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:ID_LETTERS]

    @property
    def title(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.varied.items()) or "as it is"


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """`key=value,value,...` each -> values by key, in the types of the recipe.

    Raises:
        UserError: no such key, no values, or one that is not of the key's type.
    """
    found: dict[str, list[Any]] = {}
    known = [*(field.name for field in dataclasses.fields(Recipe)), *INPUTS]
    for text in texts:
        key, equals, values = text.partition("=")
        if not equals or not values:
            raise UserError(f"--vary is {text!r}: give KEY=VALUE,VALUE,..., as in prune_ratio=0.25,0.5")
        if key not in known:
            raise UserError(f"--vary names {key!r}, which is neither of {', '.join(INPUTS)} nor a recipe's key")
        if key in found:
            raise UserError(f"--vary names {key!r} twice: give all of its values at once")
        found[key] = [_value(key, value.strip()) for value in _split(key, values)]
    return found


def _split(key: str, values: str) -> list[str]:
    """Values of `levers` are lists themselves, with a plus between."""
    parts = values.split(",")
    return [part.replace("+", ",") for part in parts] if key == "levers" else parts


def _value(key: str, text: str) -> Any:
    if key in INPUTS:
        return text
    if text.lower() in NULL:
        return None
    kind = recipes.kind_of(key)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (ValueError, KeyError):
        raise UserError(f"--vary={key}: {text!r} is not a {kind.__name__}") from None


def make_points(
    base: Recipe, inputs: Mapping[str, str], vary: Mapping[str, Sequence[Any]], samples: int | None, seed: int
) -> list[Point]:
    """All points, in the order of the values, or `samples` of them by chance.

    Raises:
        UserError: a combination is no recipe; there is nothing to vary.
    """
    combinations = [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]
    if len(combinations) < 2:
        raise UserError("there is nothing to sweep over: give --vary=KEY=VALUE,VALUE at least once")
    if samples is not None and samples < len(combinations):
        kept = sorted(random.Random(seed).sample(range(len(combinations)), samples))
        combinations = [combinations[index] for index in kept]
    found: dict[str, Point] = {}
    for varied in combinations:
        changes = {key: value for key, value in varied.items() if key not in INPUTS}
        named = {key: value for key, value in varied.items() if key in INPUTS}
        try:
            point = Point(varied, base.overruled_by(changes), {**inputs, **named})
        except UserError as error:
            raise UserError(f"the point {varied} is no recipe: {error}") from error
        found.setdefault(point.id, point)
    return list(found.values())
