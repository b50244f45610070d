"""A web bundle is served with the types and headers that its page needs; what is no such folder is told."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from edgeflex_tflite import cli, serve
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.serve import open_server
from tests.command import environment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "vendor").mkdir(parents=True)
    for name in ("index.html", "edgeflex.json", "app.js", "style.css", "model.tflite", "vendor/run.wasm"):
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    with open_server(folder, "localhost", 0) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


def get(address: str) -> tuple[Message, bytes]:
    with urllib.request.urlopen(address) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("", "text/html; charset=utf-8"),
        ("app.js", "text/javascript"),
        ("style.css", "text/css"),
        ("edgeflex.json", "application/json"),
        ("model.tflite", "application/octet-stream"),
        ("vendor/run.wasm", "application/wasm"),
    ],
)
def test_a_file_has_its_type_and_isolates_the_page(address: str, name: str, kind: str) -> None:
    headers, content = get(f"{address}/{name}")
    assert content.decode() == (name or "index.html")
    assert headers["Content-Type"] == kind
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_nothing_outside_of_the_folder_is_served(address: str, folder: Path) -> None:
    (folder.parent / "secret").write_text("")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(f"{address}/../secret")


def test_the_folder_around_a_bundle_is_refused_with_a_hint(folder: Path) -> None:
    with pytest.raises(UserError, match=rf"did you mean {folder}\?"):
        open_server(folder.parent, "localhost", 0)
    with pytest.raises(UserError, match="make one with convert --bundle=web"):
        open_server(folder / "vendor", "localhost", 0)


@pytest.mark.parametrize("host", ["localhost", "no.such.host.invalid"])
def test_an_address_that_is_not_to_be_had_is_one_line(
    folder: Path, host: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(sys, "argv", ["serve", str(folder), f"--host={host}", f"--port={port}"])
        assert cli.run(serve.main, serve.define_flags, "") == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert err.startswith(f"error: cannot listen on {host}:{port} (")
    assert err.count("\n") == 1


def test_the_command_says_where_and_ends_quietly_on_ctrl_c(folder: Path) -> None:
    command = [sys.executable, "-m", "edgeflex_tflite.serve", str(folder), "--port=0"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=environment(),
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - background jobs ignore it
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said.startswith("http://localhost:")
        _, content = get(said.split()[0])
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert content == b"index.html"
    assert (process.returncode, err) == (cli.INTERRUPTED, "interrupted: the server has ended\n")
