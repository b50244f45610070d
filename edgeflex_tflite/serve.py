"""Serve a web bundle, with the headers that let its page use several threads.

    python -m edgeflex_tflite.serve edgeflex-out/web --port=8000

Browsers give threads and the camera only to pages from this machine or from https. On an Android phone,
`adb reverse tcp:8000 tcp:8000` makes http://localhost:8000 this server's. --host=0.0.0.0 opens it to the network, where
the page works too, with one thread and without the camera.
"""

from __future__ import annotations

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.bundle.description import DESCRIPTION_FILE
from edgeflex_tflite.errors import UserError

PAGE_FILE = "index.html"
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""The first two isolate the page, without which browsers give it no memory that threads share."""
TYPES = {
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".tflite": "application/octet-stream",
    ".wasm": "application/wasm",
}


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("host", "localhost", "Address to listen on; 0.0.0.0 for all of them.", flag_values=values)
    words = "Port to listen on; 0 for any that is free."
    flags.DEFINE_integer("port", 8000, words, lower_bound=0, upper_bound=65535, flag_values=values)


class Handler(SimpleHTTPRequestHandler):
    """Files of a folder, with the types and headers that the page needs."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, **TYPES}  # noqa: RUF012

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal keeps the address in sight."""


def open_server(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """A server of a web bundle, listening. Raises UserError for another folder, or an address not to be had."""
    if not all((folder / name).is_file() for name in (PAGE_FILE, DESCRIPTION_FILE)):
        inside = folder / "web"
        hint = f"did you mean {inside}?" if inside.is_dir() else "make one with convert --bundle=web"
        raise UserError(f"{folder} is not a web bundle ({PAGE_FILE} and {DESCRIPTION_FILE} are in one): {hint}")
    try:
        return ThreadingHTTPServer((host, port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}:{port} ({error.strerror}): give another --port (0 takes one that is free), or "
            "another --host"
        ) from error


def main(values: flags.FlagValues, rest: list[str]) -> None:
    if len(rest) != 1:
        raise UserError("give one folder, the web bundle of a run: edgeflex-out/web")
    with open_server(Path(rest[0]), values.host, values.port) as server:
        print(f"http://{values.host}:{server.server_port}/  (Ctrl-C ends it)", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", "the server has ended"))
