"""Say what a .tflite will cost and where it will run, from the file alone.

    python -m edgeflex_tflite.analyze model.tflite
    python -m edgeflex_tflite.analyze fp32.tflite int8.tflite --format=html --output=compare.html

Works on any .tflite file, and never runs it. Several files are put side by side.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.analysis.vela import USUAL
from edgeflex_tflite.errors import UserError

FORMATS = ("text", "json", "html")


def define_flags(values: flags.FlagValues) -> None:
    """Add the command's flags."""
    flags.DEFINE_enum("format", "text", FORMATS, "What to write.", flag_values=values)
    flags.DEFINE_bool("ops", False, "Show every op in the text too; JSON and HTML always do.", flag_values=values)
    flags.DEFINE_string("output", None, "File to write to. Default: the terminal.", flag_values=values)
    words = "Threads of the interpreter that the arena is planned for; a few kernels need other scratch memory."
    flags.DEFINE_integer("num_threads", 1, words, flag_values=values)
    words = (
        "Ethos-U accelerators that Arm's Vela compiles for, where it is installed (pip install 'edgeflex-tflite[npu]')."
    )
    flags.DEFINE_list("ethos_u", list(USUAL), words, flag_values=values)
    words = "The edgetpu_compiler executable. Default: the one on PATH, if there is one."
    flags.DEFINE_string("edgetpu_compiler", None, words, flag_values=values)
    words = "The vela executable. Default: the one of this environment or on PATH, if there is one."
    flags.DEFINE_string("vela", None, words, flag_values=values)
    words = "A TensorFlow Lite release that the file has to run on, as in 2.13.0: name the ops that are too new for it."
    flags.DEFINE_string("runtime_version", None, words, flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    named = cli.some_files(rest)
    if values.num_threads < 1:
        raise UserError(f"num_threads is {values.num_threads}: give 1 or more")
    if values.output is not None:
        _check_output(Path(values.output), named)

    from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
    from edgeflex_tflite.analysis.compilers import ask_compilers, check_asked
    from edgeflex_tflite.files import to_json, write_bytes
    from edgeflex_tflite.report.analysis import analysis_text
    from edgeflex_tflite.report.console import Console

    tools = {"edgetpu_compiler": values.edgetpu_compiler, "vela": values.vela}
    check_asked(values.ethos_u, **tools)
    found = [analyze_file(file, num_threads=values.num_threads, runtime=values.runtime_version) for file in named]
    analyses = [
        replace(one, compilers=ask_compilers(Path(one.file), values.ethos_u, **tools))
        for one in Console().progress(found, "compile")
    ]
    if values.format == "json":
        text = to_json(analyses, list[Analysis])
    elif values.format == "html":
        from edgeflex_tflite.report.analysis_html import analysis_html

        text = analysis_html(analyses)
    else:
        text = analysis_text(analyses, ops=values.ops)
    if values.output:
        write_bytes(Path(values.output), text.encode())
    else:
        _show(text)


def _show(text: str) -> None:
    """Print what the terminal's encoding has; a reader that stops early, as `head` does, is no error."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "replace").decode(encoding), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _check_output(output: Path, files: list[str]) -> None:
    """Raises UserError where nothing can be written, or something would be lost."""
    if not output.absolute().parent.is_dir():
        raise UserError(f"--output={output}: there is no such folder; make it, or name another file")
    if output.exists() and not output.is_file():
        raise UserError(f"--output={output} is no file: name one that can be written")
    if output.exists() and any(Path(file).exists() and output.samefile(file) for file in files):
        raise UserError(f"--output={output} is a file that is to be read: name another one")
    if not os.access(output.absolute().parent, os.W_OK):
        raise UserError(f"--output={output}: nothing can be written into that folder; name another one")


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
