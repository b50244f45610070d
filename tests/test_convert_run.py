"""Whole runs: what a bundle holds, that it is the same every time, and what stays when a run is stopped."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import type_to_name
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model

from edgeflex_tflite import cli, search
from edgeflex_tflite.data import open_source
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.metadata import read_own_entry
from edgeflex_tflite.lower.predict import signature_graphs
from edgeflex_tflite.memory import plan_arena
from edgeflex_tflite.memory import weights_bytes as file_weights_bytes
from edgeflex_tflite.models import demo
from edgeflex_tflite.recipe import Recipe
from edgeflex_tflite.verify import gates, parity
from tests.browser import marks_of_plots, opened
from tests.command import QUICK, Outcome, arguments, environment, error_line, exit_code, run_apart, run_here

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

BUDGET_MB = 0.80
"""Slightly under the 0.82 MB that the embedded model needs without pruning."""
FLAGS = (*QUICK, f"--memory_budget_mb={BUDGET_MB}")
BUNDLE = {
    "model.tflite", "recipe.json", "manifest.json", "metrics.json", "labels.txt", "preprocessing.json", "report.md",
    "report.html", "summary.txt", "stages.json", "golden/image.png", "golden/input.npy", "golden/output.npy",
}  # fmt: skip
STAGES_BEFORE_KILL = ("profile", "evaluate_dense", "plan", "prune")
PATIENCE_SECONDS = 300


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- the embedded model, in processes of their own


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that ended well."""

    folder: Path
    outcome: Outcome


def stop_when(reached: Path, number: signal.Signals, *flags: str, cwd: Path) -> Outcome:
    """Start a run, and send its process group a signal as soon as a folder exists."""
    with subprocess.Popen(
        arguments(*flags),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - background jobs ignore it
    ) as process:
        try:
            wait_for(reached, process)
            os.killpg(process.pid, number)
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return Outcome(process.returncode, out, err)


def wait_for(folder: Path, process: subprocess.Popen[str]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not folder.is_dir():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up, f"{folder} never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def whole(workplace: Path) -> Finished:
    """An uninterrupted run."""
    outcome = run_apart(*FLAGS, "--benchmark", "--weight_cache", "--output_dir=whole", cwd=workplace)
    assert outcome.code == 0, outcome
    return Finished(workplace / "whole", outcome)


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A run that Ctrl-C stopped, that was resumed and killed, and resumed again.

    Attributes:
        interrupted, resumed: what the first and the last process said.
        kept: what the first left in the partial folder.
        refused: what a resumption with another seed said after the kill, and whether the partial folder stayed.
    """

    interrupted: Outcome
    kept: set[str]
    refused: Outcome
    partial_stayed: bool
    resumed: Outcome
    folder: Path


@pytest.fixture(scope="module")
def stopped(workplace: Path) -> Stopped:
    folder, partial = workplace / "stopped", workplace / "stopped.partial"
    flags = (*FLAGS, "--output_dir=stopped")
    interrupted = stop_when(partial / "profile", signal.SIGINT, *flags, cwd=workplace)
    kept = files_in(partial) if partial.is_dir() else set()
    killed = stop_when(partial / "prune", signal.SIGKILL, *flags, "--resume", cwd=workplace)
    assert killed.code == -signal.SIGKILL
    assert not folder.exists()
    before = contents(partial)
    refused = run_apart(*flags, "--seed=1", "--resume", cwd=workplace)
    partial_stayed = contents(partial) == before
    resumed = run_apart(*flags, "--resume", cwd=workplace)
    return Stopped(interrupted, kept, refused, partial_stayed, resumed, folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@pytest.fixture(scope="module")
def replaced(whole: Finished, workplace: Path) -> Finished:
    """The same run again, over a folder that holds something else and an unfinished run of another recipe."""
    folder = workplace / "replaced"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    partial = workplace / "replaced.partial"
    (partial / "profile").mkdir(parents=True)
    (partial / "profile.json").write_text("of another run")
    (partial / "run.json").write_text('{"recipe": "another"}')
    outcome = run_apart(*FLAGS, "--output_dir=replaced", "--overwrite", cwd=workplace)
    assert outcome.code == 0, outcome
    return Finished(folder, outcome)


def test_a_bundle_has_exactly_its_files(whole: Finished) -> None:
    assert files_in(whole.folder) == BUNDLE | {"benchmark.json"}


def test_a_finished_run_leaves_only_the_bundle(whole: Finished) -> None:
    assert not whole.folder.with_name("whole.partial").exists()
    assert f"{whole.folder / 'report.html'}" in whole.outcome.out
    assert (whole.folder / "summary.txt").read_text() in whole.outcome.out
    assert "resumed" not in whole.outcome.out


def test_the_manifest_has_the_hash_of_every_other_file(whole: Finished) -> None:
    hashes = read(whole.folder, "manifest.json")["files"]
    assert hashes == {name: sha256(whole.folder / name) for name in BUNDLE - {"manifest.json"} | {"benchmark.json"}}


def test_the_manifest_tells_how_to_get_the_file_again(whole: Finished) -> None:
    manifest = read(whole.folder, "manifest.json")
    assert manifest["origin"]["model"] == demo.NAME
    assert manifest["origin"]["command"].endswith(
        " ".join((*FLAGS, "--benchmark", "--weight_cache", "--output_dir=whole"))
    )
    assert manifest["seed"] == 0
    assert manifest["run"]["threads"] == 1
    assert manifest["run"]["recipe"] == sha256(whole.folder / "recipe.json")


def test_the_report_has_latency_and_memory_of_the_benchmark(whole: Finished) -> None:
    measured = read(whole.folder, "benchmark.json")["measurements"]
    assert [(m["file"], m["variant"]) for m in measured] == [
        ("FP32, before quantization", ""),
        ("model.tflite", ""),
        ("model.tflite, CompiledModel", "no weight cache"),
        ("model.tflite, CompiledModel", "weight cache, first start"),
        ("model.tflite, CompiledModel", "weight cache, later starts"),
    ]
    text = (whole.folder / "report.md").read_text()
    assert "median_ms" not in measured[3]["latency"], "a first start differs in its start alone"
    for m in (*measured[:3], measured[4]):
        assert f"{m['latency']['median_ms']:.2f}" in text
        assert f"{m['memory']['process_peak_bytes'] / 1e6:.2f}" in text
    assert "Where it runs" in text


def test_the_page_has_all_plots_of_the_run(whole: Finished, browser: Browser) -> None:
    with opened(browser, (whole.folder / "report.html").as_uri()) as seen:
        marks = marks_of_plots(seen.page)
        assert len(marks) >= 10
        assert all(marks.values()), marks
        assert seen.complaints == []


def test_what_was_not_measured_is_said(replaced: Finished) -> None:
    assert "not measured (`--nobenchmark`)" in (replaced.folder / "report.md").read_text()


def test_the_recipe_in_the_bundle_is_the_flags(whole: Finished) -> None:
    expected = Recipe(
        memory_budget_mb=BUDGET_MB, eval_samples=50, calibration_samples=16, awq_tokens=64, probe_samples=8
    )
    assert (whole.folder / "recipe.json").read_text() == expected.to_json()


def test_the_golden_output_is_what_a_fresh_interpreter_answers(whole: Finished) -> None:
    code = """
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools.flatbuffer_utils import type_to_name
runner = Interpreter(model_path="model.tflite", num_threads=1)
runner.allocate_tensors()
runner.set_tensor(runner.get_input_details()[0]["index"], np.load("golden/input.npy"))
runner.invoke()
answer, golden = runner.get_tensor(runner.get_output_details()[0]["index"]), np.load("golden/output.npy")
assert answer.shape == golden.shape == (1, 10), golden.shape
np.testing.assert_array_equal(answer, golden)
assert np.ptp(golden) > 1, golden
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=whole.folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_golden_input_is_the_golden_image(whole: Finished) -> None:
    pixels = np.asarray(Image.open(whole.folder / "golden" / "image.png"))
    np.testing.assert_array_equal(np.load(whole.folder / "golden" / "input.npy"), pixels[None].astype(np.float32))


def test_the_labels_stand_behind_the_flatbuffer_as_a_zip(whole: Finished) -> None:
    with zipfile.ZipFile(whole.folder / "model.tflite") as archive:
        assert archive.namelist() == ["labels.txt"]
        labels = archive.read("labels.txt").decode()
    assert labels == (whole.folder / "labels.txt").read_text() == "".join(f"{digit}\n" for digit in range(10))


def test_the_file_names_its_recipe_and_its_input(whole: Finished) -> None:
    own = read_own_entry(flatbuffer.read(whole.folder / "model.tflite"))
    assert own["recipe_sha256"] == sha256(whole.folder / "recipe.json")
    described = read(whole.folder, "preprocessing.json")
    assert own["input"]["layout"] == described["input_layout"] == "nhwc"
    assert own["input"]["range"] == described["input_range"] == "0-255"
    assert own["input"]["shape"] == described["input_shape"] == [1, 32, 32, 3]


def test_the_budget_holds_on_the_file_and_asks_for_pruning(whole: Finished) -> None:
    path, metrics = whole.folder / "model.tflite", read(whole.folder, "metrics.json")
    weights, arena = file_weights_bytes(path), plan_arena(path).total_bytes
    assert weights + arena <= BUDGET_MB * 1_000_000
    assert weights + arena > 0.9 * BUDGET_MB * 1_000_000, "more was cut than the budget asks for"
    assert (metrics["memory"]["weights_bytes"], metrics["memory"]["arena_bytes"]) == (weights, arena)
    assert metrics["memory_budget_bytes"] == BUDGET_MB * 1_000_000
    assert metrics["pruned"] is not None
    assert metrics["quantized"] is not None


def test_the_same_seed_gives_the_same_bytes(whole: Finished, replaced: Finished) -> None:
    for name in ("model.tflite", "metrics.json", "recipe.json", "golden/input.npy", "golden/output.npy"):
        assert (replaced.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_overwrite_replaces_the_folder_and_drops_the_unfinished_run(replaced: Finished) -> None:
    assert files_in(replaced.folder) == BUNDLE
    assert sorted(path.name for path in replaced.folder.parent.glob("replaced*")) == ["replaced"]
    assert "resumed" not in replaced.outcome.out


def test_ctrl_c_is_one_line_and_keeps_what_is_finished(stopped: Stopped) -> None:
    assert stopped.interrupted.code == cli.INTERRUPTED
    lines = [line for line in stopped.interrupted.err.splitlines() if not line.startswith("INFO: ")]
    assert len(lines) == 1, stopped.interrupted.err
    assert lines[0].startswith("interrupted: ")
    assert "--resume" in lines[0]
    assert {"run.json", "profile/profile.json", "profile.json"} <= stopped.kept


def test_resume_with_another_recipe_is_refused_and_the_run_kept(stopped: Stopped) -> None:
    line = error_line(stopped.refused)
    assert "stopped.partial had another" in line
    assert "recipe" in line
    assert stopped.partial_stayed


def resumed_stages(outcome: Outcome) -> list[str]:
    return [line.split()[0] for line in outcome.out.splitlines() if line.split()[1:2] == ["resumed"]]


def test_finished_stages_are_reported_as_resumed(stopped: Stopped) -> None:
    assert stopped.resumed.code == 0, stopped.resumed
    assert tuple(resumed_stages(stopped.resumed)[: len(STAGES_BEFORE_KILL)]) == STAGES_BEFORE_KILL
    done_now = [line.split()[0] for line in stopped.resumed.out.splitlines() if " s  " in line]
    assert {"lower", "verify", "bundle"} <= set(done_now)
    assert not set(STAGES_BEFORE_KILL) & set(done_now)


def test_a_run_that_was_killed_gives_the_same_bytes(stopped: Stopped, whole: Finished) -> None:
    assert files_in(stopped.folder) == BUNDLE
    assert not stopped.folder.with_name("stopped.partial").exists()
    for name in ("model.tflite", "metrics.json", "golden/output.npy"):
        assert (stopped.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


# ---- two of its blocks, in this process

SMALL = "vit_edgeflex_two_blocks"
EMBEDDED = demo.default_cfgs[demo.NAME].default.to_dict()
default_cfgs = generate_default_cfgs({SMALL: EMBEDDED | {"file": None}})
TYPES = {
    "fp32": ("FLOAT32", "FLOAT32", np.float32),
    "fp16": ("FLOAT16", "FLOAT32", np.float32),
    "int8_dynamic": ("INT8", "FLOAT32", np.float32),
    "int8_static": ("INT8", "INT8", np.float32),
    "int8_full": ("INT8", "INT8", np.int8),
}
"""By precision: of all weights, of what the linear layers are given, and of the file's input and output."""


@register_model
def vit_edgeflex_two_blocks(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """The embedded model with two blocks."""
    config = {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 3}
    return build_model_with_cfg(VisionTransformer, SMALL, pretrained, **(config | kwargs))


@pytest.fixture(scope="module")
def small_flags(workplace: Path) -> tuple[str, ...]:
    """Of a short run on the first two blocks of the embedded model, but for its output folder."""
    weights = load_file(demo.WEIGHTS)
    path = workplace / "two_blocks.safetensors"
    save_file({key: value for key, value in weights.items() if not re.match(r"blocks\.[2-5]\.", key)}, path)
    sources = ("--data=demo/test", "--calibration_data=demo/train", "--calibration_samples=100")
    return (*QUICK, f"--model={SMALL}", f"--checkpoint={path}", *sources)


@pytest.fixture(scope="module")
def bundle_in(small_flags: tuple[str, ...], workplace: Path) -> Callable[[str], Path]:
    """The bundle of a run in a precision, which is done once. How far its logits saturate is no matter."""

    @functools.cache
    def bundle(precision: str) -> Path:
        folder = workplace / precision
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gates, "MOST_SATURATED_SHARE", 1.0)
            assert exit_code((*small_flags, f"--precision={precision}", f"--output_dir={folder}")) == 0
        return folder

    return bundle


def interpreter(path: Path) -> Interpreter:
    loaded = Interpreter(model_path=str(path), num_threads=1)
    loaded.allocate_tensors()
    return loaded


def linear_types(path: Path) -> tuple[set[str], set[str]]:
    """Types of the stored weights, and of what comes in, over the operators that multiply with weights."""
    model = flatbuffer.read(path)
    tensors = model.subgraphs[0].tensors
    dequantized = {op.outputs[0]: op.inputs[0] for name, op in flatbuffer.operators(model) if name == "DEQUANTIZE"}
    linear = [op for name, op in flatbuffer.operators(model) if name in ("FULLY_CONNECTED", "CONV_2D")]
    assert len(linear) == 2 * 6 + 2
    weights = {type_to_name(tensors[dequantized.get(op.inputs[1], op.inputs[1])].type) for op in linear}
    return weights, {type_to_name(tensors[op.inputs[0]].type) for op in linear}


@pytest.mark.parametrize("precision", list(TYPES))
def test_a_precision_is_what_the_file_has(precision: str, bundle_in: Callable[[str], Path]) -> None:
    folder = bundle_in(precision)
    weights, activations, boundary = TYPES[precision]
    ends = ({"FLOAT16"}, {"FLOAT32"}) if precision == "int8_static" else (set(), set())  # patch embedding and head
    assert linear_types(folder / "model.tflite") == ({weights} | ends[0], {activations} | ends[1])
    loaded = interpreter(folder / "model.tflite")
    assert loaded.get_input_details()[0]["dtype"] == boundary
    assert loaded.get_output_details()[0]["dtype"] == boundary
    assert read(folder, "recipe.json")["precision"] == precision
    assert (read(folder, "metrics.json")["quantized"] is None) == (precision in ("fp32", "fp16"))
    assert np.load(folder / "golden" / "input.npy").dtype == boundary


def test_the_logits_of_an_integer_file_can_be_told_apart(bundle_in: Callable[[str], Path]) -> None:
    loaded = interpreter(bundle_in("int8_full") / "model.tflite")
    scale, zero = loaded.get_input_details()[0]["quantization"]
    digits = open_source("demo/test")
    saturated = []
    for index in range(100):
        pixels = np.asarray(digits.image(index).resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float32)
        quantized = np.clip(np.round(pixels / scale) + zero, -128, 127).astype(np.int8)
        loaded.set_tensor(loaded.get_input_details()[0]["index"], quantized[None])
        loaded.invoke()
        logits = loaded.get_tensor(loaded.get_output_details()[0]["index"])
        saturated.append(int(np.isin(logits, (-128, 127)).sum()) >= 2)
    assert np.mean(saturated) <= gates.MOST_SATURATED_SHARE


def test_mixed_precision_keeps_the_first_and_last_layer_in_fp16(whole: Finished) -> None:
    model = flatbuffer.read(whole.folder / "model.tflite")
    found = {type_to_name(tensor.type) for tensor in model.subgraphs[0].tensors if tensor.buffer}
    assert {"INT8", "FLOAT16"} <= found
    own = flatbuffer.stored_weights(model, ["patch_embed", "head", "blocks.0.mlp.fc1"])
    assert {site: weight.dtype for site, weight in own.items()} == {
        "patch_embed": "FLOAT16",
        "head": "FLOAT16",
        "blocks.0.mlp.fc1": "INT8",
    }


def test_a_finished_run_is_not_done_again_nor_replaced_by_another(
    small_flags: tuple[str, ...], bundle_in: Callable[[str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = bundle_in("fp32")
    before = contents(folder)
    again = (*small_flags, "--precision=fp32", f"--output_dir={folder}", "--resume")
    outcome = run_here(again, capfd)
    assert outcome.code == 0, outcome
    assert "is finished already" in outcome.out
    other = run_here((*again, "--seed=1"), capfd)
    assert other.code == cli.BAD_INPUT
    assert "is the bundle of another run: give another --output_dir, or --overwrite" in other.err
    assert contents(folder) == before


def answers(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a float file, for each image."""
    loaded = interpreter(path)
    rows = []
    for image in images:
        loaded.set_tensor(loaded.get_input_details()[0]["index"], image[None])
        loaded.invoke()
        rows.append(loaded.get_tensor(loaded.get_output_details()[0]["index"])[0])
    return np.stack(rows)


def test_layout_and_range_change_the_input_and_not_the_answers(
    small_flags: tuple[str, ...], bundle_in: Callable[[str], Path], tmp_path: Path
) -> None:
    plain, other = bundle_in("fp32"), tmp_path / "other"
    shape = ("--precision=fp32", "--input_layout=nchw", "--input_range=normalized")
    assert exit_code((*small_flags, *shape, f"--output_dir={other}")) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
    normalized = np.ascontiguousarray(((pixels / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2))
    expected = answers(plain / "model.tflite", pixels)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(answers(other / "model.tflite", normalized), expected, rtol=1e-4, atol=1e-4)
    assert read(other, "preprocessing.json")["input_shape"] == [1, 3, 32, 32]
    assert read(other, "preprocessing.json")["input_range"] == "normalized"


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_here((*small_flags, "--dry_run", "--prune_ratio=0.5", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == 0, outcome
    kept = [int(width) for width in re.findall(r"^ +[01] +384 +(\d+) +[\d.]+%$", outcome.out, flags=re.MULTILINE)]
    assert len(kept) == 2
    assert sum(kept) == pytest.approx(384, abs=2 * Recipe().width_multiple)
    dense, planned = (
        [
            float(number)
            for number in re.findall(rf"^{row} +([\d.]+) +([\d.]+) +([\d.]+)$", outcome.out, re.MULTILINE)[0]
        ]
        for row in ("FP32, not pruned", "planned")
    )
    assert 0 < planned[2] < dense[2]
    assert sum(planned[:2]) == pytest.approx(planned[2], abs=0.011)
    needs = re.search(r"about ([\d.]+) minutes, ([\d.]+) GB of memory and ([\d.]+) GB of disk", outcome.out)
    assert needs
    assert float(needs[2]) > 0.5
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_fails_its_check_is_not_kept(
    small_flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "BOUND", -1.0)
    outcome = run_here((*small_flags, "--precision=fp32", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == cli.FAILED_CHECK
    *_, said = outcome.err.splitlines()
    assert said.startswith("error: the lowered FP32 graph differs from the torch model")
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_the_smallest_file_within_a_loss(
    small_flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With neither budget nor ratio, the loss that is allowed decides; 100 points allow everything."""
    monkeypatch.setattr(search, "TRIES", 1)
    output = tmp_path / "out"
    flags = (*small_flags, "--max_accuracy_drop=100", f"--output_dir={output}")
    outcome = run_here(flags, capfd)
    assert outcome.code == 0, outcome
    metrics = read(output, "metrics.json")
    first, second = metrics["tried"]
    assert first["budget_bytes"] is None and second["memory_bytes"] <= second["budget_bytes"] < first["memory_bytes"]
    assert metrics["memory"]["weights_bytes"] + metrics["memory"]["arena_bytes"] == second["memory_bytes"]
    assert metrics["drop_points"] == second["drop_points"]
    report = (output / "report.md").read_text()
    assert "chose one of 2" in report and "| INT4 " in report
    assert files_in(output) == BUNDLE


def test_a_loss_that_even_the_first_file_is_over_is_an_error(
    small_flags: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeflex_tflite.steps.verify.paired_drop", lambda *_: (2.0, 1.0, 3.0))
    flags = (*small_flags, "--max_accuracy_drop=1", f"--output_dir={tmp_path / 'out'}")
    outcome = run_here(flags, capfd)
    assert outcome.code == cli.FAILED_CHECK
    assert "loses 2.00 points" in outcome.err and "more than the 1 of max_accuracy_drop" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_merged_tokens(small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    outcome = run_here((*small_flags, "--merge_tokens=3", f"--output_dir={output}"), capfd)
    assert outcome.code == 0, outcome
    metrics = read(output, "metrics.json")
    assert metrics["merging"] == {"count": 3, "tried": [], "drops": []}
    assert metrics["parity"]["max_relative_difference"] < parity.BOUND
    report = (output / "report.md").read_text()
    assert "merges up to 3 pairs of tokens (ToMe): 17 enter the first block, 14 the last." in report
    assert flatbuffer.site_of_operator(flatbuffer.read(output / "model.tflite"), 0) == "patch_embed"


def test_batch_sizes(small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One file that every stage knows the signatures of, on hardly more bytes than its first needs by itself."""
    output = tmp_path / "out"
    flags = (*small_flags, "--batch_sizes=1,3", "--benchmark", "--bundle=android", f"--output_dir={output}")
    outcome = run_here(flags, capfd)
    assert outcome.code == 0, outcome
    names = {"serving_default": 1, "batch_3": 3}
    assert {name: graph for graph, name in enumerate(names)} == signature_graphs(output / "model.tflite")
    assert read(output, "manifest.json")["signatures"] == names
    assert read(output, "android/edgeflex.json")["model"]["signatures"] == names
    metrics = read(output, "metrics.json")
    first, second = metrics["signatures"]
    assert (first["name"], second["name"]) == tuple(names)
    assert first["parity"] is None and second["parity"]["images"] > 0
    arenas = [plan_arena(output / "model.tflite", graph=graph).total_bytes for graph in (0, 1)]
    assert [first["arena_bytes"], second["arena_bytes"]] == arenas
    assert metrics["memory"]["arena_bytes"] == sum(arenas)
    assert metrics["memory"]["file_bytes"] < 1.1 * first["alone_bytes"]
    measured = {each["variant"]: each["latency"] for each in read(output, "benchmark.json")["measurements"]}
    assert measured["batch_3"]["median_ms"] > 0
    assert "| batch_3 " in (output / "report.md").read_text()


def test_a_latency_that_holds_merges_nothing(
    small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_here((*small_flags, "--latency_target_ms=1e6", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == 0, outcome
    merging = read(tmp_path / "out", "metrics.json")["merging"]
    assert merging["count"] == 0
    assert [count for count, _ in merging["tried"]] == [0]
    assert "measured for the latency target" in (tmp_path / "out" / "report.md").read_text()


def test_the_loss_is_given_for_tokens(
    small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As many are merged as the written file allows, and the files that were tried are in the report."""
    output = tmp_path / "out"
    flags = ("--spend=tokens", "--max_accuracy_drop=6", f"--output_dir={output}")
    outcome = run_here((*small_flags, *flags), capfd)
    assert outcome.code == 0, outcome
    metrics = read(output, "metrics.json")
    drops = dict(metrics["merging"]["drops"])
    count = metrics["merging"]["count"]
    assert drops[count] == metrics["drop_points"] <= 6
    assert all(lost > 6 for tried, lost in drops.items() if tried > count)
    assert {0, 8} <= set(drops)
    report = (output / "report.md").read_text()
    assert f"chose one of {len(drops)} files" in report
    assert "as many as the loss allows" in (output / "report.html").read_text()


def test_no_loss_left_for_tokens(
    small_flags: tuple[str, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeflex_tflite.steps.verify.paired_drop", lambda *_: (2.0, 1.0, 3.0))
    flags = ("--spend=tokens", "--max_accuracy_drop=1", f"--output_dir={tmp_path / 'out'}")
    outcome = run_here((*small_flags, *flags), capfd)
    assert outcome.code == cli.FAILED_CHECK
    assert "loses 2.00 points of top-1 with all its tokens, more than the 1 of max_accuracy_drop" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_latency_that_cannot_be_is_an_error(
    small_flags: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    outcome = run_here((*small_flags, "--latency_target_ms=1e-6", f"--output_dir={tmp_path / 'out'}"), capfd)
    assert outcome.code == cli.FAILED_CHECK
    assert "latency_target_ms 1e-06 is out of reach by merging alone" in outcome.err
    assert list(tmp_path.iterdir()) == []
