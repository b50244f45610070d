"""A file in Model Explorer, where that is installed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from edgeflex_tflite.errors import UserError


def model_explorer() -> ModuleType:
    """Model Explorer's package.

    Raises:
        UserError: It is not installed, or cannot be loaded.
    """
    try:
        import model_explorer as package
    except ImportError as error:
        raise UserError(
            f"--visualize opens the file in Model Explorer, which cannot be loaded ({error}): "
            "pip install ai-edge-model-explorer, or leave --visualize out"
        ) from error
    return package


def explore(model: Path) -> None:
    """Serve the file on this machine and open it in the browser, until Ctrl-C."""
    model_explorer().visualize(str(model))
