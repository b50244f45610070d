"""Run a compressed model on emulated Arm processors: the same answers as here, and how many instructions it takes.

    python -m tools.arm_check out/mixed --fp32=out/fp32/model.tflite --data=cifar10/test.tar \\
        --plugin=qemu/build/tests/tcg/plugins/libinsn.so --sysroot=arm64

The output folder of a run is given. qemu-aarch64 runs an aarch64 Python with ai-edge-litert, so the real Arm kernels
run. Seconds of an emulator mean nothing; instructions repeat: those of a run with two images, less those of one with a
single image, are the instructions of an inference. docs/arm.md says how to get the parts.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.analysis.tool import find_tool, run_tool
from edgeflex_tflite.errors import UserError, VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CPUS = ("cortex-a72", "cortex-a76", "cortex-a710")
"""Without dot products, with dotprod, with i8mm."""
TIMEOUT_S = 3600.0
WORKER = Path(__file__).with_name("arm_worker.py")


@dataclasses.dataclass(frozen=True)
class Emulator:
    """What runs Arm programs here.

    Attributes:
        qemu: the qemu-aarch64 executable.
        plugin: qemu's libinsn plugin, which counts instructions.
        sysroot: folder with the files of an aarch64 Linux.
        python: the interpreter in it, which has numpy and ai-edge-litert.
    """

    qemu: str
    plugin: Path
    sysroot: Path
    python: Path

    def run(self, cpu: str, *arguments: str | Path, log: Path | None = None) -> str:
        """What the program prints. With `log`, the plugin counts, and qemu writes there.

        Raises:
            UserError: the program does not end well.
        """
        counting = [] if log is None else ["-plugin", self.plugin, "-d", "plugin", "-D", log]
        command = [self.qemu, "-cpu", cpu, "-L", self.sysroot, "-E", "PYTHONHASHSEED=0", *counting, self.python]
        done = run_tool([*command, *arguments], Path.cwd(), TIMEOUT_S)
        if done.code != 0:
            raise UserError(f"{self.python} under {self.qemu} -cpu {cpu} fails ({done.ending}): {done.last_line}")
        return done.output

    def classes(self, cpu: str, model: Path, images: Path, count: int) -> list[int]:
        """The class that the file names for each image."""
        return json.loads(self.run(cpu, WORKER, model, images, str(count)).splitlines()[-1])

    def instructions(self, cpu: str, model: Path, images: Path) -> int:
        """Of one inference."""
        totals = []
        with tempfile.TemporaryDirectory() as folder:
            for count in (1, 2):
                log = Path(folder, "insns")
                self.run(cpu, WORKER, model, images, str(count), log=log)
                totals.append(read_total(log.read_text() if log.is_file() else ""))
        return totals[1] - totals[0]


@dataclasses.dataclass(frozen=True)
class OnArm:
    """A file on one processor.

    Attributes:
        same: images that get the same class as on this machine, of `images`.
        instructions: of one inference.
        fp32_instructions: of one inference of the FP32 file; None where none was given.
    """

    cpu: str
    same: int
    images: int
    instructions: int
    fp32_instructions: int | None


def read_total(log: str) -> int:
    """The instructions of all processors, as libinsn writes them. Raises UserError where they are not there."""
    found = re.findall(r"^total insns: (\d+)$", log, flags=re.MULTILINE)
    if not found:
        raise UserError(
            "the plugin counted nothing (`total insns:` is not in qemu's log): give libinsn.so of this qemu"
        )
    return int(found[-1])


def define_flags(values: flags.FlagValues) -> None:
    def text(name: str, default: str | None, words: str) -> None:
        flags.DEFINE_string(name, default, words, flag_values=values)

    text("fp32", None, "The FP32 file of the same model, whose instructions are the measure. Default: none.")
    text("data", None, "Images, as convert takes them, with the model's own preparation.")
    text("data_split", "validation", "Split of --data, where it has splits.")
    flags.DEFINE_integer("images", 20, "How many of them.", lower_bound=2, flag_values=values)
    flags.DEFINE_list("cpus", list(CPUS), "Processors that qemu knows.", flag_values=values)
    text("qemu", None, "The qemu-aarch64 executable. Default: the one on PATH.")
    text("plugin", None, "libinsn.so, which is built with qemu.")
    text("sysroot", None, "Folder of an aarch64 Linux that has Python with numpy and ai-edge-litert.")
    text("python", "usr/bin/python3", "That Python, in the sysroot.")


def main(values: flags.FlagValues, rest: list[str]) -> None:
    if len(rest) != 1:
        raise UserError("give one output folder of convert")
    emulator = open_emulator(values)
    files = _files(Path(rest[0]), values.fp32)
    if values.data is None:
        raise UserError("--data is missing: give images (a folder or tar of class folders, an .npz, demo/test, ...)")
    for cpu in values.cpus:
        _check_emulator(emulator, cpu)

    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.npy")
        inputs, expected = prepare(Path(rest[0]), values.data, values.data_split, values.images)
        np.save(images, inputs)
        found = [check(emulator, cpu, files, images, expected) for cpu in values.cpus]
    print(table(found))
    if any(each.same < each.images for each in found):
        raise VerificationError("an emulated Arm processor names other classes than this machine")


def open_emulator(values: flags.FlagValues) -> Emulator:
    """All parts of the emulator. Raises UserError for the first that is missing."""
    qemu = find_tool("qemu-aarch64", values.qemu)
    if qemu is None:
        raise UserError("qemu-aarch64 is not on PATH: install qemu-user 10.0 or newer, or name it by --qemu")
    if values.plugin is None or not Path(values.plugin).is_file():
        raise UserError(f"--plugin is {values.plugin!r}: give libinsn.so, built with this qemu; docs/arm.md says how")
    if values.sysroot is None or not Path(values.sysroot).is_dir():
        raise UserError(f"--sysroot is {values.sysroot!r}: give the folder of an aarch64 Linux; docs/arm.md says how")
    sysroot = Path(values.sysroot).absolute()
    python = sysroot / values.python
    if not os.path.lexists(python):
        raise UserError(f"there is no {python}: install Python in the sysroot, or name it by --python")
    return Emulator(qemu, Path(values.plugin).absolute(), sysroot, python)


def _files(output: Path, fp32: str | None) -> tuple[Path, Path | None]:
    from edgeflex_tflite.bundle.layout import MODEL_FILE, PREPROCESSING_FILE

    for name in (MODEL_FILE, PREPROCESSING_FILE):
        if not (output / name).is_file():
            raise UserError(f"{output} has no {name}: give the --output_dir of a run of convert that ended well")
    if fp32 is not None and not Path(fp32).is_file():
        raise UserError(f"there is no file {fp32}: convert the model with --precision=fp32, and give its model.tflite")
    return (output / MODEL_FILE).absolute(), None if fp32 is None else Path(fp32).absolute()


def _check_emulator(emulator: Emulator, cpu: str) -> None:
    """Raises UserError where the processor, the plugin or a package is missing, before anything long."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "insns")
        emulator.run(cpu, "-c", "import numpy, ai_edge_litert.interpreter", log=log)
        read_total(log.read_text() if log.is_file() else "")


def prepare(output: Path, data: str, split: str, count: int) -> tuple[NDArray, list[int]]:
    """Images as the file takes them, `[count, *input shape]`, and the class that it names for each on this machine."""
    import numpy as np

    from edgeflex_tflite.artifacts import InputSpec
    from edgeflex_tflite.bundle.layout import MODEL_FILE, PREPROCESSING_FILE
    from edgeflex_tflite.data import Preprocessing, draw_evaluation, open_source
    from edgeflex_tflite.verify.runner import FileRunner

    told = json.loads((output / PREPROCESSING_FILE).read_text())
    prepared = Preprocessing.from_json(told["resize"] | told["normalization"])
    size = prepared.height, prepared.width
    spec = InputSpec(told["input_layout"], told["input_range"], prepared.mean, prepared.std, *size)
    runner = FileRunner(output / MODEL_FILE, spec, threads=1)
    drawn = draw_evaluation(open_source(data, split), prepared, frozenset(), count, seed=0)
    pixels: list[NDArray[np.uint8]] = [image for batch, _ in drawn for image in batch.numpy()]
    return np.stack([runner.tensor(image) for image in pixels]), [int(runner(image).argmax()) for image in pixels]


def check(emulator: Emulator, cpu: str, files: tuple[Path, Path | None], images: Path, expected: list[int]) -> OnArm:
    """The file on one processor, beside the FP32 one."""
    model, fp32 = files
    named = emulator.classes(cpu, model, images, len(expected))
    same = sum(one == other for one, other in zip(named, expected, strict=True))
    count = emulator.instructions(cpu, model, images)
    return OnArm(cpu, same, len(expected), count, fp32 and emulator.instructions(cpu, fp32, images))


def table(found: list[OnArm]) -> str:
    """One row for each processor; instructions in millions."""
    from tabulate import tabulate

    rows = [
        (
            each.cpu,
            f"{each.same} of {each.images}",
            f"{each.instructions / 1e6:.1f}",
            "-" if each.fp32_instructions is None else f"{each.fp32_instructions / 1e6:.1f}",
            "-" if each.fp32_instructions is None else f"{each.instructions / each.fp32_instructions:.2f}",
        )
        for each in found
    ]
    header = ("processor", "same class as here", "million instructions", "of the FP32 file", "share")
    return tabulate(rows, headers=header)


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
