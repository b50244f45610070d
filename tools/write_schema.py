"""Write the JSON Schemas in docs/: of what `benchmark --result_json` leaves, and of a bundle's `edgeflex.json`.

python tools/write_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from absl import app

from edgeflex_tflite.bundle import description
from edgeflex_tflite.targets import results

DOCS = Path(__file__).parents[1] / "docs"
SCHEMAS = {"benchmark.schema.json": results.schema, "bundle.schema.json": description.schema}


def main(_: list[str]) -> None:
    for name, schema in SCHEMAS.items():
        (DOCS / name).write_text(json.dumps(schema(), indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
