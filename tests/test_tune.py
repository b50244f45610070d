"""The tune command: a recipe that convert takes, and clear refusals."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edgeflex_tflite import cli, tune
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.recipe import Recipe, load
from edgeflex_tflite.targets import host
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.targets.measurement import Ratio
from edgeflex_tflite.tuning import blocks
from edgeflex_tflite.tuning.choose import Candidate
from tests.command import Outcome, error_line
from tests.conftest import random_vit
from tests.lower.conftest import SPEC


def run(*flags: str, capfd: pytest.CaptureFixture[str]) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tune", *flags])
        code = cli.run(tune.main, tune.define_flags, tune.__doc__ or "")
    captured = capfd.readouterr()
    return Outcome(code, captured.out, captured.err)


@pytest.mark.slow
def test_a_recipe_for_convert(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever this machine finds the fastest, the rest of the recipe stays as it was."""
    (tmp_path / "mine.json").write_text(json.dumps({"prune_ratio": 0.25, "fp32_sites": r"^blocks\.5\."}))
    output = tmp_path / "tuned.json"
    short = ("--rounds=1", "--min_runs=1", "--min_secs=0", "--num_threads=1")
    outcome = run(f"--recipe={tmp_path / 'mine.json'}", f"--output={output}", *short, capfd=capfd)
    assert outcome.code == 0, outcome
    tuned = load(str(output))
    assert tuned.replace(precision="mixed", fp32_sites=r"^blocks\.5\.") == load(str(tmp_path / "mine.json"))
    assert tuned.fp32_sites.startswith(r"^blocks\.5\.")
    assert f"convert --recipe={output}" in outcome.out
    assert "int4_dynamic " in outcome.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "tuned.json"]


@pytest.mark.slow
def test_candidates_are_what_they_are_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four blocks three are raced; the file of a candidate has its precisions; the fastest one is the recipe's."""
    model = to_edge_form(random_vit(depth=4))
    raced: dict[str, dict[str, str]] = {}

    def measure(cases: list[host.Case], *_: object, **__: object) -> host.HostResults:
        for case in cases:
            file = flatbuffer.read(Path(case.file))
            sites = [f"blocks.{block}.{path}" for block in range(3) for path in ("attn.q", "mlp.fc1", "mlp.fc2")]
            raced[case.title] = {site: found.dtype for site, found in flatbuffer.stored_weights(file, sites).items()}
        wins = {"int8_static, fc1 in FP32", "int8_static"}
        ratios = [Ratio.of(case.title, cases[0].title, [0.5 if case.title in wins else 2.0]) for case in cases[1:]]
        return host.HostResults((), tuple(ratios))

    monkeypatch.setattr(host, "measure", measure)
    recipe, choice = blocks.tune(model, Recipe(), SPEC, tmp_path, 1, Protocol(), lambda *_: lambda: None)
    assert choice.chosen == Candidate("int8_static", ("fc1",))
    assert recipe == Recipe(precision="int8_static", fp32_sites=r"\.mlp\.(fc1|gate)$")
    assert set(raced["mixed"].values()) == set(raced["int8_static"].values()) == {"INT8"}
    assert set(raced["fp32"].values()) == {"FLOAT32"}
    assert set(raced["int4_dynamic"].values()) == {"INT4"}
    kept = raced["int8_static, fc1 in FP32"]
    assert {site for site, dtype in kept.items() if dtype == "FLOAT32"} == {f"blocks.{n}.mlp.fc1" for n in range(3)}
    assert len(kept) == 9


@pytest.mark.parametrize(("depth", "numbers"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (12, [0, 6, 11])])
def test_few_blocks(depth: int, numbers: list[int]) -> None:
    model = to_edge_form(random_vit(depth=depth))
    few, chosen = blocks.few_blocks(model)
    assert chosen == numbers
    assert [id(block) for block in few.blocks] == [id(model.blocks[number]) for number in numbers]
    assert isinstance(few, EdgeViT) and len(model.blocks) == depth


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--recipe=npu",), "is for processors that have no floats"),
        (("--output=nowhere/tuned.json",), "--output: there is no folder"),
        (("--model=vit_smol",), "unknown model 'vit_smol'"),
        (("--min_secs=nan",), "min_secs"),
        (("model.tflite",), "unexpected 'model.tflite'"),
    ],
)
def test_bad_input(flags: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert message in error_line(run(*flags, capfd=capfd))
