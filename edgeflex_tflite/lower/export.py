"""`EdgeViT` -> FP32 `.tflite`, through litert-torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from edgeflex_tflite.artifacts import WHOLE, Chunks, InputSpec
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.chunk import chunked
from edgeflex_tflite.lower.deploy import DeployedViT, with_scales_folded
from edgeflex_tflite.lower.merge import merging
from edgeflex_tflite.lower.template import Templates
from edgeflex_tflite.lower.tidy import tidy
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import compute_sites, weight_sites
from edgeflex_tflite.quiet import quiet
from edgeflex_tflite.rewrites import SCALE

_templates = Templates()


def export_float(model: EdgeViT, spec: InputSpec, path: Path, chunks: Chunks = WHOLE, merged: int = 0) -> None:
    """Write the model as an FP32 file whose tensors are named after the model's sites.

    Args:
        model: in evaluation mode; it is not changed.
        spec: what the file takes as its image.
        path: of the new file.
        chunks: the pieces that blocks compute in.
        merged: pairs of tokens that each block but the last merges; only where no block is in pieces.
    """
    written = with_scales_folded(model) if SCALE in model.rewrites else model
    module = DeployedViT(merging(chunked(written, chunks), merged), spec).eval()
    content = _templates.lowered(module, partial(_convert, module, path))
    tidy(content, model.rewrites)
    flatbuffer.name_tensors_by_site(content, [*weight_sites(model), *compute_sites(model)])
    renamed = path.with_suffix(".renamed")
    flatbuffer.write(content, renamed)
    del content
    renamed.replace(path)


def _convert(module: DeployedViT, path: Path) -> Any:
    """What litert-torch makes of a module, mapped from a file that it is written to."""
    with quiet():
        import litert_torch

        converted = litert_torch.convert(module, (torch.zeros(module.spec.shape),))
        converted.export(str(path))
        del converted
    return flatbuffer.read(path)
