"""What every command shares: flags without import-time effects, `--help`, and errors as one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from edgeflex_tflite.errors import UserError, VerificationError

BAD_INPUT, FAILED_CHECK, INTERRUPTED = 2, 3, 130
READ_BY_TORCH = {"OMP_WAIT_POLICY": "PASSIVE", "THP_MEM_ALLOC_ENABLE": "1"}
"""When it loads: threads that spin stall a busy machine, and large tensors in small pages are slow to come by."""


def run(
    main: Callable[[flags.FlagValues, list[str]], None],
    define: Callable[[flags.FlagValues], None],
    usage: str,
    interrupted: str = "nothing was written",
) -> int:
    """Parse the command line and call `main`.

    Args:
        main: the command; it is given the flags, and what stands on the command line besides.
        define: adds the command's flags.
        usage: what `--help` says before the flags.
        interrupted: what is said on Ctrl-C.

    Returns:
        The exit code: 0, 2 for anything wrong with the input, 3 where the written file failed a check, 130 on Ctrl-C.
    """
    for name, value in READ_BY_TORCH.items():
        os.environ.setdefault(name, value)
    values = flags.FlagValues()
    define(values)
    if {"--help", "-help", "-h", "--helpfull"} & set(sys.argv[1:]):
        print(f"{usage.strip()}\n\nflags:\n{values.get_help(prefix='  ', include_special_flags=False)}")
        return 0
    try:
        main(values, values(sys.argv)[1:])
    except flags.Error as error:
        return _fail(f"{error}; --help lists the flags and what they take", BAD_INPUT)
    except UserError as error:
        return _fail(str(error), BAD_INPUT)
    except VerificationError as error:
        return _fail(str(error), FAILED_CHECK)
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        return INTERRUPTED
    return 0


def only_flags(rest: Sequence[str]) -> None:
    """Raises UserError for anything on the command line that is no flag."""
    if rest:
        raise UserError(f"unexpected {rest[0]!r}: flags are written --name=value; --help lists them")


def some_files(rest: Sequence[str]) -> list[str]:
    """The files on the command line. Raises UserError where there is none."""
    if not rest:
        raise UserError("no file is named: give one or more .tflite files after the flags; --help says more")
    return list(rest)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


def given(values: flags.FlagValues, names: Sequence[str]) -> dict:
    """Of the named flags, those that stand on the command line."""
    return {name: values[name].value for name in names if values[name].present}
