"""Make what a place needs to run a compressed model, inside the output folder of a run.

    python -m edgeflex_tflite.bundle --bundle=web,android edgeflex-out

`web` is a static folder: `python -m edgeflex_tflite.serve edgeflex-out/web` shows it, and any web server can. It holds
LiteRT.js, which npm fetches once. `android` is what an app needs. Each proves itself on the golden input.
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.bundle.kinds import KINDS, chosen_bundles, define_bundle_flag
from edgeflex_tflite.errors import UserError


def define_flags(values: flags.FlagValues) -> None:
    define_bundle_flag(values, "What to make")


def main(values: flags.FlagValues, rest: list[str]) -> None:
    kinds = chosen_bundles(values)
    if len(rest) != 1 or not kinds:
        raise UserError(f"give one output folder of convert, and --bundle with some of {','.join(KINDS)}")
    from edgeflex_tflite.bundle.add import add_bundles

    for folder in add_bundles(Path(rest[0]), kinds):
        print(folder)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
