"""Latency, memory and accuracy of this project's files beside what other runtimes make of the same weights, in one run.

    python tools/compare_runtimes.py --model=vit_small_patch14_dinov2 --img_size=70 --checkpoint=model.safetensors \\
        --data=cifar10/test.tar --calibration_data=cifar10/train.tar --work_dir=out/runtimes

Measures the trained model, with accuracy, and models of --random_models, which have random weights and so no accuracy.
Every runtime has a process of its own, one image at a time, and the same cores; all take turns, round by round.
Runtimes whose pins contradict each other live in environments of their own, which are made on the first call. Files are
kept in --work_dir. Writes performance.md, performance.json and performance.svg into --output_dir.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.inputs import data_specs, define_input_flags, open_model, open_preprocessing

if TYPE_CHECKING:
    from compare_runtimes_page import Section
    from peers import Peer

    from edgeflex_tflite.run import Run

RANDOM_MODELS = ("deit_tiny_patch16_224", "vit_base_patch16_224")
INTERRUPTED = "files that are finished are kept: the same command goes on"
EVALUATION_SEED = 0
WARMUP_RUNS = 5


def define_flags(values: flags.FlagValues) -> None:
    define_input_flags(values)

    def number(name: str, default: int, words: str) -> None:
        flags.DEFINE_integer(name, default, words, lower_bound=1, flag_values=values)

    def text(name: str, default: str, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    words = "timm models to measure with random weights; they take the trained model's plan of cuts, block by block."
    flags.DEFINE_list("random_models", list(RANDOM_MODELS), words, flag_values=values)
    words = "Share of the FP32 file's weights and arena that the file at one point of accuracy is given."
    flags.DEFINE_float("fast_share", 0.17, words, lower_bound=0.0, upper_bound=1.0, flag_values=values)
    flags.DEFINE_list("only", [], "Measure only rows whose names hold one of these words.", flag_values=values)
    number("calibration_samples", 256, "Calibration images, for our files and the peers'.")
    number("eval_samples", 2000, "Evaluation images of the trained model.")
    number("threads", 2, "Threads, and cores, of every runtime.")
    number("rounds", 5, "Turns of each runtime.")
    number("min_runs", 50, "Timed inferences of each at least.")
    flags.DEFINE_float("min_secs", 5.0, "Seconds of timed inferences of each at least.", flag_values=values)
    text("work_dir", "edgeflex-out/runtimes", "Where files and environments are kept.")
    text("output_dir", "docs", "Where the page, the figures and the plot go.")


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    import compare_runtimes_page as page
    import peers

    from edgeflex_tflite.targets.host import cpu_name

    work = Path(values.work_dir).resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: values.threads])  # and with it every runtime
    chosen = [peer for peer in peers.PEERS if _asked_for(values, peer.name)]
    pythons = {peer: peers.python_of(peer.environment, work / "environments") for peer in chosen}
    run = open_trained(values)
    folder = work / values.model
    sections = [_section(values, run, _our_files(values, run, folder), pythons, folder, evaluate=True)]
    for name in values.random_models:
        other = open_random(values, name)
        ours = _carried_files(values, run, other, folder, work / name)
        sections.append(_section(values, other, ours, pythons, work / name, evaluate=False))
    command = shlex.join(["python", "tools/compare_runtimes.py", *sys.argv[1:]])
    for path in page.write(sections, str(cpu_name()), command, Path(values.output_dir)):
        print(path)


def open_trained(values: flags.FlagValues) -> Run:
    """The trained model, its images and its design."""
    specs = data_specs(values)
    model = open_model(values)
    return _run(values, model, open_preprocessing(values, model), specs, values.eval_samples)


def open_random(values: flags.FlagValues, name: str) -> Run:
    """A timm model with random weights, the same at every call, and calibration images as it takes them."""
    import timm
    import torch

    from edgeflex_tflite.data import Preprocessing

    torch.manual_seed(0)
    try:
        model = timm.create_model(name).eval().requires_grad_(False)
    except RuntimeError as error:
        raise UserError(f"--random_models has {name!r}, which timm does not know") from error
    return _run(values, model, Preprocessing.of_model(model), data_specs(values), 1)


def _run(values: flags.FlagValues, model: Any, preprocessing: Any, specs: tuple[str, str | None], samples: int) -> Run:
    from edgeflex_tflite import data as images
    from edgeflex_tflite.recipe import Recipe
    from edgeflex_tflite.report.console import Console
    from edgeflex_tflite.run import Run, design_file

    source = images.open_source(specs[0], values.data_split)
    other = images.open_source(specs[1], values.calibration_split) if specs[1] else None
    found = images.make_data(
        source,
        other,
        preprocessing,
        calibration_samples=values.calibration_samples,
        eval_samples=samples,
        seed=EVALUATION_SEED,
    )
    design = design_file(model, preprocessing, Recipe(), values.threads)
    labels = tuple(str(index) for index in range(design.dense.head.out_features))
    return Run.of(design, found, labels, Console())


def _our_files(values: flags.FlagValues, run: Run, folder: Path) -> dict[str, Path]:
    import runtime_files as made

    recipes = made.recipes(run, values.fast_share)
    wanted = {name: recipe for name, recipe in recipes.items() if _asked_for(values, name)}
    return {name: made.trained(run, recipe, folder / name.replace(" ", "-")) for name, recipe in wanted.items()}


def _carried_files(values: flags.FlagValues, run: Run, other: Run, folder: Path, into: Path) -> dict[str, Path]:
    """The same files of another model; the plan that was made for the trained one decides what is cut."""
    import runtime_files as made

    into.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, recipe in made.recipes(run, values.fast_share).items():
        if not _asked_for(values, name):
            continue
        path = into / f"{name.replace(' ', '-')}.tflite"
        plan = made.plan_of(folder / name.replace(" ", "-"))
        if not path.exists():
            made.untrained(made.with_recipe(other, recipe), *made.carried(plan, run, other), path)
        found[name] = path
    return found


def _section(
    values: flags.FlagValues,
    run: Run,
    ours: dict[str, Path],
    pythons: dict[Peer, str],
    folder: Path,
    evaluate: bool,
) -> Section:
    """Measure everything for one model."""
    import runtime_files as made
    from compare_runtimes_page import Row, Section
    from contest import Contest

    from edgeflex_tflite.lower.predict import memory_cost
    from edgeflex_tflite.targets.config import Protocol

    folder.mkdir(parents=True, exist_ok=True)
    stock = {name: made.stock(run, recipe, folder) for name, recipe in made.STOCK.items() if _asked_for(values, name)}
    impossible = []
    if _asked_for(values, made.PIECES):
        pieces = folder / "ours-in-pieces.tflite"
        arena = memory_cost(made.stock(run, None, folder)).arena_bytes
        try:
            if not pieces.exists():
                made.in_pieces(run, pieces, int(made.PIECES_SHARE * arena))
            ours = ours | {made.PIECES: pieces}
        except UserError as error:
            impossible.append(Row(made.PIECES, reason=str(error)))
    contest = Contest(run, folder, ours | stock, pythons, values.threads)
    rows = contest.rows(Protocol(WARMUP_RUNS, values.min_runs, values.min_secs, values.rounds))
    if evaluate:
        rows = contest.evaluated(rows)
    return Section(run.source.pretrained_cfg["architecture"], run.dense.img_size, evaluate, (*rows, *impossible))


def _asked_for(values: flags.FlagValues, name: str) -> bool:
    return not values.only or any(word.lower() in name.lower() for word in values.only)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", INTERRUPTED))
