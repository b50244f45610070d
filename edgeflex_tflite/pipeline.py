"""The whole method as a sequence: profile, plan, prune, quantize, lower, evaluate, verify, bundle."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeflex_tflite import chips, files, serialize, steps
from edgeflex_tflite.artifacts import Bundle, Metrics, Tried
from edgeflex_tflite.bundle.manifest import Origin, fingerprint
from edgeflex_tflite.bundle.write import bundle_step
from edgeflex_tflite.data import Data
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.planning import check_budget_possible, least_bytes, plan_pruning
from edgeflex_tflite.recipe import MEGABYTE, Recipe
from edgeflex_tflite.report.console import Console
from edgeflex_tflite.report.plan import plan_text
from edgeflex_tflite.resources import Needs, check_needs, predict_needs
from edgeflex_tflite.run import Design, Run, design_file
from edgeflex_tflite.search import smallest
from edgeflex_tflite.store import StageStore
from edgeflex_tflite.threads import available_threads


def compress(
    model: nn.Module,
    data: Data,
    recipe: Recipe | None = None,
    *,
    output_dir: str | Path,
    labels: tuple[str, ...] | None = None,
    origin: Origin | None = None,
    num_threads: int | None = None,
    benchmark: bool = True,
    weight_cache: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Bundle:
    """Compress a Vision Transformer into a `.tflite`, and prove on the file what it costs and still knows.

    Args:
        model: a timm `VisionTransformer` with a classification head; it is not changed.
        data: calibration and evaluation images, as `edgeflex_tflite.data.make_data` gives them.
        recipe: what to do; by default `Recipe()`.
        output_dir: becomes the bundle, whole or not at all. A run in progress lives beside it, in
            `<output_dir>.partial`.
        labels: a name for each class; by default the data's.
        origin: where model and data came from, for the manifest.
        num_threads: of torch and the interpreter; by default all cores of this process. Results depend on it in the
            last bit.
        benchmark: measure latency and memory of the file on this machine.
        weight_cache: measure too what XNNPACK's weight cache saves at later starts.
        resume: go on with a run that stopped; finished stages are not done again.
        overwrite: replace an output folder that is there.
        console: where progress goes; by default nowhere.

    Returns:
        The bundle that was written.

    Raises:
        UserError: model, data, recipe or output folder cannot be used; nothing is left behind.
        VerificationError: the file failed a check; nothing is left behind.
    """
    recipe, output, threads = recipe or Recipe(), Path(output_dir), num_threads or available_threads()
    check_output(output, resume, overwrite)
    with deterministic(recipe.seed, threads):
        design = design_file(model, data.evaluation.preprocessing, recipe, threads)
    needs = check_possible(design, len(data.evaluation), output)
    return compress_design(
        design,
        data,
        needs,
        output_dir=output,
        labels=labels,
        origin=origin or Origin(),
        benchmark=benchmark,
        weight_cache=weight_cache,
        resume=resume,
        overwrite=overwrite,
        console=console or Console(quiet=True),
    )


def compress_design(
    design: Design,
    data: Data,
    needs: Needs,
    *,
    output_dir: Path,
    labels: tuple[str, ...] | None,
    origin: Origin,
    benchmark: bool,
    weight_cache: bool = False,
    resume: bool,
    overwrite: bool,
    console: Console,
) -> Bundle:
    """`compress`, from a design and an output folder that `check_possible` and `check_output` let through."""
    run = Run.of(design, data, labels, console)
    with deterministic(design.recipe.seed, design.threads):
        identity = fingerprint(run)
        store = StageStore(partial_folder(output_dir), console.stage)
        if resume and is_finished(output_dir, identity):
            console.line(f"{output_dir} is finished already")
        elif (output_dir / "manifest.json").exists() and not overwrite:
            raise UserError(f"{output_dir} is the bundle of another run: give another --output_dir, or --overwrite")
        else:
            store.open(identity, resume)
            console.line(f"{needs} will be needed\n")
            try:
                finished = _run_stages(run, store, origin, identity, benchmark, weight_cache)
            except (UserError, VerificationError):
                store.discard()
                raise
            files.replace_folder(finished, output_dir)
        store.discard()
    return Bundle(output_dir, files.read_json(output_dir / "metrics.json", Metrics))


def _run_stages(
    run: Run, store: StageStore, origin: Origin, identity: dict[str, Any], benchmark: bool, weight_cache: bool
) -> Path:
    version = importlib.metadata.version("edgeflex-tflite")
    profiled = store.run("profile", partial(steps.profile_step, run))
    dense_logits = store.run("evaluate_dense", partial(steps.evaluate_torch_step, run, lambda: run.source))
    tried: tuple[Tried, ...] = ()
    if run.recipe.spends_accuracy:
        made, tried = _smallest(run, store, dense_logits, version)
    else:
        made = _make(run, store, version, dense_logits)
    compiled = None
    if run.recipe.target != chips.CPU:
        compiled = store.run("npu", partial(steps.npu_step, run, made.lowered))
    pruned_logits = None
    if steps.was_pruned(made.pruned):
        read = partial(serialize.read_model, made.pruned / "model.safetensors", run.dense)
        pruned_logits = store.run("evaluate_pruned", partial(steps.evaluate_torch_step, run, read))
    quantized_logits = None
    if steps.was_rounded(made.scaled):
        rounded = partial(steps.quantized_model, run, made.scaled, made.lowered)
        quantized_logits = store.run("evaluate_quantized", partial(steps.evaluate_torch_step, run, rounded))
    logits = (dense_logits, pruned_logits, quantized_logits, made.logits)
    verify = partial(steps.verify_step, run, made.scaled, made.lowered, *logits, tried)
    verified = store.run("verify", verify)
    measure = partial(steps.benchmark_step, run, made.lowered, weight_cache)
    timed = store.run("benchmark", measure) if benchmark else None
    bundle = partial(
        bundle_step,
        run,
        origin,
        identity,
        profiled,
        made.pruned,
        made.scaled,
        made.lowered,
        verified,
        timed,
        compiled,
        tuple(store.records),
    )
    return store.run("bundle", bundle)


@dataclasses.dataclass(frozen=True)
class _Made:
    """Folders of the stages that make a file and run it on the evaluation images."""

    pruned: Path
    scaled: Path
    lowered: Path
    logits: Path

    @classmethod
    def of(cls, folder: Path) -> _Made:
        return cls(folder / "prune", folder / "quantize", folder / "lower", folder / "evaluate_file")


def _make(
    run: Run,
    store: StageStore,
    version: str,
    dense_logits: Path,
    budget: int | None = None,
    measured: Path | None = None,
) -> _Made:
    """Plan, prune, quantize, lower and run a file.

    Args:
        dense_logits: folder of the evaluation of the dense model.
        budget: bytes of the plan, where the recipe has none; the file is not held to it.
        measured: folder of `measure_step`; None: what is needed is measured now.
    """
    asked = run
    if budget is not None:
        asked = dataclasses.replace(run, recipe=run.recipe.replace(memory_budget_mb=budget / MEGABYTE))
    planned = store.run("plan", partial(steps.plan_step, asked, measured))
    pruned = store.run("prune", partial(steps.prune_step, run, planned, store.kept("prune")))
    scaled = store.run("quantize", partial(steps.quantize_step, run, pruned, store.kept("quantize")))
    chosen = None
    if run.recipe.measures_merging:
        chosen = store.run("merge", partial(steps.merge_step, run, scaled, dense_logits))
    lowered = store.run("lower", partial(steps.lower_step, run, scaled, chosen, version=version))
    store.run("evaluate_file", partial(steps.evaluate_file_step, run, lowered))
    return _Made.of(store.folder)


def _smallest(run: Run, store: StageStore, dense_logits: Path, version: str) -> tuple[_Made, tuple[Tried, ...]]:
    """The smallest file within the loss that the recipe allows, and all that were tried for it."""
    measured = store.run("measure", partial(steps.measure_step, run))

    def attempt(budget: int | None, folder: Path) -> Tried:
        made = _make(run, StageStore(folder, run.console.stage), version, dense_logits, budget, measured)
        return steps.judge(run, budget, made.lowered, dense_logits, made.logits)

    found = smallest(store, attempt, least_bytes(run), run.dense_cost.total_bytes)
    return _Made.of(found.folder), found.tried


def plan_only(design: Design, data: Data, needs: Needs, console: Console) -> str:
    """What `compress_design` would do, without doing it: widths, bytes, time and memory, as text."""
    with deterministic(design.recipe.seed, design.threads):
        return plan_text(design, plan_pruning(Run.of(design, data, None, console)), needs)


def check_possible(design: Design, evaluation_images: int, output: Path) -> Needs:
    """What the run is predicted to need.

    Raises:
        UserError: the budget is out of reach, or the machine too small.
    """
    check_budget_possible(design)
    with deterministic(design.recipe.seed, design.threads):
        needs = predict_needs(design.dense, design.recipe, evaluation_images)
    check_needs(needs, output)
    return needs


def is_finished(output: Path, identity: dict[str, Any]) -> bool:
    """Whether the output folder is the bundle of this very run."""
    path = output / "manifest.json"
    return path.is_file() and json.loads(path.read_text())["run"] == identity


def partial_folder(output: Path) -> Path:
    return output.with_name(output.name + ".partial")


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Raises UserError where the output folder cannot be written, or holds something that nobody said may go."""
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is not a folder: give another --output_dir")
    finished = resume and (output / "manifest.json").is_file()
    if output.is_dir() and any(output.iterdir()) and not (overwrite or finished):
        raise UserError(f"{output} is not empty: give another --output_dir, or --overwrite")
    unfinished = partial_folder(output)
    if unfinished.exists() and not (resume or overwrite):
        raise UserError(
            f"{unfinished} holds an unfinished run: give --resume to go on with it, or --overwrite to drop it"
        )
    parent = next(folder for folder in output.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise UserError(f"{parent} cannot be written to ({error.strerror}): give another --output_dir") from error


@contextlib.contextmanager
def deterministic(seed: int, threads: int) -> Iterator[None]:
    """The same numbers every time: a seed, a fixed number of threads, deterministic kernels."""
    settings: Any = torch.utils.deterministic
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.manual_seed(seed)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # no kernel reads what nothing has written
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        settings.fill_uninitialized_memory = before[2]
