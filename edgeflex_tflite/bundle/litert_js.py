"""LiteRT.js for the web bundle: from npm, in the one version that `npm/package-lock.json` pins by its hash."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from edgeflex_tflite.errors import UserError

PINNED = Path(__file__).parent / "npm"
NPM = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1")
CORE, UTILITIES = "@litertjs/core", "@litertjs/wasm-utils"
RUNTIMES = ("litert_wasm_internal", "litert_wasm_threaded_internal", "litert_wasm_compat_internal")
"""With one thread, with several, and for browsers without relaxed SIMD."""
NEEDED = {
    f"{CORE}/dist/index.js": "core.js",
    f"{UTILITIES}/dist/index.js": "wasm-utils.js",
    **{f"{CORE}/wasm/{name}{suffix}": f"wasm/{name}{suffix}" for name in RUNTIMES for suffix in (".js", ".wasm")},
}
"""Path in `node_modules` -> path in the bundle's folder."""
NOISE = ("npm error code", "npm error syscall", "npm error errno")


def vendor(folder: Path) -> None:
    """Put the files of LiteRT.js that a page needs, and the lock file that names them, into `folder`, a new one.

    Raises:
        UserError: npm is missing, cannot reach its registry, or got other bytes than the lock file has hashes of.
    """
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(PINNED, temporary, dirs_exist_ok=True)
        _install(Path(temporary))
        for name, place in NEEDED.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(temporary, "node_modules", name), path)
    shutil.copyfile(PINNED / "package-lock.json", folder / "package-lock.json")


def check() -> None:
    """Raises UserError where `vendor` would; what it fetched stays in npm's cache, for the real call."""
    with tempfile.TemporaryDirectory() as folder:
        vendor(Path(folder))


def _install(folder: Path) -> None:
    if shutil.which(NPM[0]) is None:
        raise UserError(
            "npm is not installed, and the web bundle takes LiteRT.js from it: install Node.js (18 or newer) with npm, "
            "or leave web out of --bundle"
        )
    done = subprocess.run(NPM, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(
            f"npm could not fetch LiteRT.js ({_reason(done.stderr)}): the web bundle needs npm's registry, or a cache "
            "from an earlier time; see that it can be reached, or leave web out of --bundle"
        )


def _reason(said: str) -> str:
    """The first line of an npm error that is a sentence."""
    lines = [line for line in said.splitlines() if line.startswith("npm error") and not line.startswith(NOISE)]
    return lines[0].removeprefix("npm error ") if lines else said.strip() or "it said nothing"
