"""What Coral's own compiler says of a file: `edgetpu_compiler`, run where it is installed, its log read back.

Sources: Coral's page "Edge TPU Compiler" (the options and the log), and public logs of versions 14 to 16 for what it
says when it fails; `tests/golden/edgetpu_compiler` tells which.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ai_edge_litert import schema_py_generated as schema

from edgeflex_tflite.analysis.tool import ToolRun, find_tool, run_tool
from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError

MAPPED = "Mapped to Edge TPU"
MISSING = (
    "edgetpu_compiler is not on PATH: Coral gives it for Debian and Ubuntu on x86-64 "
    "(https://coral.ai/docs/edgetpu/compiler/)"
)
TIMEOUT_S = 600.0
"""The compiler has a timer of its own, of 180 s."""

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_OPS = re.compile(r"^(\S+)\s+(\d+)\s{2,}(\S.*?)\s*$")
AGAIN: tuple[str, ...] = ()
LONGER = ("--timeout_sec", "540")
SEARCH = ("--search_delegate", "--delegate_search_step", "10")
"""It takes operators off the end until what is left compiles."""
_FAILURES: tuple[tuple[str, str, tuple[tuple[str, ...], ...]], ...] = (
    (r"Op builtin_code out of range: (?P<code>\d+)", "it is older than the operator {0}, which the file uses", ()),
    (r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'", "it is older than version {1} of {0}", ()),
    (
        r"Model not quantized",
        "the model is not fully quantized: convert with --precision=int8_full (preset edgetpu)",
        (),
    ),
    (r"only supports static-sized tensors", "a tensor's size is open until run time: convert for one batch size", ()),
    (r"Encountered unresolved custom op: (.+?)\.?$", "it does not know the custom operator {0}", ()),
    (r"Compilation timeout", "its own timer ran out, as it does on large activations", (LONGER, SEARCH)),
    (r"large activation tensors", "the activations are too large for it", (SEARCH,)),
    (r"Internal compiler error", "it broke down with an internal error and says no more", (AGAIN, SEARCH)),
    (r"uncaught exception of type (.+)", "it broke down: {0}", (AGAIN, SEARCH)),
    (r"Model could not be parsed", "it cannot read the file", ()),
    (r"Invalid model", "it takes the file for invalid and says no more", ()),
    (r"Compilation failed: (.+)", "{0}", ()),
    (r"Compilation failed", "it failed and says no more", (SEARCH,)),
)
"""What it prints -> what that means, and with which options it has been seen to get through after all.

The first that is found counts, since a precise line comes with a general one. Sources: google-coral/edgetpu issues 173
and 211 (an internal error goes away by itself), 444 and 903 (a search after large activations or a silent failure).
"""


@dataclass(frozen=True)
class OpStatus:
    """A line of the operation log.

    Attributes:
        name: Name of the operator.
        count: How many of them share the status.
        status: The compiler's own words.
    """

    name: str
    count: int
    status: str

    @property
    def mapped(self) -> bool:
        """They run on the Edge TPU."""
        return self.status == MAPPED


@dataclass(frozen=True)
class EdgeTpuCompilation:
    """What the compiler says; its sizes are rounded to two decimals of their unit.

    Attributes:
        version: Of the compiler, e.g. "16.0.384591198".
        compile_ms: Time that it took.
        output_bytes: Length of the compiled file.
        cached_bytes: Weights that stay in the chip's memory.
        cache_left_bytes: Memory for weights that is left.
        streamed_bytes: Weights that are sent anew for every inference.
        parts: Edge TPU parts ("subgraphs") in the compiled file.
        op_count: Operators of the file that was compiled.
        ops: The operation log.
        options: That the compiler was started with.
    """

    version: str
    compile_ms: float
    output_bytes: int
    cached_bytes: int
    cache_left_bytes: int
    streamed_bytes: int
    parts: int
    op_count: int
    ops: tuple[OpStatus, ...]
    options: tuple[str, ...] = ()

    @property
    def mapped(self) -> int:
        """Operators that run on the Edge TPU."""
        return sum(op.count for op in self.ops if op.mapped)

    @property
    def verdict(self) -> str:
        """One line."""
        weights = f"{self.cached_bytes / 1e6:.1f} MB of weights cached, {self.streamed_bytes / 1e6:.1f} MB streamed"
        return f"{self.mapped} of {self.op_count} ops mapped in {self.parts} part(s); {weights}"


def compile_for_edgetpu(
    model: Path,
    output: Path | None = None,
    *,
    compiler: str | Path | None = None,
    all_parts: bool = False,
    retry: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> EdgeTpuCompilation | NotMeasured:
    """Compile a file; gives what the compiler says, or why there is nothing to say.

    Args:
        model: A .tflite file.
        output: Where the compiled file goes; None: it is thrown away.
        compiler: Path of `edgetpu_compiler`; None: the one on PATH.
        all_parts: Map what comes after an unmapped operator too (the compiler's experimental `-a`).
        retry: After a failure that is known to go away, try again, with options that help.
        timeout_s: When to stop it.

    Raises:
        UserError: `model` is not there, or `compiler` is not an executable.
    """
    if not model.is_file():
        raise UserError(f"There is no file {model}: give the path of a .tflite file.")
    tool = find_tool("edgetpu_compiler", compiler)
    if tool is None:
        return NotMeasured(MISSING)
    options = ("-a",) if all_parts else ()
    found, run = _attempt(tool, model, output, options, timeout_s)
    for more in _retries(run) if retry and isinstance(found, NotMeasured) else ():
        found, _ = _attempt(tool, model, output, (*options, *more), timeout_s)
        if isinstance(found, EdgeTpuCompilation):
            break
    return found


def _attempt(
    tool: str, model: Path, output: Path | None, options: tuple[str, ...], timeout_s: float
) -> tuple[EdgeTpuCompilation | NotMeasured, ToolRun]:
    """What one run of the compiler says, and the run."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_tool([tool, *options, "-o", folder, str(model.resolve())], Path(folder), timeout_s)
        compiled, log = (Path(folder) / f"{model.stem}_edgetpu{end}" for end in (".tflite", ".log"))
        if "Model compiled successfully" not in run.output or not compiled.is_file():
            return NotMeasured(_failure(run, timeout_s)), run
        if output is not None:
            shutil.copyfile(compiled, output)
        found = parse(run.output, log.read_text() if log.is_file() else "")
    if isinstance(found, EdgeTpuCompilation):
        found = dataclasses.replace(found, options=options)
    return found, run


def _retries(run: ToolRun) -> tuple[tuple[str, ...], ...]:
    """Options with which a failure has been seen to go away, the first to try first."""
    if run.code is not None and run.code < 0:
        return (AGAIN, SEARCH)
    return next((retries for row, _, retries in _FAILURES if re.search(row, run.output, re.MULTILINE)), ())


def parse(output: str, log: str = "") -> EdgeTpuCompilation | NotMeasured:
    """What the compiler printed, and the operation log that it wrote (version 16 prints no complete one)."""
    try:
        return EdgeTpuCompilation(
            version=_found(r"Edge TPU Compiler version (\S+)", output),
            compile_ms=float(_found(r"Model compiled successfully in (\d+) ms", output)),
            output_bytes=_size("Output size", output),
            cached_bytes=_size("On-chip memory used for caching model parameters", output),
            cache_left_bytes=_size("On-chip memory remaining for caching model parameters", output),
            streamed_bytes=_size("Off-chip memory used for streaming uncached model parameters", output),
            parts=int(_found(r"Number of Edge TPU subgraphs: (\d+)", output)),
            op_count=int(_found(r"Total number of operations: (\d+)", output)),
            ops=_operations(log) or _operations(output),
        )
    except LookupError as error:
        return NotMeasured(f"edgetpu_compiler's log is of a form that is not known here: it has no {error.args[0]!r}")


def _found(pattern: str, output: str) -> str:
    match = re.search(pattern, output)
    if match is None:
        raise LookupError(pattern)
    return match[1]


def _size(label: str, output: str) -> int:
    """Bytes of e.g. "6.89MiB"."""
    match = re.fullmatch(r"([\d.]+)(\w+)", _found(rf"{label}: (\S+)", output))
    if match is None or match[2] not in _UNITS:
        raise LookupError(label)
    return round(float(match[1]) * _UNITS[match[2]])


def _operations(text: str) -> tuple[OpStatus, ...]:
    """The table after its heading."""
    _, heading, table = text.partition("Operator ")
    rows = (_OPS.match(line) for line in (heading + table).splitlines()[1:])
    return tuple(OpStatus(row[1], int(row[2]), row[3]) for row in rows if row)


def _failure(run: ToolRun, timeout_s: float) -> str:
    """One line that says what the compiler's own lines mean."""
    if run.code is None:
        return f"edgetpu_compiler gave nothing within {timeout_s:g} s"
    for pattern, meaning, _ in _FAILURES:
        if match := re.search(pattern, run.output, re.MULTILINE):
            words = [_operator(match["code"])] if "code" in match.groupdict() else match.groups()
            return f"edgetpu_compiler gives no file: {meaning.format(*words)}"
    return f"edgetpu_compiler gives no file ({run.ending}); its last line: {run.last_line}"


def _operator(code: str) -> str:
    """The name of a builtin operator's number."""
    names = {str(value): name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return names.get(code, f"number {code}")
