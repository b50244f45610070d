"""Compare published ways of pruning and quantizing with this project's, on the files that each of them writes.

    python tools/compare_methods.py --model=vit_small_patch14_dinov2 --img_size=70 --checkpoint=model.safetensors \\
        --data=cifar10/test.tar --calibration_data=cifar10/train.tar --work_dir=out/comparison

Every file is made by the package's own stages and measured on the same evaluation images, whatever images it was
calibrated on. Finished cells are kept in --work_dir, so the same command goes on where it was stopped; give a new
folder after a change of the code. Writes accuracy.md, accuracy.json and accuracy.svg into --output_dir.
"""

from __future__ import annotations

import math
import multiprocessing
import shlex
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags
from compare_recipes import METHODS, OURS, PRUNED_IN, budget_cells, cut_cells, dense_cells, tasks, torch_cell

from edgeflex_tflite import cli
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.inputs import data_specs, define_input_flags, open_model, open_preprocessing
from edgeflex_tflite.recipe import CHOICES, Recipe

if TYPE_CHECKING:
    from compare_cells import Bench
    from compare_recipes import Task, Wanted

DEFAULT_METHODS = ("magnitude", "mean_abs", "flap", "corp", "ours")
CUT_PRECISIONS = ("fp32", "mixed", "int8_static")
DENSE_PRECISIONS = ("fp32", "int8_dynamic", "mixed", "int8_static", "int4_dynamic")
RATIOS, BUDGETS = ("0.25", "0.5", "0.7"), ("0.4", "0.25", "0.16", "0.12")
EVALUATION_SEED = 0
INTERRUPTED = "the same command goes on with the cells that are missing"


def define_flags(values: flags.FlagValues) -> None:
    define_input_flags(values)

    def several(name: str, default: Sequence[str], words: str) -> None:
        flags.DEFINE_list(name, list(default), words, flag_values=values)

    def number(name: str, default: int, words: str) -> None:
        flags.DEFINE_integer(name, default, words, lower_bound=1, flag_values=values)

    several("methods", DEFAULT_METHODS, f"Ways of pruning, of {', '.join(METHODS)}.")
    several("ratios", RATIOS, "Shares of the MLPs that each of them cuts.")
    several("cut_precisions", CUT_PRECISIONS, "Precisions that each pruned model is written in.")
    several("dense_precisions", DENSE_PRECISIONS, "Precisions of the model with nothing cut, ours and the stock ones.")
    several("budgets", BUDGETS, "Shares of the FP32 model's weights and arena that ours is given.")
    number("calibration_samples", 256, "Calibration images.")
    number("draws", 3, "Draws of calibration images, with seeds from 0.")
    number("eval_samples", 5000, "Evaluation images, the same for all draws.")
    number("awq_tokens", Recipe.awq_tokens, "Tokens on which each AWQ scale is judged.")
    number("probe_samples", Recipe.probe_samples, "Calibration images on which effects on the logits are measured.")
    number("workers", 2, "Processes, of one thread each.")
    flags.DEFINE_string("work_dir", "edgeflex-out/comparison", "Where finished cells are kept.", flag_values=values)
    flags.DEFINE_string("output_dir", "docs", "Where the table, the figures and the plot go.", flag_values=values)
    flags.DEFINE_bool("check", False, "Print the paired differences of ours to each other row too.", flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    methods = _chosen(values, "methods", METHODS)
    _chosen(values, "cut_precisions", CHOICES["precision"])
    ratios, budgets = _shares(values, "ratios"), _shares(values, "budgets")
    work, output = (_folder(values, name) for name in ("work_dir", "output_dir"))

    import compare_cells as cells
    import compare_page as page
    from tqdm import tqdm

    bench = open_bench(values)
    base = Recipe(
        calibration_samples=values.calibration_samples,
        eval_samples=values.eval_samples,
        awq_tokens=values.awq_tokens,
        probe_samples=values.probe_samples,
    )
    wanted = [
        torch_cell(base),
        *dense_cells(values.dense_precisions, base, values.draws),
        *cut_cells(methods, ratios, values.cut_precisions, base, values.draws),
    ]
    if budgets:
        design = bench.design(base.replace(precision=PRUNED_IN))
        whole, float_bytes = design.dense_cost.total_bytes, design.float_cost.total_bytes
        wanted += budget_cells(budgets, float_bytes, whole, base, values.draws)
    keys = {cell: bench.key(cell) for cell in wanted}
    finished = cells.finished_cells(work)
    files = {key: cell for cell, key in keys.items()}  # one for cells that are the same file
    missing = [cell for key, cell in files.items() if key not in finished]
    with tqdm(total=len(files), initial=len(files) - len(missing), desc="compare", unit="cell") as bar:
        work_off(values, tasks(missing), bar)
    finished = cells.finished_cells(work)
    found = page.Comparison(
        cells={cell: finished[keys[cell]] for cell in wanted},
        skipped=tuple(name for name in values.dense_precisions if name not in CHOICES["precision"]),
        facts=page.Facts(
            command=shlex.join(["python", "tools/compare_methods.py", *sys.argv[1:]]),
            model=values.model,
            data=bench.evaluation.source.name,
            evaluation_images=len(bench.evaluation),
            calibration_images=values.calibration_samples,
            draws=values.draws,
            versions=bench.identity(0)["versions"],
        ),
    )
    for path in page.write(found, output):
        print(path)
    if values.check:
        print(page.differences(found))


def work_off(values: flags.FlagValues, work: Sequence[Task], bar: Any) -> None:
    """Do all tasks in worker processes. Ctrl-C ends them; what they have noted stays."""
    pool = ProcessPoolExecutor(
        min(values.workers, max(1, len(work))),
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(sys.argv,),
    )
    try:
        first = {
            task.shared.draw: task.shared for task in work if task.shared.method == OURS and task.shared.recipe.prunes
        }
        shared = [pool.submit(_measure_costs, cell) for cell in first.values()]
        futures = {pool.submit(_measure, task): task for task in work}
        for future in as_completed([*shared, *futures]):
            future.result()
            bar.update(len(futures[future].cells) if future in futures else 0)
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_bench: list[Bench] = []
"""Of a worker process: what it has loaded."""


def _start_worker(arguments: list[str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    values = flags.FlagValues()
    define_flags(values)
    values(arguments)
    _bench.append(open_bench(values))


def _measure(task: Task) -> None:
    _bench[0].measure(task)


def _measure_costs(cell: Wanted) -> None:
    _bench[0].measured(cell)


def open_bench(values: flags.FlagValues) -> Bench:
    """Model and images; every process draws the same.

    Raises:
        UserError: the model cannot be read, or there are too few images.
    """
    import compare_cells as cells

    from edgeflex_tflite import data as images

    specs = data_specs(values)
    model = open_model(values)
    preprocessing = open_preprocessing(values, model)
    source = images.open_source(specs[0], values.data_split)
    other = images.open_source(specs[1], values.calibration_split) if specs[1] else source
    for each in (source, other):
        images.check_labels(each, model.num_classes)
    calibrations = [
        images.draw_calibration(other, preprocessing, values.calibration_samples, seed) for seed in range(values.draws)
    ]
    excluded = frozenset().union(*(drawn.hashes for drawn in calibrations))
    evaluation = images.draw_evaluation(source, preprocessing, excluded, values.eval_samples, EVALUATION_SEED)
    evaluation = cells.Decoded.of(evaluation)
    return cells.Bench(model, calibrations, evaluation, preprocessing, Path(values.work_dir), threads=1)


def _chosen(values: flags.FlagValues, name: str, choices: Sequence[str]) -> list[str]:
    chosen = values[name].value
    for one in chosen:
        if one not in choices:
            raise UserError(f"--{name} has {one!r}: choose of {', '.join(choices)}")
    return chosen


def _shares(values: flags.FlagValues, name: str) -> list[float]:
    try:
        shares = [float(value) for value in values[name].value]
    except ValueError:
        shares = [math.nan]
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--{name} is {','.join(values[name].value)!r}: give shares between 0 and 1, as in 0.25,0.5")
    return shares


def _folder(values: flags.FlagValues, name: str) -> Path:
    path = Path(values[name].value)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} {path} cannot be made ({error.strerror}): give another folder") from error
    return path


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", INTERRUPTED))
