"""The names of a model's sites: the modules that precision is chosen for and that profiling watches."""

from __future__ import annotations

from torch import nn

from edgeflex_tflite.models.edge import EdgeViT

WEIGHT_TYPES = (nn.Linear, nn.Conv2d)


def weight_sites(model: EdgeViT) -> dict[str, nn.Module]:
    """Linears and the patch convolution, by module path such as `blocks.3.mlp.fc1`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, WEIGHT_TYPES)}


def compute_sites(model: EdgeViT) -> dict[str, nn.Module]:
    """Everything else that has operators of its own in the file, by module path.

    `blocks.3.attn` is the two attention products, `blocks.3` the residual additions, `model` the embedding's assembly.
    """
    weights = weight_sites(model)
    sites = {name: module for name, module in model.named_modules() if name and name not in weights}
    sites = {name: module for name, module in sites.items() if not isinstance(module, (nn.Identity, nn.ModuleList))}
    return {"model": model} | sites
