"""What every command shares: flags without import-time effects, `--help`, and errors as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from edgeflex_tflite.errors import UserError, VerificationError

BAD_INPUT, FAILED_CHECK, INTERRUPTED = 2, 3, 130


def run(main: Callable[[flags.FlagValues], None], define: Callable[[flags.FlagValues], None], usage: str) -> int:
    """Parse the command line and call `main`.

    Args:
        main: the command.
        define: adds the command's flags.
        usage: what `--help` says before the flags.

    Returns:
        The exit code: 0, 2 for anything wrong with the input, 3 where the written file failed a check, 130 on Ctrl-C.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch loads; threads that spin stall a busy machine
    values = flags.FlagValues()
    define(values)
    if {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(f"{usage.strip()}\n\nflags:\n{values.get_help(prefix='  ', include_special_flags=False)}")
        return 0
    try:
        rest = values(sys.argv)[1:]
        if rest:
            raise UserError(f"unexpected {rest[0]!r}: flags are written --name=value; --help lists them")
        main(values)
    except flags.Error as error:
        return _fail(f"{error}; --help lists the flags and what they take", BAD_INPUT)
    except UserError as error:
        return _fail(str(error), BAD_INPUT)
    except VerificationError as error:
        return _fail(str(error), FAILED_CHECK)
    except KeyboardInterrupt:
        print("interrupted: the same command with --resume goes on from the last finished stage", file=sys.stderr)
        return INTERRUPTED
    return 0


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def given(values: flags.FlagValues, names: Sequence[str]) -> dict:
    """Of the named flags, those that stand on the command line."""
    return {name: values[name].value for name in names if values[name].present}
