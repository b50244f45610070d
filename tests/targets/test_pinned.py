"""Downloads by address and hash, from a server of this machine."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.pinned import cache_folder, pinned_download

CONTENT = b"a program" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "tool").write_bytes(CONTENT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/tool"
        server.shutdown()
        thread.join()


def test_download_is_kept_and_not_repeated(served: str, tmp_path: Path) -> None:
    kept = pinned_download(served + "?v=1", SHA256.upper(), tmp_path / "cache" / "deep")
    assert kept.read_bytes() == CONTENT
    assert [path.name for path in kept.parent.iterdir()] == [f"{SHA256[:16]}-tool"]
    (tmp_path / "www" / "tool").unlink()
    assert pinned_download(served + "?v=1", SHA256, tmp_path / "cache" / "deep") == kept


def test_wrong_hash_keeps_nothing(served: str, tmp_path: Path) -> None:
    wrong = "0" * 64
    with pytest.raises(UserError, match=f"another file than was meant: its SHA-256 is {SHA256}, not {wrong}"):
        pinned_download(served, wrong, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_damaged_file_in_the_cache_is_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(CONTENT)
    kept = pinned_download((tmp_path / "tool").as_uri(), SHA256, tmp_path / "cache")
    kept.write_bytes(b"damaged")
    assert pinned_download((tmp_path / "tool").as_uri(), SHA256, tmp_path / "cache").read_bytes() == CONTENT


@pytest.mark.parametrize("url", ["/nothing", "gone://x/y", "no address"])
def test_what_cannot_be_loaded(served: str, tmp_path: Path, url: str) -> None:
    url = served + url if url.startswith("/") else url
    with pytest.raises(UserError, match="cannot be downloaded"):
        pinned_download(url, SHA256, tmp_path / "cache")


def test_a_folder_that_cannot_be_made(served: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be downloaded to"):
        pinned_download(served, SHA256, tmp_path / "file" / "cache")


def test_a_hash_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="64 hexadecimal digits"):
        pinned_download("http://127.0.0.1:1/x", "abc", tmp_path)


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgeflex_tflite"
