"""Runtimes of others, each in a process and an environment of its own, asked over pipes."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.measurement import Memory
from edgeflex_tflite.targets.session import Round, Start

HERE = Path(__file__).parent
WORKER = HERE / "peer_worker.py"


@dataclasses.dataclass(frozen=True)
class Peer:
    """One way of running a model without this project.

    Attributes:
        name: in tables.
        environment: of `peer_requirements/`; None: this project's own.
        format, suffix: what is made of the torch model.
        runtime: what runs it.
    """

    name: str
    environment: str | None
    format: str
    suffix: str
    runtime: str


PEERS = (
    Peer("torch eager", None, "torch", ".none", "torch"),
    Peer("torch.compile", None, "torch", ".none", "torch_compile"),
    Peer("ONNX Runtime FP32", "onnx", "onnx", ".onnx", "onnxruntime"),
    Peer("ONNX Runtime dynamic INT8", "onnx", "onnx_int8", ".onnx", "onnxruntime"),
    Peer("OpenVINO FP32", "onnx", "openvino", ".xml", "openvino"),
    Peer("OpenVINO NNCF INT8", "onnx", "openvino_int8", ".xml", "openvino"),
    Peer("ExecuTorch XNNPACK FP32", "executorch", "executorch", ".pte", "executorch"),
    Peer("ExecuTorch XNNPACK INT8", "executorch", "executorch_int8", ".pte", "executorch"),
)


def python_of(environment: str | None, folder: Path) -> str:
    """The interpreter of an environment, which is made first where it is missing.

    Raises:
        UserError: pip could not install what it asks for.
    """
    if environment is None:
        return sys.executable
    home = folder / environment
    if not (home / "ready").exists():
        print(f"making {home}: several GB, some minutes", flush=True)
        requirements = HERE / "peer_requirements" / f"{environment}.txt"
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--requirement", str(requirements)]
        if subprocess.run(pip, check=False).returncode:
            raise UserError(f"{requirements} could not be installed into {home}: see pip's words above")
        (home / "ready").touch()
    return str(home / "bin" / "python")


def make(peer: Peer, python: str, described: Path, folder: Path) -> Path:
    """What the peer's runtime loads; made once in a folder.

    Raises:
        UserError: the peer's own tools failed; says what they said last.
    """
    path = folder / f"{peer.format}{peer.suffix}"
    if path.exists() or peer.format == "torch":
        return path
    unfinished = folder / f"unfinished-{peer.format}{peer.suffix}"
    arguments = [python, str(WORKER), "make", peer.format, str(described), str(unfinished)]
    process = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if process.returncode:
        raise UserError(f"{peer.name}: {_last_line(process.stderr)}")
    weights = unfinished.with_suffix(".bin")  # OpenVINO's second file
    if weights.exists():
        weights.replace(path.with_suffix(".bin"))
    unfinished.replace(path)
    return path


def file_bytes(path: Path) -> int | None:
    """Of all files that the runtime loads; None where that is torch's own checkpoint."""
    if not path.exists():
        return None
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if path.suffix == ".xml" else 0)


class PeerProcess:
    """Like `edgeflex_tflite.targets.apart.Apart`, of a peer's runtime.

    Raises (from every call):
        UserError: the process died; says what it said last.
    """

    def __init__(self, peer: Peer, python: str, described: Path, path: Path, threads: int) -> None:
        self._peer, self.version = peer, ""
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        self._process = subprocess.Popen(
            [python, str(WORKER), "serve", peer.runtime, str(described), str(path), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def start(self) -> Start:
        """Load the model and run it once."""
        found = self._ask("start")
        self.version = found["version"]
        hidden = NotMeasured("this runtime does not show it")
        memory = Memory(hidden, hidden, found["peak_bytes"], found["anonymous_bytes"], found["file_bytes"])
        return Start(found["startup_ms"], found["first_ms"], memory)

    def run(self, min_runs: int, min_secs: float) -> Round:
        """Run at least so often and so long."""
        found = self._ask("run", runs=min_runs, secs=min_secs)
        return Round(tuple(found["samples_ms"]), found["preemptions"])

    def logits(self, images: Path, logits: Path) -> None:
        """Write the logits of images in an array file, in the same order."""
        self._ask("logits", images=str(images), logits=str(logits))

    def _ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps({"do": what, **arguments}), file=self._process.stdin, flush=True)
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._said.seek(0)
            raise UserError(f"{self._peer.name}: {_last_line(self._said.read())}")
        found: dict[str, Any] = json.loads(answer)
        return found


def _last_line(said: str) -> str:
    return (said.strip().splitlines() or ["it died and said nothing"])[-1]
