"""What a run will need is predicted from sizes, and refused where the machine does not have it."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from edgeflex_tflite import resources
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.resources import Needs, check_needs, predict_needs
from tests.conftest import random_vit

GIGABYTE = 1_000_000_000
FREE_RAM, OWN_RAM, FREE_DISK = 3 * GIGABYTE, GIGABYTE, 5 * GIGABYTE


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A machine of known size; the folders whose disk was asked for."""
    asked: list[Path] = []

    def disk_usage(folder: Path) -> SimpleNamespace:
        asked.append(folder)
        return SimpleNamespace(free=FREE_DISK)

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=FREE_RAM))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=OWN_RAM))
    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    return asked


@pytest.fixture(scope="module")
def small() -> EdgeViT:
    return to_edge_form(random_vit())


def needs(model: EdgeViT, *, evaluated: int = 10, **choices: Any) -> Needs:
    """Predicted for a recipe with few images and without a search, but for what is chosen."""
    few: dict[str, Any] = {"calibration_samples": 8, "awq": False}
    return predict_needs(model, Recipe(**(few | choices)), evaluated)


@pytest.fixture
def second_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_seconds_per_image", lambda _: 1.0)


def test_what_the_process_already_holds_counts_as_available(tmp_path: Path) -> None:
    check_needs(Needs(FREE_RAM + OWN_RAM, FREE_DISK, 1.0), tmp_path)


def test_too_little_memory_names_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"about 4\.5 GB of memory and 4\.0 GB are free: use a smaller model"):
        check_needs(Needs(FREE_RAM + OWN_RAM + GIGABYTE // 2, 0, 1.0), tmp_path)


def test_one_byte_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="of memory"):
        check_needs(Needs(FREE_RAM + OWN_RAM + 1, 0, 1.0), tmp_path)
    with pytest.raises(UserError, match="of disk"):
        check_needs(Needs(0, FREE_DISK + 1, 1.0), tmp_path)


def test_too_little_disk_names_the_folder_and_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"about 6\.0 GB of disk at {tmp_path}/new and 5\.0 GB are free: free some"):
        check_needs(Needs(0, 6 * GIGABYTE, 1.0), tmp_path / "new")


def test_the_disk_is_that_of_the_nearest_folder_that_exists(tmp_path: Path, machine: list[Path]) -> None:
    check_needs(Needs(0, 1, 1.0), tmp_path / "not" / "there" / "yet")
    assert machine == [tmp_path]


def test_memory_and_disk_grow_with_the_weights(small: EdgeViT) -> None:
    large = to_edge_form(random_vit(depth=6))
    least, most = needs(small), needs(large)
    grown = resources.weights_bytes(large) - resources.weights_bytes(small)
    assert grown > 0
    assert most.ram_bytes - least.ram_bytes >= 2 * grown
    assert most.disk_bytes - least.disk_bytes >= grown


def test_memory_grows_with_the_calibration_images(small: EdgeViT) -> None:
    few, many = (needs(small, calibration_samples=count).ram_bytes for count in (8, 80))
    tokens = 72 * small.num_tokens * small.head.in_features * 4
    assert many - few >= tokens


def test_memory_has_room_for_moments_only_where_something_is_cut(small: EdgeViT) -> None:
    whole, cut = (needs(small, prune_ratio=ratio).ram_bytes for ratio in (None, 0.5))
    width = small.blocks[0].mlp.width
    assert cut - whole >= 8 * width**2


@pytest.mark.usefixtures("second_per_image")
def test_time_grows_with_the_images_and_the_search(small: EdgeViT) -> None:
    plain = needs(small).seconds
    assert needs(small, evaluated=20).seconds >= plain + 10
    assert needs(small, calibration_samples=18).seconds >= plain + 10
    assert needs(small, awq=True).seconds > plain
    assert needs(small, prune_ratio=0.5).seconds > plain


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(), False),
        (Recipe(prune_ratio=0.0), False),
        (Recipe(prune_ratio=0.1), True),
        (Recipe(memory_budget_mb=1), True),
    ],
)
def test_what_may_cut(recipe: Recipe, expected: bool) -> None:
    assert recipe.prunes is expected
