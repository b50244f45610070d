"""Write docs/benchmark.schema.json, the JSON Schema of what `benchmark --result_json` leaves.

python tools/write_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import app

from edgeflex_tflite.targets.results import schema

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmark.schema.json"


def main(_: list[str]) -> None:
    DOCUMENT.write_text(json.dumps(schema(), indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
