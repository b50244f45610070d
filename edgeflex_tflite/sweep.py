"""Compress with many recipes, and draw what memory buys in accuracy.

    python -m edgeflex_tflite.sweep --vary=memory_budget_mb=0.4,0.5,0.6 --vary=precision=mixed,int4_dynamic --workers=2
    python -m edgeflex_tflite.sweep --vary=prune_ratio=0.25,0.5,0.7 --ray_address=auto --output_dir=/shared/sweep

Every combination of the values is made by convert, in a process of its own: what fails or dies costs its own point
alone. Finished points are appended to results.jsonl; the same command with --resume makes the ones that are missing.
In the end all files are measured in turn, and sweep.md and sweep.html show the Pareto front. On a Ray cluster the
output folder has to be on a file system that all machines share.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite import recipe as recipes
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.inputs import data_specs, define_input_flags
from edgeflex_tflite.threads import available_threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeflex_tflite.sweeping.make import Task
    from edgeflex_tflite.sweeping.outcome import Outcome
    from edgeflex_tflite.sweeping.points import Point
    from edgeflex_tflite.targets.measurement import Measurement

INTERRUPTED = "the same command with --resume makes the points that are missing"
RESULTS, PLAN, BENCHMARK = "results.jsonl", "sweep.json", "benchmark.json"
PATHS = ("checkpoint", "data", "calibration_data")


def define_flags(values: flags.FlagValues) -> None:
    define_input_flags(values)

    def text(name: str, default: str | None, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    def number(name: str, default: int | None, least: int, words: str) -> None:
        flags.DEFINE_integer(name, default, words, lower_bound=least, flag_values=values)

    text("recipe", "balanced", f"Preset ({', '.join(recipes.PRESETS)}) or JSON file that every point begins with.")
    words = (
        "KEY=VALUE,VALUE,...: a recipe's key, or model, checkpoint or img_size, and its values; may be given several "
        "times. `none` is no value; several levers have a plus between."
    )
    flags.DEFINE_multi_string("vary", [], words, flag_values=values)
    number("samples", None, 1, "Make so many of all combinations, drawn by chance. Default: all.")
    number("seed", 0, 0, "Of that chance.")
    text("output_dir", "edgeflex-sweep", "Folder of the sweep.")
    number("workers", 1, 1, "Points that are made at a time, on this machine or on a local Ray cluster.")
    number("num_threads", None, 1, "Threads of each. Default: this machine's cores, shared among the workers.")
    text("ray_address", None, "Make the points on a Ray cluster: `auto`, HOST:PORT, or `local` for one of its own.")
    number("retries", 2, 0, "Further attempts at a point whose process or worker dies.")
    words = "Where all files are measured in turn at the end, as in the benchmark command; empty: nowhere."
    flags.DEFINE_list("target", ["host"], words, flag_values=values)
    flags.DEFINE_bool("resume", False, "Make the points that are missing in --output_dir.", flag_values=values)
    flags.DEFINE_bool("overwrite", False, "Drop the sweep that is in --output_dir.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "Print the points and stop.", flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    from edgeflex_tflite.sweeping.points import make_points, parse_vary

    recipe = recipes.load(values.recipe)
    vary = parse_vary(values.vary)
    if "model" not in vary and "checkpoint" not in vary:
        data_specs(values)
    points = make_points(recipe, _inputs(values), vary, values.samples, values.seed)
    if values.dry_run:
        print("\n".join(f"{point.id}  {point.title}" for point in points))
        return
    folder = _open(Path(values.output_dir).resolve(), points, values.resume, values.overwrite)
    outcomes = _make(values, points, folder)
    for path in _write(outcomes, _measured(values, outcomes, folder), folder):
        print(path)


def _inputs(values: flags.FlagValues) -> dict[str, str]:
    """The flags of `convert` that stand on the command line, as it will take them; files by their whole path."""
    own = flags.FlagValues()
    define_input_flags(own)
    return {name: _text(name, value) for name, value in cli.given(values, list(own)).items()}


def _text(name: str, value: object) -> str:
    """A flag's value on a command line; a path so that it means the same in another folder."""
    if isinstance(value, bool):
        return str(value).lower()
    text = ",".join(value) if isinstance(value, list) else str(value)
    return str(Path(text).resolve()) if name in PATHS and Path(text).exists() else text


def _open(folder: Path, points: Sequence[Point], resume: bool, overwrite: bool) -> Path:
    """The folder of the sweep, which may hold nothing but this very sweep."""
    from edgeflex_tflite.files import read_json, write_json

    plan, ids = folder / PLAN, [point.id for point in points]
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is not a folder: give another --output_dir")
    if overwrite and plan.exists():
        shutil.rmtree(folder)
    if folder.is_dir() and any(folder.iterdir()):
        if not plan.exists():
            raise UserError(f"{folder} holds something that is no sweep: give another --output_dir")
        if not resume:
            raise UserError(f"{folder} holds a sweep: give --resume to go on with it, or --overwrite to drop it")
        if read_json(plan, list[str]) != ids:
            raise UserError(f"{folder} holds a sweep over other points: give another --output_dir, or --overwrite")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(plan, ids, list[str])
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}): give another --output_dir") from error
    return folder


def _make(values: flags.FlagValues, points: Sequence[Point], folder: Path) -> list[Outcome]:
    """Outcomes of all points, in their order; those that are known already are not made again."""
    from edgeflex_tflite.artifacts import StageRecord
    from edgeflex_tflite.report.console import Console
    from edgeflex_tflite.sweeping import outcome as outcomes
    from edgeflex_tflite.sweeping.make import Task, prepare

    console, results = Console(), folder / RESULTS
    known = {id: each for id, each in outcomes.read(results).items() if each.state != "lost"}
    threads = values.num_threads or max(1, available_threads() // values.workers)
    tasks = [Task(point, str(folder), threads, values.retries) for point in points if point.id not in known]
    for task in tasks:
        prepare(task)
    with console.bar(len(points), "sweep", unit="point") as bar:
        bar.update(len(points) - len(tasks))
        for outcome in _workers(values, tasks):
            outcomes.append(results, outcome)
            bar.update()
            said = f"{outcome.state}: {outcome.title} {outcome.reason}".strip()
            console.stage(StageRecord(outcome.id, outcome.seconds, None, said))
    found = outcomes.read(results)
    return [found[point.id] for point in points]


def _workers(values: flags.FlagValues, tasks: Sequence[Task]) -> Iterator[Outcome]:
    from edgeflex_tflite.sweeping import workers

    if not tasks:
        return iter(())
    if values.ray_address is None:
        return workers.on_this_machine(tasks, values.workers)
    return workers.on_ray(tasks, values.ray_address, values.workers)


def _measured(values: flags.FlagValues, outcomes: Sequence[Outcome], folder: Path) -> tuple[Measurement, ...]:
    """All files in turn, by the benchmark command: figures that were taken beside other work would mean nothing."""
    from edgeflex_tflite.files import read_json
    from edgeflex_tflite.targets.results import Results

    models = [each.model for each in outcomes if each.model is not None]
    if not values.target or not models:
        return ()
    found = folder / BENCHMARK
    asked = [f"--target={','.join(values.target)}", f"--result_json={found}"]
    command = [sys.executable, "-m", "edgeflex_tflite.benchmark", *models, *asked]
    if subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode:
        raise UserError("the files were made, and not measured, for the reason above; --target= measures nothing")
    return read_json(found, Results).measurements


def _write(outcomes: Sequence[Outcome], measurements: Sequence[Measurement], folder: Path) -> list[Path]:
    from edgeflex_tflite.files import write_bytes
    from edgeflex_tflite.report.sweep import sweep_html, sweep_text

    once = {"--resume", "--overwrite"}
    asked = [flag for flag in sys.argv[1:] if flag not in once]
    command = shlex.join(["python", "-m", "edgeflex_tflite.sweep", *asked])
    paths = folder / "sweep.md", folder / "sweep.html"
    write_bytes(paths[0], sweep_text(outcomes, measurements, command).encode())
    write_bytes(paths[1], sweep_html(outcomes, measurements, command).encode())
    return list(paths)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", INTERRUPTED))
