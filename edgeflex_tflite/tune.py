"""Find the precisions in which a Vision Transformer runs fastest on this machine, and write them as a recipe.

    python -m edgeflex_tflite.tune --model=vit_base_patch16_224 --checkpoint=... --output=tuned.json
    python -m edgeflex_tflite.convert --recipe=tuned.json --model=vit_base_patch16_224 --checkpoint=... --data=...

Files of a few of the model's blocks are raced against each other, round by round: all linears in INT8 with activations
quantized at run time or by calibration, in INT4, in FP32, and then the winner with one kind of linear in FP32. What is
in the recipe stays unless something else is faster in every round. No images are needed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite import recipe as recipes
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.inputs import define_model_flags, open_model
from edgeflex_tflite.targets.config import Protocol
from edgeflex_tflite.threads import available_threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeflex_tflite.recipe import Recipe
    from edgeflex_tflite.tuning.choose import Choice


def define_flags(values: flags.FlagValues) -> None:
    define_model_flags(values)

    def text(name: str, default: str, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    def number(name: str, default: int | None, words: str) -> None:
        flags.DEFINE_integer(name, default, words, lower_bound=1, flag_values=values)

    text("recipe", "balanced", f"Preset ({', '.join(recipes.PRESETS)}) or JSON file to begin with.")
    text("output", "tuned.json", "The recipe that is written.")
    number("num_threads", None, "Threads of the interpreter. Default: all cores of this process.")
    number("rounds", Protocol.rounds, "Turns of each candidate.")
    number("min_runs", Protocol.min_runs, "At least so many timed inferences of each.")
    flags.DEFINE_float("min_secs", Protocol.min_secs, "At least so many seconds of them.", flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    recipe = recipes.load(values.recipe)
    if recipe.precision == "int8_full":
        raise UserError("precision int8_full is for processors that have no floats: there is nothing to choose")
    output = Path(values.output)
    if not output.absolute().parent.is_dir():
        raise UserError(f"--output: there is no folder {output.absolute().parent}: make it, or name another file")
    protocol = Protocol(min_runs=values.min_runs, min_secs=values.min_secs, rounds=values.rounds)
    protocol.check()
    model = open_model(values)

    from edgeflex_tflite.artifacts import InputSpec
    from edgeflex_tflite.data import Preprocessing
    from edgeflex_tflite.files import write_bytes
    from edgeflex_tflite.models.translate import to_edge_form
    from edgeflex_tflite.report.console import Console
    from edgeflex_tflite.tuning.blocks import tune

    console, dense, prepared = Console(), to_edge_form(model, recipe.rewrites), Preprocessing.of_model(model)
    spec = InputSpec(recipe.input_layout, recipe.input_range, prepared.mean, prepared.std, *dense.img_size)

    def bar(steps: int, caption: str) -> Callable[[], None]:
        shown = console.bar(steps, caption, unit="turn")

        def done() -> None:
            shown.update()
            if shown.n == steps:
                shown.close()

        return done

    threads = values.num_threads or available_threads()
    with tempfile.TemporaryDirectory() as folder:
        tuned, choice = tune(dense, recipe, spec, Path(folder), threads, protocol, bar)
    write_bytes(output, tuned.to_json().encode())
    console.line(tuned_text(recipe, choice))
    console.line(f"\n{output}: for convert --recipe={output}")


def tuned_text(recipe: Recipe, choice: Choice) -> str:
    """Every race, and who won."""
    from tabulate import tabulate

    rows = [
        (ratio.file, ratio.over, f"{ratio.median:.2f}", f"{ratio.low:.2f} to {ratio.high:.2f}")
        for ratio in choice.ratios
    ]
    table = tabulate(rows, headers=("candidate", "against", "latency, as a share", "of the rounds"))
    stays = choice.chosen.name == recipe.precision
    return f"{table}\n\n{'stays' if stays else 'fastest'}: {choice.chosen.name}"


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
