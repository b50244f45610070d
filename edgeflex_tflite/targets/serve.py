"""The other end of `Apart`: `python -m edgeflex_tflite.targets.serve FD` answers calls that come through a pipe."""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection

from edgeflex_tflite.targets.session import Session


def serve(pipe: Connection) -> None:
    """Make the session that the first message describes, and answer calls until the other end is closed."""
    session = Session(*pipe.recv())
    while True:
        try:
            name, arguments = pipe.recv()
        except EOFError:
            return
        try:
            result = getattr(session, name)(*arguments)
        except Exception as error:
            result = error
        pipe.send(result)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    serve(Connection(int(sys.argv[1])))
