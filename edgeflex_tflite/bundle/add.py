"""Bundles for places where a model runs, inside the output folder of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeflex_tflite import files
from edgeflex_tflite.bundle import litert_js
from edgeflex_tflite.bundle.assets import NEEDED, model_input, write_assets
from edgeflex_tflite.bundle.layout import MANIFEST_FILE
from edgeflex_tflite.bundle.manifest import hashes
from edgeflex_tflite.bundle.web import check_takes, write_web
from edgeflex_tflite.errors import UserError

WRITERS: dict[str, Callable[[Path, Path], None]] = {"web": write_web, "android": write_assets}
"""Each writes a bundle of an output folder into a folder that is new."""


def check_bundles(kinds: Sequence[str], input_dtype: str) -> None:
    """Whether bundles can be made of a model with such an input, before there is one.

    Raises:
        UserError: the model cannot run there, or what the bundle is made with is missing.
    """
    if "web" in kinds:
        check_takes(input_dtype)
        litert_js.check()


def add_bundles(output: Path, kinds: Sequence[str]) -> list[Path]:
    """Write bundles into the output folder of a run, in place of older ones, and their hashes into its manifest.

    Returns:
        The folders of the bundles.

    Raises:
        UserError: this is no such folder, or not as the run left it; the model cannot run there; or what the bundle is
            made with is missing. Nothing of the folder has changed.
    """
    manifest = _manifest(output)
    _check_files(output, manifest["files"], kinds)
    if "web" in kinds:
        check_takes(model_input(output).dtype)
    unfinished = {kind: output / f"{kind}.tmp" for kind in kinds}
    try:
        for kind, folder in unfinished.items():
            shutil.rmtree(folder, ignore_errors=True)
            WRITERS[kind](output, folder)
        for kind, folder in unfinished.items():
            files.replace_folder(folder, output / kind)
    except OSError as error:
        raise UserError(
            f"{output} cannot be written to ({error.strerror}): see to its permissions and space"
        ) from error
    finally:
        for folder in unfinished.values():
            shutil.rmtree(folder, ignore_errors=True)
    kept = {name: digest for name, digest in manifest["files"].items() if _top(name) not in kinds}
    added = {f"{kind}/{name}": digest for kind in kinds for name, digest in hashes(output / kind).items()}
    manifest["files"] = dict(sorted((kept | added).items()))
    files.write_object(output / MANIFEST_FILE, manifest)
    return [output / kind for kind in kinds]


def _manifest(output: Path) -> dict[str, Any]:
    """The manifest, after checking that it is one of `convert`."""
    try:
        manifest = json.loads((output / MANIFEST_FILE).read_bytes())
        complete = set(NEEDED) <= set(manifest["files"]) and "model" in manifest["origin"]
    except (OSError, ValueError, KeyError, TypeError):
        complete = False
    if not complete:
        raise UserError(
            f"{output} is not an output folder of convert (its {MANIFEST_FILE} is missing or another's): give the "
            "--output_dir of a run that ended well"
        )
    return manifest


def _check_files(output: Path, expected: dict[str, str], replaced: Sequence[str]) -> None:
    """Raises UserError for a file that is not as the manifest says, apart from bundles that are replaced."""
    for name, digest in expected.items():
        path = output / name
        if _top(name) not in replaced and not (path.is_file() and files.sha256_of_file(path) == digest):
            problem = "has changed since the run" if path.exists() else "is missing"
            raise UserError(f"{path} {problem}: make the folder again with the command in its {MANIFEST_FILE}")


def _top(name: str) -> str:
    return Path(name).parts[0]
