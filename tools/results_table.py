"""Print the README's table of results from the bundles that its commands made.

python tools/results_table.py out/fp32 out/mixed out/prune25 out/budget
"""

from __future__ import annotations

import sys
from pathlib import Path

from absl import app
from tabulate import tabulate

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import Metrics
from edgeflex_tflite.recipe import MEGABYTE

HEADERS = ("run", "top-1 %", "drop, points", "file MB", "weights + arena MB", "of FP32")


def row(folder: Path) -> tuple[str, ...]:
    """One bundle: every figure is from its `metrics.json`."""
    metrics = files.read_json(folder / "metrics.json", Metrics)
    top1, drop = metrics.file.top1, metrics.drop_points
    return (
        folder.name,
        f"{top1.percent:.2f} ({top1.low_percent:.2f} to {top1.high_percent:.2f})",
        f"{drop:+.2f} ({metrics.drop_low_points:+.2f} to {metrics.drop_high_points:+.2f})",
        f"{metrics.memory.file_bytes / MEGABYTE:.2f}",
        f"{metrics.memory.total_bytes / MEGABYTE:.2f}",
        f"{metrics.memory.total_bytes / metrics.dense_memory.total_bytes:.1%}",
    )


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit(__doc__)
    print(
        tabulate(
            [row(Path(folder)) for folder in arguments[1:]], headers=HEADERS, tablefmt="github", disable_numparse=True
        )
    )


if __name__ == "__main__":
    app.run(main)
