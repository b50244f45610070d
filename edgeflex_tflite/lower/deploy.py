"""The module that is written to the file: images as the camera gives them in, logits out."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.models.edge import Block, EdgeViT, Norm
from edgeflex_tflite.models.tensors import frozen, twin
from edgeflex_tflite.quantize.awq import FoldTarget, fold_targets


class DeployedViT(nn.Module):
    """`EdgeViT` for a fixed number of images, with the image normalization folded in.

    Of one image, activations are `[tokens, channels]`; of a batch, `[B, tokens, channels]`. `forward` takes images
    `float32 [B, H, W, 3]` or `[B, 3, H, W]`, as `spec` says, and gives logits `float32 [B, num_classes]`.
    """

    def __init__(self, model: EdgeViT, spec: InputSpec) -> None:
        super().__init__()
        self.model = twin(model)
        self.model.patch_embed = copy.deepcopy(model.patch_embed)
        self.spec = spec
        if model.for_edgetpu:
            write_as_convolutions_(self.model)
        fold_normalization_(self.model.patch_embed, spec)

    def forward(self, images: Tensor) -> Tensor:
        model = self.model
        if self.spec.layout == "nhwc":
            images = images.permute(0, 3, 1, 2)
        if self.spec.batch > 1:
            return model.classify(model.transform(model.embed(images)))
        patches = model.patch_embed(images).permute(0, 2, 3, 1).flatten(0, 2)
        x = model.assemble(patches, model.prefix)
        return model.classify(model.transform(x))[None]


def with_scales_folded(model: EdgeViT) -> EdgeViT:
    """The scale of every norm that has no shift inside the linears behind it: `W (g x) = (W diag(g)) x`."""
    return model.with_blocks(map(_with_scales_folded, model.blocks))


def _with_scales_folded(block: Block) -> Block:
    changed = twin(block)
    for target in scale_targets(changed):
        norm = changed.get_submodule(target.source)
        assert isinstance(norm, Norm)
        for path in target.readers:
            reader = changed.get_submodule(path)
            assert isinstance(reader, nn.Linear)
            reader.weight = frozen(reader.weight * norm.weight)
        norm.weight = frozen(torch.ones_like(norm.weight))
    return changed


def scale_targets(block: Block) -> Iterator[FoldTarget]:
    """The norms of a block whose whole scale can go into the linears that read them: those without a shift."""
    for target in fold_targets(block):
        source = block.get_submodule(target.source)
        if isinstance(source, Norm) and source.bias is None:
            yield target


class TokenConvolution(nn.Conv2d):
    """A linear over `[tokens, channels]` or `[channels]` as a 1x1 convolution with the same weights."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, 1)
        self.weight = nn.Parameter(linear.weight[:, :, None, None])
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        image = x.reshape(1, 1, -1, self.in_channels).permute(0, 3, 1, 2)
        return super().forward(image).permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_channels)


def write_as_convolutions_(model: nn.Module) -> None:
    """In place, for targets without fully connected layers of several tokens."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear):
                setattr(module, name, TokenConvolution(child))


def fold_normalization_(patch_embed: nn.Conv2d, spec: InputSpec) -> None:
    """Let the patch embedding take images in the units of `spec` instead of normalized ones.

    `W ((x / range - mean) / std) + b` is a convolution again, exactly: patches never overlap a border, so there is no
    padding that the shift could leak into.
    """
    scale = torch.tensor(spec.scale, dtype=torch.float64)
    shift = torch.tensor(spec.shift, dtype=torch.float64)
    weight = patch_embed.weight.double()
    assert patch_embed.bias is not None
    with torch.no_grad():
        patch_embed.bias.copy_(patch_embed.bias.double() + torch.einsum("ochw,c->o", weight, shift))
        patch_embed.weight.copy_(weight * scale[:, None, None])
