"""LiteRT.js comes from npm by its lock file; what stands in the way is told. npm itself is stood in for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflex_tflite.bundle.litert_js import CORE, NEEDED, PINNED, vendor
from edgeflex_tflite.errors import UserError

INSTALLS = f"""
for file in {" ".join(NEEDED)}; do
    mkdir -p "node_modules/$(dirname "$file")"
    echo "$file" > "node_modules/$file"
done
echo unwanted > node_modules/{CORE}/README.md
"""
UNREACHABLE = """
echo 'npm warn Unknown user config' >&2
echo 'npm error code ENOTFOUND' >&2
echo 'npm error syscall getaddrinfo' >&2
echo 'npm error errno ENOTFOUND' >&2
echo 'npm error network request to https://registry.npmjs.org/ failed' >&2
echo 'npm error network This is a problem related to network connectivity.' >&2
exit 1
"""
OTHER_BYTES = """
echo 'npm error code EINTEGRITY' >&2
echo 'npm error Integrity checksum failed when using sha512' >&2
exit 1
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first folder of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def stand_in(path: Path, script: str) -> None:
    npm = path / "npm"
    npm.write_text(f"#!/bin/sh\nset -e\n{script}")
    npm.chmod(0o755)


def test_only_what_a_page_needs_is_taken_over(path: Path, tmp_path: Path) -> None:
    stand_in(path, INSTALLS)
    vendor(tmp_path / "vendor")
    written = {file.relative_to(tmp_path / "vendor").as_posix() for file in (tmp_path / "vendor").rglob("*.*")}
    assert written == {*NEEDED.values(), "package-lock.json"}
    assert (tmp_path / "vendor" / "core.js").read_text() == f"{CORE}/dist/index.js\n"


def test_npm_installs_what_the_lock_file_says_and_runs_no_script_of_it(path: Path, tmp_path: Path) -> None:
    stand_in(path, f'echo "$@" > {tmp_path}/arguments\ncp package-lock.json {tmp_path}/lock\n{INSTALLS}')
    vendor(tmp_path / "vendor")
    assert (tmp_path / "arguments").read_text().startswith("ci --ignore-scripts ")
    assert (tmp_path / "lock").read_bytes() == (PINNED / "package-lock.json").read_bytes()


def test_every_package_of_the_lock_file_has_a_hash() -> None:
    packages = json.loads((PINNED / "package-lock.json").read_text())["packages"]
    named = {name: package for name, package in packages.items() if name}
    assert len(named) == 2
    assert all(package["integrity"].startswith("sha512-") for package in named.values())
    wanted = json.loads((PINNED / "package.json").read_text())["dependencies"]
    assert wanted == {CORE: named[f"node_modules/{CORE}"]["version"]}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (UNREACHABLE, r"\(network request to https://registry.npmjs.org/ failed\).*see that it can be reached"),
        (OTHER_BYTES, r"\(Integrity checksum failed when using sha512\)"),
        ("exit 1", r"\(it said nothing\)"),
    ],
)
def test_what_npm_could_not_do_is_told(path: Path, tmp_path: Path, script: str, said: str) -> None:
    stand_in(path, script)
    with pytest.raises(UserError, match=said):
        vendor(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_a_missing_npm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm is not installed.*install Node\.js"):
        vendor(tmp_path / "vendor")
