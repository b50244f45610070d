"""What each exact rewrite brings: the same model with all of them, and with one left out at a time.

    python tools/measure_rewrites.py --output_dir=docs

Operators, multiply-accumulates, the arena and the difference to timm's own answer depend on no machine. Norms get
random scales and shifts, or there would be nothing to fold. Writes rewrites.md.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from edgeflex_tflite import cli
from edgeflex_tflite.rewrites import ALL, REWRITES

if TYPE_CHECKING:
    from edgeflex_tflite.artifacts import InputSpec

STOCK, WHOLE = "litert-torch's own export", "all rewrites"


@dataclasses.dataclass(frozen=True)
class Written:
    """One FP32 file.

    Attributes:
        title: what was left out.
        does: what that does.
        operators, macs: of one inference.
        arena_bytes: as TFLite plans it without a delegate.
        error: largest difference to timm's logits, over the largest logit.
    """

    title: str
    does: str
    operators: int
    macs: int
    arena_bytes: int
    error: float


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("model", "vit_tiny_patch16_224", "timm name.", flag_values=values)
    flags.DEFINE_string("output_dir", "docs", "Where the page goes.", flag_values=values)


def main(values: flags.FlagValues, rest: list[str]) -> None:
    cli.only_flags(rest)
    from tqdm import tqdm

    from edgeflex_tflite import files

    found = list(tqdm(measure(values.model), desc="files", total=2 + len(REWRITES)))
    again = shlex.join(["python", "tools/measure_rewrites.py", *sys.argv[1:]])
    page = Path(values.output_dir, "rewrites.md")
    page.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(page, text(values.model, found, again).encode())
    print(page)


def measure(name: str) -> Iterator[Written]:
    """The stock file, ours, and ours with each rewrite left out."""
    import numpy as np
    from stock_files import stock_float

    from edgeflex_tflite.artifacts import InputSpec
    from edgeflex_tflite.lower.export import export_float
    from edgeflex_tflite.models.translate import to_edge_form

    model = model_with_random_norms(name)
    size = model.patch_embed.img_size
    stock = InputSpec("nchw", "normalized", (0.0,) * 3, (1.0,) * 3, *size)
    ours = InputSpec("nhwc", "0-255", (0.5,) * 3, (0.5,) * 3, *size)
    pixels = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.tflite")
        stock_float(model, stock, path)
        yield described(STOCK, "", path, stock, model, pixels)
        for left_out in (None, *REWRITES):
            export_float(to_edge_form(model, ALL - {left_out}), ours, path)
            title = WHOLE if left_out is None else f"without `{left_out}`"
            yield described(title, REWRITES.get(left_out or "", ""), path, ours, model, pixels)


def model_with_random_norms(name: str) -> Any:
    """Random weights, and norms that do something."""
    import timm
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.add_(0.1 * torch.randn_like(module.weight))
                module.bias.add_(0.1 * torch.randn_like(module.bias))
    return model


def described(title: str, does: str, path: Path, spec: InputSpec, model: Any, pixels: Any) -> Written:
    """A written file, on one image."""
    import numpy as np
    import torch

    from edgeflex_tflite.analysis.macs import count_macs
    from edgeflex_tflite.lower.predict import memory_cost
    from edgeflex_tflite.parse import load_graphs
    from edgeflex_tflite.verify.runner import FileRunner, file_input

    image = file_input(pixels, dataclasses.replace(spec, layout="nchw", range="normalized"))
    with torch.inference_mode():
        expected = model(torch.from_numpy(image))[0].numpy()
    error = np.abs(FileRunner(path, spec, threads=1)(pixels) - expected).max() / np.abs(expected).max()
    graph, arena_bytes = load_graphs(path)[0], memory_cost(path).arena_bytes
    return Written(title, does, len(graph.ops), count_macs(graph).total, arena_bytes, float(error))


def text(model: str, found: list[Written], again: str) -> str:
    from tabulate import tabulate

    from edgeflex_tflite.recipe import KILOBYTE, MEGABYTE

    rows = [
        (
            each.title,
            each.does,
            each.operators,
            f"{each.macs / MEGABYTE:.1f}",
            f"{each.arena_bytes / KILOBYTE:.0f}",
            f"{each.error:.0e}",
        )
        for each in found
    ]
    headers = ("FP32 file", "the rewrite", "operators", "million MACs", "arena kB", "difference to timm")
    parts = [
        "# What each rewrite brings",
        f"timm's `{model}` with random weights, in FP32: with all exact rewrites of the edge form, and with one of "
        "them left out, as `--skip_rewrites` does. The arena is TFLite's plan without a delegate; the difference is "
        "the largest one between the logits of an image, over the largest logit.",
        tabulate(rows, headers, tablefmt="github", disable_numparse=True),
        "Without `shift` there is no `scale` either. `scale` is for linears that stay float: with integer weights, a "
        "norm's scale is where AWQ puts what makes weights and activations easy to round. `squares` and `flat` are for "
        "graphs that compute in float between the linears.",
        "What cannot be left out, because the edge form has no other way to say it: separate Q, K and V, the softmax "
        "scale inside Q, LayerScale inside the linear before it, activations of rank 3 at most, the normalization "
        "inside the patch embedding.",
        "## Again",
        f"    {again}",
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(cli.run(main, define_flags, __doc__ or ""))
