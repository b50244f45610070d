"""Whatever is wrong with the input is refused in one clear line, before any long work, and nothing is left behind."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from edgeflex_tflite import cli
from edgeflex_tflite import run as run_module
from edgeflex_tflite.artifacts import MemoryCost
from edgeflex_tflite.models import demo
from edgeflex_tflite.models.load import load_model
from tests.command import Outcome, error_line, run_apart, run_here

FEW = ("--eval_samples=5", "--calibration_samples=4")
DEMO = f"--model={demo.NAME}"
BY_CHECKPOINT = (DEMO, "--data=demo/test")
FLAGS_REMEDY = "--help lists the flags"
KNOWN_DATA = "give a folder or tar of class folders"


def make_inputs(folder: Path) -> None:
    """Everything that is wrong with the files that the table below names."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "beyond.npz", images=images, labels=np.arange(40) % 12)
    np.savez(folder / "few.npz", images=images[:5], labels=np.arange(5))
    np.savez(folder / "none.npz", images=images[:0], labels=np.arange(0))
    (folder / "text.txt").write_text("no tar\n")
    (folder / "empty").mkdir()
    (folder / "full").mkdir()
    (folder / "full" / "kept.txt").write_text("kept")
    (folder / "stopped.partial").mkdir()
    make_image_folder(folder / "broken")
    make_checkpoints(folder)
    recipes = {"syntax": "{", "list": "[1]", "key": '{"precison": "fp32"}', "kind": '{"seed": "one"}'}
    recipes |= {"budget": '{"memory_budget_mb": NaN}', "far": '{"zzz": 1}'}
    for name, content in recipes.items():
        (folder / f"{name}.json").write_text(content)


def make_image_folder(folder: Path) -> None:
    """Ten classes of two images, the first of them not an image."""
    for label in range(10):
        (folder / str(label)).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (32, 32), (label * 20, number * 99, 0)).save(folder / str(label) / f"{number}.png")
    (folder / "0" / "0.png").write_bytes(b"not an image")


def make_checkpoints(folder: Path) -> None:
    (folder / "corrupt.safetensors").write_bytes(b"\xff" * 64)
    (folder / "corrupt.pt").write_bytes(b"\xff" * 64)
    torch.save({"conv1.weight": torch.zeros(2), "bn1.weight": torch.zeros(2)}, folder / "resnet.pt")
    torch.save({"epoch": 3}, folder / "no_tensors.pt")
    weights = load_model(demo.NAME).state_dict()
    save_file(weights | {"pos_embed": torch.zeros(1, 17, 64)}, folder / "narrow.safetensors")
    without = {key: value for key, value in weights.items() if key != "blocks.3.mlp.fc1.weight"}
    save_file(without, folder / "missing_key.safetensors")
    save_file(weights, folder / "demo.safetensors")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(folder)
    return folder


@pytest.fixture
def here(inputs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of inputs as working directory; afterwards nothing may be new, gone or changed in it."""
    monkeypatch.chdir(inputs)
    before = contents(inputs)
    yield inputs
    assert contents(inputs) == before


@pytest.fixture
def no_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowering a model for the prediction is the first thing that takes more than a moment."""

    def began(*_: object, **__: object) -> NoReturn:
        pytest.fail("long work began before the input was refused")

    monkeypatch.setattr(run_module, "predict_memory", began)


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


Row = tuple[str, tuple[str, ...], tuple[str, ...]]
COMMAND_LINE: list[Row] = [
    ("unknown flag", ("--nope=1",), ("'nope'", FLAGS_REMEDY)),
    ("positional", ("model.pth",), ("'model.pth'", "--name=value")),
    ("not an integer", ("--eval_samples=many",), ("--eval_samples=many", FLAGS_REMEDY)),
    ("not a number", ("--memory_budget_mb=big",), ("--memory_budget_mb=big", FLAGS_REMEDY)),
    ("not a switch", ("--awq=maybe",), ("--awq=maybe", FLAGS_REMEDY)),
    ("unknown choice", ("--precision=int4",), ("--precision=int4", "int8_dynamic", "fp16")),
    ("unknown target", ("--target=ethos-u9",), ("target is 'ethos-u9'", "choose one of cpu, ethos-u55-32")),
    ("target and precision", ("--target=edgetpu", "--precision=mixed"), ("contradict", "give precision int8_full")),
    ("no such chip", ("--target=qualcomm:SM1",), ("no such chip of qualcomm", "SM8650")),
    ("threads 0", ("--num_threads=0",), ("num_threads is 0", "from 1 to")),
    ("threads below 0", ("--num_threads=-2",), ("num_threads is -2", "from 1 to")),
    ("far too many threads", ("--num_threads=99999999",), ("num_threads is 99999999", "from 1 to")),
    ("dry run resumed", ("--dry_run", "--resume"), ("--dry_run and --resume", "contradict")),
    ("nothing to look at", ("--dry_run", "--visualize"), ("--dry_run and --visualize", "contradict")),
    ("a cache unmeasured", ("--weight_cache", "--nobenchmark"), ("--weight_cache", "--nobenchmark", "drop one")),
    ("two weights", (DEMO, "--pretrained", "--checkpoint=resnet.pt", "--data=demo/test"),
     ("--pretrained and --checkpoint", "give one")),
    ("budget and ratio", ("--memory_budget_mb=1", "--prune_ratio=0.5"),
     ("memory_budget_mb and prune_ratio", "not both")),
]  # fmt: skip
RECIPE: list[Row] = [
    ("unknown preset", ("--recipe=bset",), ("'bset'", "balanced", "JSON file")),
    ("bad JSON", ("--recipe=syntax.json",), ("syntax.json", "not valid JSON", "line 1 column 2")),
    ("not an object", ("--recipe=list.json",), ("list.json", "JSON object", "list")),
    ("unknown key", ("--recipe=key.json",), ("'precison'", "did you mean 'precision'?")),
    ("unknown key, none close", ("--recipe=far.json",), ("'zzz'", "known keys:", "memory_budget_mb")),
    ("key of another kind", ("--recipe=kind.json",), ("seed is 'one'", "must be int")),
    ("budget NaN in a file", ("--recipe=budget.json",), ("memory_budget_mb is nan", "above 0")),
    ("budget NaN", ("--memory_budget_mb=nan",), ("memory_budget_mb is nan", "above 0")),
    ("budget 0", ("--memory_budget_mb=0",), ("memory_budget_mb is 0.0", "above 0")),
    ("budget below 0", ("--memory_budget_mb=-3",), ("memory_budget_mb is -3.0", "above 0")),
    ("budget infinite", ("--memory_budget_mb=inf",), ("memory_budget_mb is inf", "below 2**63")),
    ("no batch", ("--batch_sizes=1,0",), ("batch_sizes has '0'", "from 1 to 999")),
    ("batches on an NPU", ("--batch_sizes=1,4", "--target=edgetpu"), ("target edgetpu", "leave out batch_sizes")),
    ("all pruned", ("--prune_ratio=1.0",), ("prune_ratio is 1.0", "from 0 to below 1")),
    ("ratio below 0", ("--prune_ratio=-0.1",), ("prune_ratio is -0.1", "from 0 to below 1")),
    ("ratio NaN", ("--prune_ratio=nan",), ("prune_ratio is nan", "from 0 to below 1")),
    ("drop below 0", ("--max_accuracy_drop=-1",), ("max_accuracy_drop is -1.0", "0 or more")),
    ("drop NaN", ("--max_accuracy_drop=nan",), ("max_accuracy_drop is nan", "0 or more")),
    ("no evaluation", ("--eval_samples=0",), ("eval_samples is 0", "above 0")),
    ("no calibration", ("--calibration_samples=0",), ("calibration_samples is 0", "above 0")),
    ("no width", ("--width_multiple=0",), ("width_multiple is 0", "above 0")),
    ("seed below 0", ("--seed=-1",), ("seed is -1", "from 0")),
    ("seed too large", ("--seed=99999999999999999999",), ("seed is 99999999999999999999", "from 0")),
    ("bad regex", ("--fp16_sites=(",), ("fp16_sites", "'('", "not a regular expression", "position 0")),
    ("other bad regex", ("--fp32_sites=[",), ("fp32_sites", "'['", "not a regular expression", "position 0")),
    ("regex without a site", ("--fp32_sites=transformer",), ("'transformer'", "finds no site", "blocks.0.attn.q")),
    ("FP16 regex without a site", ("--fp16_sites=stem",), ("'stem'", "finds no site", "patch_embed")),
    ("regex without effect", ("--precision=fp32", "--fp16_sites=head"), ("fp16_sites", "fp32", "leave it out")),
    ("float input of an integer file", ("--precision=int8_full", "--fp32_sites=."),
     ("fp32_sites", "int8_full", "use int8_static")),
]  # fmt: skip
MODEL: list[Row] = [
    ("unknown model", ("--model=vit_tinny_patch16_224", "--data=demo"),
     ("'vit_tinny_patch16_224'", "did you mean vit_tiny")),
    ("not a VisionTransformer", ("--model=resnet10t", "--checkpoint=resnet.pt", "--data=demo"),
     ("resnet10t is a ResNet", "vit_*", "deit_*")),
    ("no weights", ("--model=vit_tiny_patch16_224", "--data=demo"),
     ("vit_tiny_patch16_224", "--checkpoint=FILE", "--pretrained")),
    ("checkpoint missing", (*BY_CHECKPOINT, "--checkpoint=nowhere.pt"), ("nowhere.pt", "does not exist")),
    ("checkpoint of no kind", (*BY_CHECKPOINT, "--checkpoint=text.txt"), ("text.txt", ".safetensors, .pt")),
    ("checkpoint corrupt", (*BY_CHECKPOINT, "--checkpoint=corrupt.safetensors"),
     ("corrupt.safetensors", "cannot be read")),
    ("pickle corrupt", (*BY_CHECKPOINT, "--checkpoint=corrupt.pt"), ("corrupt.pt", "cannot be read")),
    ("checkpoint without tensors", (*BY_CHECKPOINT, "--checkpoint=no_tensors.pt"),
     ("no_tensors.pt", "state dict of the model")),
    ("checkpoint of another architecture", (*BY_CHECKPOINT, "--checkpoint=resnet.pt"),
     ("resnet.pt", "missing cls_token, pos_embed", "unexpected conv1.weight, bn1.weight", "check --model")),
    ("checkpoint without a key", (*BY_CHECKPOINT, "--checkpoint=missing_key.safetensors"),
     ("missing blocks.3.mlp.fc1.weight", "check --model")),
    ("checkpoint of another width", (*BY_CHECKPOINT, "--checkpoint=narrow.safetensors"),
     ("narrow.safetensors", "pos_embed", "64", "96")),
    ("checkpoint of other classes", (*BY_CHECKPOINT, "--checkpoint=demo.safetensors", "--num_classes=12"),
     ("demo.safetensors", "head.weight", "--num_classes")),
    ("no classes", ("--num_classes=0",), ("num_classes is 0", "above 0")),
    ("no pixels", ("--img_size=0",), ("img_size is 0", "above 0")),
]  # fmt: skip
DATA: list[Row] = [
    ("data not named", (DEMO, "--checkpoint=demo.safetensors"), ("--data is missing", "tar of class folders")),
    ("data missing", ("--data=nowhere",), ("'nowhere'", KNOWN_DATA)),
    ("calibration data missing", ("--calibration_data=nowhere",), ("'nowhere'", KNOWN_DATA)),
    ("folder empty", ("--data=empty",), ("'empty' holds no images", "give such data")),
    ("arrays empty", ("--data=none.npz",), ("'none.npz'", "images is empty", "write the file anew")),
    ("neither tar nor npz", ("--data=text.txt",), ("'text.txt' is no tar", "give one of these")),
    ("too few to evaluate", ("--eval_samples=798",), ("has 797 images", "798 are asked for", "ask for fewer")),
    ("too few to calibrate", ("--calibration_samples=1001",),
     ("has 1000 images", "1001 are asked for", "ask for fewer")),
    ("too few for both", ("--data=few.npz",), ("has 5 images", "9 are asked for", "ask for fewer")),
    ("unreadable image", ("--data=broken",), ("'broken'", "0/0.png", "cannot be decoded", "replace or remove it")),
    ("labels beyond the classes", ("--data=beyond.npz",), ("has label 10", "10 classes", "give data")),
    ("unknown split", ("--data=demo", "--data_split=holdout"), ("'holdout'", "test, train", "ask for one of these")),
    ("mean of two", ("--mean=0.5,0.5",), ("'0.5,0.5'", "give three numbers")),
    ("mean of words", ("--mean=a,b,c",), ("'a,b,c'", "give three numbers")),
    ("mean NaN", ("--mean=nan,0,0",), ("'nan,0,0'", "give three numbers")),
    ("std infinite", ("--std=inf,1,1",), ("'inf,1,1'", "give three numbers")),
    ("std 0", ("--std=0,1,1",), ("std (0.0, 1.0, 1.0)", "above 0")),
    ("nothing left of the crop", ("--crop_pct=0",), ("crop_pct 0.0", "above 0 and at most 1")),
    ("unknown interpolation", ("--interpolation=cubic",), ("'cubic'", "bicubic")),
]  # fmt: skip
OUTPUT: list[Row] = [
    ("a file", ("--output_dir=text.txt",), ("text.txt", "is not a folder", "give another")),
    ("below a file", ("--output_dir=text.txt/out",), ("text.txt", "cannot be written to", "give another")),
    ("not empty", ("--output_dir=full",), ("full is not empty", "--overwrite")),
    ("not empty, resumed", ("--output_dir=full", "--resume"), ("full is not empty", "--overwrite")),
    ("unfinished run", ("--output_dir=stopped",), ("stopped.partial", "--resume", "--overwrite")),
    ("working directory", ("--output_dir=.", "--overwrite"), ("'.'", "name a new one")),
    ("no name", ("--output_dir=",), ("''", "name a new one")),
    ("root", ("--output_dir=/", "--overwrite"), ("'/'", "name a new one")),
    ("mount point", ("--output_dir=/proc", "--overwrite"), ("'/proc' is a mount point", "give a folder in it")),
    ("name too long", (f"--output_dir={'a' * 300}",), ("aaa", "File name too long", "give another")),
]  # fmt: skip


def rows(table: list[Row]) -> list:
    return [pytest.param(flags, words, id=name) for name, flags, words in table]


@pytest.mark.usefixtures("here", "no_long_work")
@pytest.mark.parametrize(("flags", "words"), rows([*COMMAND_LINE, *RECIPE, *MODEL, *DATA, *OUTPUT]))
def test_bad_input_is_refused_in_one_line(
    flags: tuple[str, ...], words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    line = error_line(run_here((*FEW, *flags), capfd))
    for word in words:
        assert word in line


@pytest.mark.usefixtures("here", "no_long_work")
def test_a_viewer_that_is_not_installed_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "model_explorer", None)
    line = error_line(run_here((*FEW, "--visualize"), capfd))
    assert "Model Explorer" in line
    assert "pip install ai-edge-model-explorer" in line


@pytest.mark.usefixtures("here")
def test_a_process_of_its_own_says_the_same(here: Path) -> None:
    line = error_line(run_apart(*FEW, "--data=nowhere", cwd=here))
    assert "'nowhere'" in line
    assert KNOWN_DATA in line


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> MemoryCost:
    """The prediction without its lowering: 0.74 MB of weights and 0.18 MB of arena."""
    cost = MemoryCost(740_000, 180_000, 800_000, "SOFTMAX (operator 7)")
    monkeypatch.setattr(run_module, "predict_memory", lambda *_: (cost, cost))
    return cost


def least_megabytes(line: str) -> float:
    found = re.search(r"the least is ([\d.]+) MB", line)
    assert found, line
    return float(found[1])


@pytest.mark.usefixtures("here", "predicted")
def test_an_impossible_budget_is_told_the_least_possible(capfd: pytest.CaptureFixture[str]) -> None:
    line = error_line(run_here((*FEW, "--memory_budget_mb=0.1"), capfd))
    assert "a budget of 0.10 MB is impossible" in line
    assert "without pruning it needs 0.92 MB" in line
    assert 0.1 < least_megabytes(line) < 0.92


@pytest.mark.usefixtures("here", "predicted")
def test_the_least_budget_that_is_told_is_accepted_and_below_it_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    least = least_megabytes(error_line(run_here((*FEW, "--memory_budget_mb=0.1"), capfd)))
    assert run_here((*FEW, "--dry_run", f"--memory_budget_mb={least}"), capfd).code == 0
    assert run_here((*FEW, "--dry_run", f"--memory_budget_mb={least - 0.01:.2f}"), capfd).code == cli.BAD_INPUT


def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: SimpleNamespace(rss=100_000_000))


def short_of_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))


@pytest.mark.usefixtures("here", "predicted")
def test_too_little_memory_is_predicted(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    short_of_memory(monkeypatch)
    line = error_line(run_here(FEW, capfd))
    assert "GB of memory and 0.1 GB are free" in line
    assert "use a smaller model, fewer --calibration_samples" in line


@pytest.mark.usefixtures("here", "predicted")
def test_too_little_disk_is_predicted(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    short_of_disk(monkeypatch)
    line = error_line(run_here(FEW, capfd))
    assert "GB of disk at" in line
    assert "0.0 GB are free: free some, or choose another --output_dir" in line


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_an_impossible_budget_stays_one_line_when_it_is_really_predicted(here: Path) -> None:
    outcome: Outcome = run_apart(*FEW, "--precision=int8_static", "--memory_budget_mb=0.1", cwd=here)
    assert 0.1 < least_megabytes(error_line(outcome)) < 1


def test_the_inputs_are_wrong_in_one_way_only(inputs: Path) -> None:
    """What the table changes is what is refused: the checkpoint that it is made from is a good one."""
    model = load_model(demo.NAME, checkpoint=str(inputs / "demo.safetensors"))
    assert model.num_classes == 10
    assert json.loads((inputs / "key.json").read_text()) == {"precison": "fp32"}
