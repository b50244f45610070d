"""Finished stages on disk: nothing is done twice with `resume`, and a run that was killed gives the same file.

Every stage writes files into a folder of its own, under a temporary name until it is whole. What comes after always
reads those files, whether the stage ran just now or in a run before, so both give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeflex_tflite import files
from edgeflex_tflite.artifacts import StageRecord
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.targets.process_memory import resident

RUN_FILE = "run.json"


class StageStore:
    """The folder of a run in progress, beside the output folder.

    Attributes:
        folder: of the stages.
        report: is told of each stage, and whether a run before finished it.
        records: of all stages so far, in order.
    """

    def __init__(self, folder: Path, report: Callable[[StageRecord, bool], None]) -> None:
        self.folder = folder
        self.report = report
        self.records: list[StageRecord] = []

    def open(self, fingerprint: dict[str, Any], resume: bool) -> None:
        """Begin a run, or go on with the one that stopped.

        Raises:
            UserError: with `resume`, the run that stopped was another one.
        """
        run_file = self.folder / RUN_FILE
        if resume and run_file.is_file():
            before = json.loads(run_file.read_text())
            now = json.loads(json.dumps(fingerprint))
            different = sorted(key for key in before | now if before.get(key) != now.get(key))
            if different:
                raise UserError(
                    f"the unfinished run in {self.folder} had another {', '.join(different)}: "
                    "give --overwrite instead of --resume to start anew"
                )
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        unfinished = run_file.with_suffix(".tmp")
        unfinished.write_text(json.dumps(fingerprint, indent=2))
        unfinished.replace(run_file)

    def run(self, name: str, work: Callable[[Path], str]) -> Path:
        """Do a stage unless it is finished.

        Args:
            name: of the stage and its folder.
            work: writes all that the stage makes into the folder that it is given, and returns a line about it.

        Returns:
            The finished folder.
        """
        done, unfinished = self.folder / name, self.folder / f"{name}.tmp"
        said = self.folder / f"{name}.json"
        if done.is_dir():
            self._note(files.read_json(said, StageRecord), resumed=True)
            return done
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        start = time.monotonic()
        summary = work(unfinished)
        memory = resident()
        record = StageRecord(name, time.monotonic() - start, None if memory is None else memory.peak_bytes, summary)
        files.write_json(said, record)
        unfinished.replace(done)
        shutil.rmtree(self.kept(name), ignore_errors=True)
        self._note(record, resumed=False)
        return done

    def kept(self, name: str) -> Path:
        """A folder for what a stage of that name has finished of its work; gone when the stage is done."""
        return self.folder / f"{name}.kept"

    def _note(self, record: StageRecord, resumed: bool) -> None:
        self.records.append(record)
        self.report(record, resumed)

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
