"""The operator profile that `benchmark_model --enable_op_profiling` prints: tables or CSV, old columns or new."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeflex_tflite.targets.measurement import OpTime

_TITLE = re.compile(r"=+ (.*?) =+\s*$")
_RUNS = ("Operator-wise Profiling Info for Regular Benchmark Runs", "Profiling Info for Benchmark Runs")
_DELEGATE = "Delegate internal"


def parse_profile(text: str) -> tuple[OpTime, ...]:
    """Ops of the inferences that count, longest first; empty where there is no profile.

    The tool's summary by node type is read, of all graphs. XNNPACK's kernels stand in it as ops. What other delegates
    tell of their inside is left out: the op that stands for the delegate already contains those times.
    """
    times: dict[str, tuple[int, float]] = {}
    for name, count, mean_ms in _rows(_of_runs(text)):
        old_count, old_ms = times.get(name, (0, 0.0))
        times[name] = (old_count + count, old_ms + mean_ms)
    ops = (OpTime(name, count, mean_ms) for name, (count, mean_ms) in times.items())
    return tuple(sorted(ops, key=lambda op: -op.mean_ms))


def _of_runs(text: str) -> str:
    """Behind the title of the runs, which follow the preparation; the whole text of versions without titles."""
    for title in _RUNS:
        if title in text:
            text = text.rpartition(title)[2]
            break
    return text.partition(_DELEGATE)[0]


def _rows(text: str) -> Iterator[tuple[str, int, float]]:
    """Node type, calls in an inference, milliseconds in an inference."""
    lines = iter(text.splitlines())
    for line in lines:
        title = _TITLE.search(line)
        if not title or title[1] != "Summary by node type":
            continue
        header = next(lines, "")
        split = _split_table if "\t" in header else _split_csv
        columns = [_plain(name) for name in split(header, 0)]
        for row in lines:
            if not row.strip():
                break
            yield _row(dict(zip(columns, split(row, len(columns)), strict=False)))


def _row(cells: dict[str, str]) -> tuple[str, int, float]:
    """Old versions count 0 calls of what runs less than once an inference; the number of nodes is what is left then."""
    calls = int(cells.get("times called", 0))
    return cells["node type"], calls or int(cells["count"]), float(cells["avg ms"])


def _plain(name: str) -> str:
    """ "[avg ms]" of the table and "avg_ms" of the CSV are the same column."""
    return name.strip("[]").replace("_", " ").lower()


def _split_table(line: str, _columns: int) -> list[str]:
    return [cell.strip() for cell in line.strip("\n").lstrip("\t").split("\t")]


def _split_csv(line: str, columns: int) -> list[str]:
    """From the right: a node type such as "Convolution (NHWC, F32) GEMM" has commas of its own."""
    return [cell.strip() for cell in line.rsplit(", ", columns - 1 if columns else -1)]
