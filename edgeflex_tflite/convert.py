"""Compress a Vision Transformer into a .tflite that fits a memory budget, and prove what it still knows.

    python -m edgeflex_tflite.convert --model=vit_small_patch14_dinov2 --img_size=70 \\
        --checkpoint=model.safetensors --data=test.tar --calibration_data=train.tar --memory_budget_mb=20

Without flags it compresses a small Vision Transformer that ships with the package, on handwritten digits, offline.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite import recipe as recipes
from edgeflex_tflite.bundle.kinds import chosen_bundles, define_bundle_flag
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.inputs import data_specs, define_input_flags, open_model, open_preprocessing
from edgeflex_tflite.threads import available_threads

if TYPE_CHECKING:
    from edgeflex_tflite.data import Source

MOST_THREADS = 256
"""Above any machine's cores that this is for; torch dies without a word when it is asked for far more."""
RECIPE_FLAGS = tuple(field.name for field in dataclasses.fields(recipes.Recipe))


def define_flags(values: flags.FlagValues) -> None:
    """Add the command's flags; those of the recipe are described where the recipe is."""
    define_input_flags(values)
    text, integer, switch = (
        lambda name, default, words: flags.DEFINE_string(name, default, words, flag_values=values),
        lambda name, default, words: flags.DEFINE_integer(name, default, words, flag_values=values),
        lambda name, default, words: flags.DEFINE_bool(name, default, words, flag_values=values),
    )
    text("recipe", "balanced", f"Preset ({', '.join(recipes.PRESETS)}) or JSON file. The flags below overrule it.")
    _define_recipe_flags(values)
    text("output_dir", "edgeflex-out", "Folder that becomes the bundle, whole or not at all.")
    integer("num_threads", None, "Threads of torch and the interpreter. Default: all cores.")
    switch("resume", False, "Go on with a run that stopped; finished stages are not done again.")
    switch("benchmark", True, "Measure latency and memory of the file on this machine, for the report.")
    switch("weight_cache", False, "Measure too what XNNPACK's weight cache saves at later starts.")
    define_bundle_flag(values, "Also make bundles for such places, in the output folder")
    switch("overwrite", False, "Replace an output folder that is there, and drop an unfinished run.")
    switch("visualize", False, "Open the written file in Model Explorer, where that is installed, until Ctrl-C.")
    switch("dry_run", False, "Print the plan (widths, predicted bytes, time and RAM needed) and stop.")


def _define_recipe_flags(values: flags.FlagValues) -> None:
    defaults, described = recipes.Recipe(), recipes.descriptions()
    for field in dataclasses.fields(recipes.Recipe):
        default = getattr(defaults, field.name)
        words = f"{described[field.name]} Recipe default: {default!r}."
        kind = recipes.kind_of(field.name)
        if field.name in recipes.CHOICES:
            flags.DEFINE_enum(field.name, None, recipes.CHOICES[field.name], words, flag_values=values)
        elif kind is bool:
            flags.DEFINE_bool(field.name, None, words, flag_values=values)
        elif kind is int:
            flags.DEFINE_integer(field.name, None, words, flag_values=values)
        elif kind is float:
            flags.DEFINE_float(field.name, None, words, flag_values=values)
        else:
            flags.DEFINE_string(field.name, None, words, flag_values=values)


INTERRUPTED = "the same command with --resume goes on from the last finished stage"


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    recipe = recipes.load(values.recipe).overruled_by(cli.given(values, RECIPE_FLAGS))
    _check_flags(values)
    specs = data_specs(values)
    output = _output_folder(values.output_dir)
    bundles = chosen_bundles(values)

    from edgeflex_tflite import data as images
    from edgeflex_tflite import pipeline
    from edgeflex_tflite.bundle.add import add_bundles, check_bundles
    from edgeflex_tflite.bundle.manifest import Origin
    from edgeflex_tflite.report.console import Console

    console = Console()
    if not values.dry_run:
        pipeline.check_output(output, values.resume, values.overwrite)
        check_bundles(bundles, "int8" if recipe.precision == "int8_full" else "float32")
    source = images.open_source(specs[0], values.data_split)
    calibration = images.open_source(specs[1], values.calibration_split) if specs[1] else None
    model = open_model(values)
    _check_sources(recipe, source, calibration, model.num_classes)
    preprocessing = open_preprocessing(values, model)
    threads = values.num_threads or available_threads()
    design = pipeline.design_file(model, preprocessing, recipe, threads)
    needs = pipeline.check_possible(design, recipe.eval_samples or len(source), output)
    data = images.make_data(
        source,
        calibration,
        preprocessing,
        calibration_samples=recipe.calibration_samples,
        eval_samples=recipe.eval_samples,
        seed=recipe.seed,
    )
    if values.dry_run:
        console.line(pipeline.plan_only(design, data, needs, console))
        return
    bundle = pipeline.compress_design(
        design,
        data,
        needs,
        output_dir=output,
        labels=None,
        origin=Origin(values.model, values.checkpoint, *specs, _command()),
        benchmark=values.benchmark,
        weight_cache=values.weight_cache,
        resume=values.resume,
        overwrite=values.overwrite,
        console=console,
    )
    size = bundle.model.stat().st_size
    console.line(f"\n{bundle.summary}")
    console.line(f"{bundle.model}: {size:,} bytes. What it costs and knows: {bundle.folder / 'report.html'}")
    if bundles:
        for folder in add_bundles(output, bundles):
            console.line(str(folder))
    if values.visualize:
        from edgeflex_tflite.report.explorer import explore

        explore(bundle.model)


def _check_flags(values: flags.FlagValues) -> None:
    if values.num_threads is not None and not 0 < values.num_threads <= MOST_THREADS:
        raise UserError(f"num_threads is {values.num_threads}: give a number from 1 to {MOST_THREADS}")
    if values.weight_cache and not values.benchmark:
        raise UserError("--weight_cache is measured by the benchmark, which --nobenchmark leaves out: drop one of them")
    if values.visualize:
        _check_visualize(values.dry_run)
    if values.dry_run and values.resume:
        raise UserError("--dry_run and --resume contradict each other: a dry run writes nothing that could go on")


def _check_visualize(dry_run: bool) -> None:
    from edgeflex_tflite.report.explorer import model_explorer

    if dry_run:
        raise UserError("--dry_run and --visualize contradict each other: a dry run writes no file to look at")
    model_explorer()


def _command() -> str:
    """The command that makes the same file again."""
    once = {"--resume", "--overwrite", "--visualize"}
    return shlex.join(["python", "-m", "edgeflex_tflite.convert", *(flag for flag in sys.argv[1:] if flag not in once)])


def _output_folder(name: str) -> Path:
    """Where the bundle goes, which must be a folder that can be put in place by a rename."""
    output = Path(name).resolve()
    if Path.cwd().is_relative_to(output):
        raise UserError(f"output_dir is {name!r}, the folder that the command runs in or one above it: name a new one")
    try:
        mounted = output.is_mount()
    except OSError as error:
        raise UserError(f"output_dir {name!r} cannot be used ({error.strerror}): give another") from error
    if mounted:
        raise UserError(f"output_dir {name!r} is a mount point, which cannot be replaced: give a folder in it")
    return output


def _check_sources(recipe: recipes.Recipe, source: Source, calibration: Source | None, num_classes: int) -> None:
    from edgeflex_tflite.data import check_source

    evaluated = recipe.eval_samples or 1
    if calibration is None:
        check_source(source, evaluated + recipe.calibration_samples, num_classes)
    else:
        check_source(source, evaluated, num_classes)
        check_source(calibration, recipe.calibration_samples, num_classes if recipe.needs_labels else None)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", INTERRUPTED))
