"""All runtimes of one model: their memory, their latency in turn, their answers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import peers
import runtime_files as made
import torch
from compare_runtimes_page import Row
from numpy.typing import NDArray
from safetensors.torch import save_file
from tqdm import tqdm

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.files import sha256_of_file
from edgeflex_tflite.lower.predict import memory_cost
from edgeflex_tflite.run import Run
from edgeflex_tflite.targets import protocol as timing
from edgeflex_tflite.targets.apart import Apart
from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
from edgeflex_tflite.targets.runtimes import runtime_name
from edgeflex_tflite.verify.runner import FileRunner


class Contest:
    """What takes part with one model.

    Args:
        run: gives model, weights and images.
        folder: of the model's files.
        tflite: files by the names of their rows.
        pythons: the interpreter that each peer is run by.
        threads: of every runtime.
    """

    def __init__(
        self, run: Run, folder: Path, tflite: Mapping[str, Path], pythons: Mapping[peers.Peer, str], threads: int
    ) -> None:
        self._run, self._folder, self._tflite, self._threads = run, folder, tflite, threads
        self._pythons = {peer.name: python for peer, python in pythons.items()}
        self._peers = {peer.name: peer for peer in pythons}
        self._described = self._describe()

    def rows(self, protocol: Protocol) -> list[Row]:
        """Memory of each in a process where nothing else happens, then latency of all in turn."""
        found: dict[str, Row] = {}
        with contextlib.ExitStack() as stack:
            sessions: dict[str, Any] = {}
            for name in tqdm([*self._peers, *self._tflite], desc=f"{self._folder.name}: starts"):
                try:
                    found[name] = self._started(name)
                    sessions[name] = stack.enter_context(self._session(name))
                    sessions[name].start()
                except UserError as error:
                    found[name] = Row(name, reason=str(error))
                    sessions.pop(name, None)
            with tqdm(desc=f"{self._folder.name}: turns", total=len(sessions) * protocol.rounds) as bar:
                rounds = timing.in_turn(list(sessions.values()), protocol, lambda: bar.update() and None)
        for name, kept in zip(sessions, rounds, strict=True):
            found[name] = dataclasses.replace(found[name], rounds_ms=tuple(one.samples_ms for one in kept))
        return list(found.values())

    def evaluated(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, with which of the evaluation images each names right."""
        pixels, labels = (torch.cat(parts).numpy() for parts in zip(*self._run.data.evaluation, strict=True))
        found = []
        for row in tqdm(rows, desc=f"{self._folder.name}: accuracy"):
            hits = None
            if row.reason is None:
                right = self._logits(row.name, pixels).argmax(1) == labels
                hits = "".join("01"[int(hit)] for hit in right)
            found.append(dataclasses.replace(row, hits=hits))
        return found

    def _started(self, name: str) -> Row:
        path = self._path(name)
        with self._session(name) as session:
            peak = session.start().memory.process_peak_bytes
            runtime = session.version if name in self._peers else runtime_name(RuntimeConfig())
        return Row(
            name,
            peers.file_bytes(path),
            memory_cost(path).arena_bytes if name in self._tflite else None,
            runtime,
            None if isinstance(peak, NotMeasured) else peak,
        )

    def _path(self, name: str) -> Path:
        """What the runtime loads."""
        if name in self._tflite:
            return self._tflite[name]
        return peers.make(self._peers[name], self._pythons[name], self._described, self._folder)

    def _session(self, name: str) -> Any:
        path = self._path(name)
        if name in self._tflite:
            return Apart(str(path), RuntimeConfig(num_threads=self._threads), 0)
        return peers.PeerProcess(self._peers[name], self._pythons[name], self._described, path, self._threads)

    def _logits(self, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Of all images, `[images, classes]`; kept in the folder by the hash of the file and of the images."""
        path, images = self._path(name), self._run.data.evaluation.fingerprint[:16]
        weights = path if path.exists() else self._folder / "weights.safetensors"
        kept = self._folder / f"logits-{name.replace(' ', '-')}-{sha256_of_file(weights)[:16]}-{images}.npy"
        unfinished = kept.with_suffix(".unfinished.npy")
        if kept.exists():
            return np.load(kept)  # type: ignore[no-any-return]
        if name in self._tflite:
            spec = made.stock_spec(self._run) if name in made.STOCK else self._run.spec
            np.save(unfinished, np.stack(list(map(FileRunner(path, spec, self._threads), pixels))))
        else:
            inputs = self._folder / f"evaluation-{images}.npy"
            if not inputs.exists():
                np.save(inputs, made.normalized(self._run, torch.from_numpy(pixels)))
            with self._session(name) as session:
                session.start()
                session.logits(inputs, unfinished)
        unfinished.replace(kept)
        return np.load(kept)  # type: ignore[no-any-return]

    def _describe(self) -> Path:
        """What the peers' workers read: which model, its weights, calibration images."""
        weights, images = self._folder / "weights.safetensors", self._folder / "calibration.npy"
        save_file({name: tensor.contiguous() for name, tensor in self._run.source.state_dict().items()}, weights)
        np.save(images, made.normalized(self._run, self._run.data.calibration.pixels))
        size = list(self._run.dense.img_size)
        content = {
            "model": self._run.source.pretrained_cfg["architecture"],
            "options": {"num_classes": self._run.dense.head.out_features, "img_size": size},
            "weights": str(weights),
            "size": size,
            "calibration": str(images),
        }
        path = self._folder / "model.json"
        path.write_text(json.dumps(content))
        return path
