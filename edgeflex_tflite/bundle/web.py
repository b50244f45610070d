"""The web bundle: a static folder with a page that runs the model in any current browser."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeflex_tflite.bundle import litert_js
from edgeflex_tflite.bundle.assets import write_assets
from edgeflex_tflite.errors import UserError

PAGE = Path(__file__).parent / "page"


def write_web(output: Path, folder: Path) -> None:
    """Write the web bundle of a run's output folder into `folder`, a new one. Raises UserError as `vendor` does."""
    write_assets(output, folder)
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    litert_js.vendor(folder / "vendor")


def check_takes(dtype: str) -> None:
    """Raises UserError for a model whose input LiteRT.js refuses."""
    if dtype != "float32":
        raise UserError(
            f"the model takes {dtype}, which LiteRT.js refuses, so that there can be no web bundle of it: convert with "
            "--precision=mixed or int8_static, whose inputs are floats, or leave web out of --bundle"
        )
