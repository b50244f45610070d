"""The comparison with published methods: what is made, that nothing is made twice, and what its page says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TOOLS = Path(__file__).parent.parent / "tools"
sys.path.insert(0, str(TOOLS))

from compare_cells import CELLS_FILE, Cell, finished_cells, stock_step  # noqa: E402
from compare_page import TITLES, Comparison, Facts, differences, pareto, write  # noqa: E402
from compare_recipes import (  # noqa: E402
    METHODS,
    OURS,
    STOCK,
    STOCK_RECIPES,
    TORCH,
    Wanted,
    budget_cells,
    cut_cells,
    dense_cells,
    depends_on_draw,
    tasks,
    torch_cell,
)
from stock_files import stock_float  # noqa: E402

from edgeflex_tflite.artifacts import InputSpec, MemoryCost  # noqa: E402
from edgeflex_tflite.recipe import CHOICES, Recipe  # noqa: E402
from edgeflex_tflite.verify.runner import FileRunner, file_input  # noqa: E402
from tests.command import Outcome, environment  # noqa: E402
from tests.conftest import random_vit  # noqa: E402

SMALL = (
    "--methods=corp",
    "--ratios=0.5",
    "--cut_precisions=mixed",
    "--dense_precisions=no_such_precision",
    "--budgets=",
    "--draws=1",
    "--eval_samples=40",
    "--calibration_samples=16",
    "--awq_tokens=64",
    "--probe_samples=8",
    "--workers=1",
    "--check",
)


def compare(*flags: str, cwd: Path) -> Outcome:
    done = subprocess.run(
        [sys.executable, str(TOOLS / "compare_methods.py"), *flags],
        cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_a_method_that_never_looks_at_images_is_made_once_in_float() -> None:
    cells = list(cut_cells(["magnitude", "flap"], [0.25, 0.5], ["fp32", "mixed"], Recipe(), draws=3))
    counted = {
        (m, p): sum(c.method == m and c.precision == p for c in cells) for m in METHODS for p in ("fp32", "mixed")
    }
    assert (counted["magnitude", "fp32"], counted["magnitude", "mixed"]) == (2, 2)
    assert (counted["flap", "fp32"], counted["flap", "mixed"]) == (6, 2)
    assert all(cell.recipe.seed == cell.draw and cell.recipe.precision == cell.precision for cell in cells)


def test_every_method_depends_on_the_draw_but_magnitude() -> None:
    blind = {
        name for name, keys in METHODS.items() if not depends_on_draw(Recipe(precision="fp32", prune_ratio=0.5, **keys))
    }
    assert blind == {"magnitude"}
    assert not depends_on_draw(Recipe(precision="fp32"))
    assert depends_on_draw(Recipe(precision="mixed"))


def test_stock_stands_beside_ours() -> None:
    cells = list(dense_cells(["fp32", "mixed", "int8_static", "no_such_precision"], Recipe(), draws=2))
    found = [(cell.method, cell.precision, cell.draw) for cell in cells]
    ours = [("fp32", 0), ("mixed", 0), ("int8_static", 0), ("mixed", 1), ("int8_static", 1)]
    stock = [("int8_static", 0), ("int8_static", 1)]
    assert found == [(OURS, *cell) for cell in ours] + [(STOCK, *cell) for cell in stock]


def test_precisions_share_a_pruned_model() -> None:
    cells = [
        torch_cell(Recipe()),
        *dense_cells(["fp32", "int8_static"], Recipe(), draws=2),
        *cut_cells(["corp", "ours"], [0.5], ["fp32", "mixed"], Recipe(), draws=2),
    ]
    groups = [task.cells for task in tasks(cells)]
    assert sorted(cell.key for group in groups for cell in group) == sorted(cell.key for cell in cells)
    assert len({cell.key for cell in cells}) == len(cells)
    for group in groups:
        assert len({(cell.method, cell.amount, cell.draw) for cell in group}) == 1
        assert len(group) == 1 or group[0].method not in (STOCK, TORCH)
    assert sum(len(group) == 2 for group in groups) == 4


def test_a_budget_above_the_whole_model_is_the_file_with_nothing_cut() -> None:
    whole, half = (
        next(iter(budget_cells([share], 8_000_000, 2_000_000, Recipe(), draws=1))) for share in (0.25, 0.125)
    )
    assert whole.key == next(iter(dense_cells(["mixed"], Recipe(), draws=1))).key
    assert half.recipe.memory_budget_mb == 1 and half.recipe.mirror


def test_every_method_is_a_recipe() -> None:
    assert all(Recipe(**keys) for keys in METHODS.values())
    assert METHODS[OURS] == {"mirror": True, "read_weight": 6}
    assert set(TITLES) == {*METHODS, STOCK, TORCH}
    assert set(STOCK_RECIPES) <= set(CHOICES["precision"])


def test_pareto() -> None:
    assert pareto([(3, 90), (1, 50), (2, 40), (1, 60), (4, 90), (5, 91)]) == [(1, 60), (3, 90), (5, 91)]


def comparison() -> Comparison:
    """Ten images: torch names nine, ours eight and seven of two draws, CORP six, and one budget is out of reach."""

    def cell(hits: int, size: int) -> Cell:
        return Cell("", "1" * hits + "0" * (10 - hits), MemoryCost(size, 500_000, size + 1000, "ADD"), {})

    recipe = Recipe()
    cells = {
        torch_cell(recipe): cell(9, 80_000_000),
        Wanted("cut", OURS, 0.5, "mixed", 0, recipe): cell(8, 10_000_000),
        Wanted("cut", OURS, 0.5, "mixed", 1, recipe.replace(seed=1)): cell(7, 10_000_000),
        Wanted("cut", "corp", 0.5, "mixed", 0, recipe): cell(6, 11_000_000),
        Wanted("budget", OURS, 0.12, "mixed", 0, recipe): Cell("", None, None, {}, "a budget of 1 MB is impossible"),
    }
    return Comparison(cells, (), Facts("the command", "vit", "digits", 10, 16, 2, {"timm": "1"}))


def test_page_figures_and_plot(tmp_path: Path) -> None:
    found = comparison()
    page, figures, plot = (path.read_text() for path in write(found, tmp_path))
    lines = [[part.strip() for part in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert ["50%", "ours", "+15.00 (+10.00 to +20.00)", "10.00", "0.50"] in lines
    assert ["50%", "CORP, energy and ridge", "+30.00", "11.00", "0.50"] in lines
    assert ["12%", "mixed", "not made: a budget of 1 MB is impossible", "-", "-", "-"] in lines
    assert "90.00 % top-1" in page and "the command" in page and "timm 1" in page
    rows = json.loads(figures)["rows"]
    assert [row["top1_percent"] for row in rows] == [[90.0], [80.0, 70.0], [60.0], []]
    assert "CORP, energy and ridge" in plot and "mixed" in plot
    assert [path.read_text() for path in write(found, tmp_path)] == [page, figures, plot], "the same every time"
    assert "+20.00 (" in differences(found), "eight against six of ten"


def test_help_is_quick_and_bad_flags_are_one_line(tmp_path: Path) -> None:
    told = compare("--help", cwd=tmp_path)
    assert told.code == 0 and "--calibration_data" in told.out and "--draws" in told.out
    for flag in ("--ratios=0.5,2", "--methods=wanda", "--cut_precisions=int3", "--budgets=much"):
        refused = compare(flag, cwd=tmp_path)
        assert refused.code == 2 and refused.err.startswith("error: ") and refused.err.count("\n") == 1, refused
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_stock_files_answer_as_the_model_does(tmp_path: Path) -> None:
    spec = InputSpec("nchw", "normalized", (0.5,) * 3, (0.25,) * 3, 32, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), np.uint8)
    images = [file_input(image, spec) for image in pixels]
    model = random_vit(depth=1)
    stock_float(model, spec, tmp_path / "stock-0123")
    stock_step(tmp_path / "stock-0123", STOCK_RECIPES["int8_static"], iter(images), tmp_path)
    runner = FileRunner(tmp_path / "model.tflite", spec, 1)
    for image, values in zip(pixels, images, strict=True):
        expected = model(torch.from_numpy(values)).detach().numpy()[0]
        assert np.corrcoef(runner(image), expected)[0, 1] > 0.9


@pytest.mark.slow
def test_the_tool_runs_resumes_and_writes_real_numbers(tmp_path: Path) -> None:
    """A cut file, a precision that nobody has, and torch."""
    flags = (*SMALL, f"--work_dir={tmp_path}/work", f"--output_dir={tmp_path}/out")
    first = compare(*flags, cwd=tmp_path)
    assert first.code == 0, first
    noted = tmp_path / "work" / CELLS_FILE
    cells, content = finished_cells(tmp_path / "work"), noted.read_text()
    assert all(cell.hits is not None and len(cell.hits) == 40 and not cell.reason for cell in cells.values())
    assert [path.name for path in (tmp_path / "work").iterdir()] == [CELLS_FILE], "stages are gone"

    rows = {row["method"]: row for row in json.loads((tmp_path / "out" / "accuracy.json").read_text())["rows"]}
    assert rows[TORCH]["top1_percent"][0] > 90
    assert rows["corp"]["file_bytes"] > 200_000 and rows["corp"]["arena_bytes"] > 1000
    page = (tmp_path / "out" / "accuracy.md").read_text()
    assert "CORP" in page and "no such precision" in page
    assert (tmp_path / "out" / "accuracy.svg").read_text().count("<svg") == 1

    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    noted.write_text(content + '{"key": "half a li')
    again = compare(*flags, cwd=tmp_path)
    assert again.code == 0, again
    assert noted.read_text() == content, "nothing was made again, and half a line is gone"
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
