"""A whole compression of ViT-Huge on this machine: how long each stage takes, how much memory, and what comes out.

    python tools/measure_huge.py --data=test.tar --calibration_data=train.tar --trained_checkpoint=vit_small.safetensors

ViT-Huge gets random weights: size, time and speed do not ask what they are, and no accuracy is claimed. What such a
recipe costs a trained model is measured on a trained ViT-S. What is in the work folder already is not made again.
Writes vit_huge.md, vit_huge.json and vit_huge.svg.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.errors import UserError

KEPT = 0.5
"""Of the neurons of each MLP."""
RECIPE = ("--precision=int4_dynamic", f"--prune_ratio={1 - KEPT:g}", "--allocation=uniform", "--awq_tokens=512")
MERGED, MERGED_OF_TRAINED = 7, 1
"""Pairs of tokens that each block merges, of 257, and of the 26 of the trained model, in the files that merge any."""
SAMPLES = ("--calibration_samples=32", "--eval_samples=16", "--nobenchmark")
TRAINED_SAMPLES = ("--calibration_samples=256", "--mirror", "--nobenchmark")
SAMPLE_SECS = 1.0


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the tool is given, as `convert`'s flags.

    Attributes:
        model: timm name of the large model.
        data: flags of the images.
        trained: flags of the trained model.
    """

    model: str
    data: tuple[str, ...]
    trained: tuple[str, ...]


def define_flags(values: flags.FlagValues) -> None:
    text = lambda name, default, words: flags.DEFINE_string(name, default, words, flag_values=values)  # noqa: E731
    text("model", "vit_huge_patch14_224", "timm name of the model with random weights.")
    text("data", None, "Evaluation images, as convert takes them.")
    text("calibration_data", None, "Calibration images.")
    text("trained_model", "vit_small_patch14_dinov2", "timm name of a trained model.")
    text("trained_img_size", "70", "Its image size.")
    text("trained_checkpoint", None, "Its weights.")
    text("work_dir", "edgeflex-out/huge", "Where files are made.")
    text("output_dir", "docs", "Where the page, the figures and the plot go.")
    flags.DEFINE_integer("threads", 2, "Threads.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 5, "Turns of each file.", lower_bound=1, flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    for name in ("data", "calibration_data", "trained_checkpoint"):
        if values[name].value is None:
            raise UserError(f"--{name} is missing: give it as convert takes it")
    work, output = Path(values.work_dir), Path(values.output_dir)
    work.mkdir(parents=True, exist_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    threads = f"--num_threads={values.threads}"
    data = (f"--data={values.data}", f"--calibration_data={values.calibration_data}", threads)
    trained = (
        f"--model={values.trained_model}",
        f"--img_size={values.trained_img_size}",
        f"--checkpoint={values.trained_checkpoint}",
    )
    inputs = Inputs(values.model, data, trained)
    checkpoint, stock = work / "random.safetensors", work / "stock.tflite"
    _apart(random_weights, values.model, checkpoint)
    command = convert(inputs, checkpoint, work)
    convert_trained(inputs, work / "trained")
    convert_trained(inputs, work / "trained_merged", f"--merge_tokens={MERGED_OF_TRAINED}")
    _apart(stock_file, values.model, checkpoint, stock)
    files = {"INT4": work / "huge" / "model.tflite"}
    for name, precision, merged in (
        (f"INT4, {MERGED} pairs merged", "int4_dynamic", MERGED),
        ("INT8", "int8_dynamic", 0),
        (f"INT8, {MERGED} pairs merged", "int8_dynamic", MERGED),
    ):
        files[name] = work / f"{precision}_{merged}.tflite"
        _apart(untrained_file, values.model, checkpoint, precision, merged, files[name])
    from measure_huge_page import write

    _apart(measure, stock, files, values.threads, values.rounds, work / "benchmark.json")
    _apart(profile_blocks, values.model, values.threads, work / "operators.json")
    again = shlex.join(["python", "tools/measure_huge.py", *sys.argv[1:]])
    write(work, command, again, output)


def _apart(work: Callable[..., None], *arguments: Any) -> None:
    """Do it in a process of its own, which gives its memory back, unless the last argument, a path, is there."""
    if not arguments[-1].exists():
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{work.__name__} failed")


def random_weights(model: str, path: Path) -> None:
    """A checkpoint of a model with ten classes, float32."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = timm.create_model(model, num_classes=10).state_dict()
    unfinished = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, unfinished)
    unfinished.replace(path)


def stock_file(model: str, checkpoint: Path, path: Path) -> None:
    """What litert-torch makes of the same weights by itself."""
    import timm
    from stock_files import stock_float

    from edgeflex_tflite.artifacts import InputSpec

    dense = timm.create_model(model, num_classes=10, checkpoint_path=str(checkpoint))
    size = dense.patch_embed.img_size
    unfinished = path.with_suffix(".tmp")
    stock_float(dense, InputSpec("nchw", "normalized", (0.0,) * 3, (1.0,) * 3, *size), unfinished)
    unfinished.replace(path)


def untrained_file(model: str, checkpoint: Path, precision: str, merged: int, path: Path) -> None:
    """The same widths. Which neurons stay, and how weights are rounded, changes neither size nor speed."""
    import timm
    from untrained_files import write_untrained

    from edgeflex_tflite.artifacts import InputSpec
    from edgeflex_tflite.models.sites import compute_sites, weight_sites
    from edgeflex_tflite.models.translate import to_edge_form
    from edgeflex_tflite.prune.cut import with_widths
    from edgeflex_tflite.quantize.plan import plan_precision
    from edgeflex_tflite.recipe import Recipe

    dense = to_edge_form(timm.create_model(model, num_classes=10, checkpoint_path=str(checkpoint)))
    smaller = with_widths(dense, [round(KEPT * block.mlp.width) for block in dense.blocks])
    spec = InputSpec("nhwc", "0-255", (0.5,) * 3, (0.5,) * 3, *dense.img_size)
    plan = plan_precision(Recipe(precision=precision), weight_sites(smaller), compute_sites(smaller))
    write_untrained(smaller, spec, plan, path, threads=1, merged=merged)


def convert(inputs: Inputs, checkpoint: Path, work: Path) -> str:
    """Run the command on the large model, and watch its memory; returns the command."""
    model = (f"--model={inputs.model}", f"--checkpoint={checkpoint}")
    flags = (*model, *inputs.data, *SAMPLES, *RECIPE, f"--output_dir={work / 'huge'}", "--overwrite")
    if not (work / "huge" / "manifest.json").exists():
        watched = watch([sys.executable, "-m", "edgeflex_tflite.convert", *flags])
        (work / "memory.json").write_text(json.dumps(watched))
    return shlex.join(["python", "-m", "edgeflex_tflite.convert", *flags])


def convert_trained(inputs: Inputs, folder: Path, *more: str) -> None:
    """The same recipe on a trained model, evaluated on all images."""
    flags = (*inputs.trained, *inputs.data, *TRAINED_SAMPLES, *RECIPE, *more, f"--output_dir={folder}")
    if not (folder / "manifest.json").exists():
        subprocess.run([sys.executable, "-m", "edgeflex_tflite.convert", *flags, "--overwrite"], check=True)


def watch(command: Sequence[str]) -> list[tuple[float, int, int]]:
    """Run a command; seconds since its start, anonymous and file-backed resident bytes, about once a second."""
    import psutil

    samples: list[tuple[float, int, int]] = []
    start = time.monotonic()
    process = subprocess.Popen(command)
    done = threading.Event()

    def sample() -> None:
        watched = psutil.Process(process.pid)
        while not done.wait(SAMPLE_SECS):
            try:
                memory = watched.memory_info()
            except psutil.NoSuchProcess:
                return
            samples.append((time.monotonic() - start, memory.rss - memory.shared, memory.shared))

    thread = threading.Thread(target=sample)
    thread.start()
    code = process.wait()
    done.set()
    thread.join()
    if code:
        raise SystemExit(f"convert ended with exit code {code}")
    return samples


def profile_blocks(model: str, threads: int, path: Path) -> None:
    """Where the time of two blocks goes while they are cut, scaled and rounded: operators' shares of it."""
    import timm
    import torch

    from edgeflex_tflite import files
    from edgeflex_tflite.artifacts import BlockCut, Dtype, Grid, PrunePlan
    from edgeflex_tflite.models.sites import weight_sites
    from edgeflex_tflite.models.translate import to_edge_form
    from edgeflex_tflite.profiling.blocks import embed
    from edgeflex_tflite.prune.sweep import prune
    from edgeflex_tflite.quantize.awq import search
    from edgeflex_tflite.quantize.solve import per_token, round_weights
    from edgeflex_tflite.recipe import Recipe

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    dense = to_edge_form(timm.create_model(model, depth=2, num_classes=10).eval())
    images = torch.randn(32, 3, *dense.img_size).split(8)
    recipe = Recipe(precision="int4_dynamic", prune_ratio=1 - KEPT, allocation="uniform")
    widths = [block.mlp.width for block in dense.blocks]
    plan = PrunePlan(tuple(BlockCut(round(KEPT * width), width, None, None) for width in widths), 0, 0)
    integers = [site for site in weight_sites(dense) if site.startswith("blocks")]
    dtypes = {site: Dtype.INT4 if site in integers else Dtype.FP32 for site in weight_sites(dense)}
    all_threads = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    shares = {}
    for name in ("prune", "quantize"):
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU], experimental_config=all_threads
        ) as profiled:
            if name == "prune":
                dense, _ = prune(dense, embed(dense, images), plan, recipe)
            else:
                scaled, _ = search(dense, embed(dense, images), dict.fromkeys(integers, Grid(4)), True, 512)
                inputs = dict.fromkeys(integers, per_token)
                round_weights(scaled, embed(scaled, images), dtypes, recipe, inputs)
        found = {each.key: each.self_cpu_time_total for each in profiled.key_averages()}
        shares[name] = {key: time / sum(found.values()) for key, time in found.items()}
    files.write_object(path, shares, indent=1)


def measure(stock: Path, ours: Mapping[str, Path], threads: int, rounds: int, path: Path) -> None:
    """All files in turn; ours also as they start with XNNPACK's weight cache."""
    from tqdm import tqdm

    from edgeflex_tflite import files
    from edgeflex_tflite.targets import host
    from edgeflex_tflite.targets.config import Protocol, RuntimeConfig
    from edgeflex_tflite.targets.results import Results

    config = RuntimeConfig(num_threads=threads)
    compiled = dataclasses.replace(config, api="compiled_model")
    cases = [host.Case(str(stock), config, title="litert-torch FP32")]
    for name, file in ours.items():
        cases.append(host.Case(str(file), config, title=f"ours, {name}"))
        caches = path.with_name(f"{name}.caches")
        caches.mkdir(exist_ok=True)
        _, *cached = host.weight_cache_cases([str(file)], compiled, caches)
        cases += [dataclasses.replace(case, title=f"ours, {name}") for case in cached]
    protocol = Protocol(warmup_runs=1, min_runs=rounds * 2, min_secs=1.0, rounds=rounds)
    with tqdm(total=host.steps(cases, protocol), desc="turns") as bar:
        found = host.measure(cases, protocol, done=bar.update)
    for name in ours:
        shutil.rmtree(path.with_name(f"{name}.caches"))
    files.write_json(path, Results.now("", protocol, found.measurements, found.ratios))


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or "", "what is finished is not made again"))
