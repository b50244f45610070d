"""timm name and checkpoint file -> a trained `VisionTransformer`, or a clear refusal."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import load_state_dict, split_model_name_tag
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models import demo

HUB_PREFIXES = ("hf-hub:", "hf_hub:", "local-dir:", "timm/")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar")


def load_model(
    name: str,
    *,
    pretrained: bool = False,
    checkpoint: str | None = None,
    num_classes: int | None = None,
    img_size: int | None = None,
) -> nn.Module:
    """Create a timm Vision Transformer and load its weights.

    Args:
        name: a timm model name, with or without a tag, or `hf-hub:...`.
        pretrained: load timm's own weights for it.
        checkpoint: a `.safetensors` file, or a `.pt`/`.pth` file that `torch.load(weights_only=True)` accepts; half
            precision is converted to float32; position embeddings are resampled to `img_size`.
        num_classes: of the head; by default what the checkpoint has, else the model's own.
        img_size: in pixels, square; by default the model's own.

    Returns:
        The model in float32 and evaluation mode. Weights of a float32 safetensors file are the file's own pages, read
        where they are needed.

    Raises:
        UserError: unknown name, not a VisionTransformer, no weights named, or a checkpoint that is missing, corrupt or
            of another architecture (the message names the first keys that differ).
    """
    _check_name(name)
    if img_size is not None and img_size <= 0:
        raise UserError(f"img_size is {img_size}: give pixels, above 0")
    if num_classes is not None and num_classes <= 0:
        raise UserError(f"num_classes is {num_classes}: give the number of classes, above 0")
    if checkpoint and pretrained:
        raise UserError("--pretrained and --checkpoint contradict each other: give one source of weights")
    is_demo = split_model_name_tag(name)[0] == demo.NAME
    if not (checkpoint or pretrained or is_demo):
        raise UserError(f"no weights for {name}: give --checkpoint=FILE, or --pretrained for timm's own")
    weights = _read_checkpoint(checkpoint) if checkpoint else None
    options: dict[str, Any] = {"img_size": img_size} if img_size else {}
    classes = num_classes or _classes_of(weights)
    if classes:
        options["num_classes"] = classes
    if weights is None:
        return _create(name, pretrained or is_demo, options).float().eval()
    with torch.device("meta"):
        model = _create(name, False, options)
    _load(model, weights, checkpoint or "")
    return model.eval()


def _check_name(name: str) -> None:
    if name.startswith(HUB_PREFIXES):
        return
    architecture, tag = split_model_name_tag(name)
    if timm.is_model(architecture):
        _check_tag(name, architecture, tag)
        return
    close = difflib.get_close_matches(name, timm.list_models("*vit*") + timm.list_models("deit*"), n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models('vit_*') lists the supported ones"
    raise UserError(f"unknown model {name!r}: {hint}")


def _check_tag(name: str, architecture: str, tag: str) -> None:
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        known = timm.list_pretrained(f"{architecture}.*")
        raise UserError(
            f"timm has no {tag!r} weights of {architecture}: it has {', '.join(known) or 'none'}"
        ) from error


def _create(name: str, pretrained: bool, options: dict[str, Any]) -> VisionTransformer:
    try:
        model = timm.create_model(name, pretrained=pretrained, **options)
    except (TypeError, AssertionError, ValueError, KeyError) as error:
        raise UserError(f"timm cannot make {name} with {options}: {error}") from error
    except (OSError, RuntimeError) as error:
        if not (pretrained or name.startswith(HUB_PREFIXES)):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{name} cannot be loaded: {reason}; give a timm name that the installed timm knows, and --checkpoint=FILE"
        ) from error
    if not isinstance(model, VisionTransformer):
        raise UserError(
            f"{name} is a {type(model).__name__}, not a VisionTransformer: supported are timm's vit_*, deit_*, deit3_* "
            "and dinov2 models, and the image towers of CLIP and SigLIP"
        )
    if 0 in model.patch_embed.grid_size:
        raise UserError(f"img_size {options['img_size']} is less than one patch of {name}: give a larger one")
    return model


def _read_checkpoint(checkpoint: str) -> dict[str, Tensor]:
    path = Path(checkpoint)
    if not path.is_file():
        raise UserError(
            f"checkpoint {checkpoint} does not exist: give the path of a file of weights, {', '.join(SUFFIXES)}"
        )
    if path.suffix not in SUFFIXES:
        raise UserError(f"checkpoint {checkpoint} must end in one of {', '.join(SUFFIXES)}")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # every reader has its own kinds
        reason = f"{type(error).__name__} {error}".split(". ")[0].splitlines()[0][:120]
        raise UserError(
            f"checkpoint {checkpoint} cannot be read as {path.suffix} weights: {reason}; give a state dict of the "
            "model, as safetensors or torch.save write it, without pickled code"
        ) from error
    tensors = {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise UserError(f"checkpoint {checkpoint} holds no tensors; it must be a state dict of the model")
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def _classes_of(weights: dict[str, Tensor] | None) -> int | None:
    head = (weights or {}).get("head.weight")
    return head.shape[0] if head is not None else None


def _load(model: VisionTransformer, weights: dict[str, Tensor], checkpoint: str) -> None:
    wanted = model.state_dict()
    foreign = UserError(f"checkpoint {checkpoint} is of another architecture than {type(model).__name__}")
    try:
        weights = checkpoint_filter_fn(weights, model)
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise UserError(f"{foreign}: {type(error).__name__} {error}") from error
    missing = [key for key in wanted if key not in weights]
    unexpected = [key for key in weights if key not in wanted]
    shapes = [key for key in wanted if key in weights and weights[key].shape != wanted[key].shape]
    differences = [
        f"missing {', '.join(missing[:3])}" if missing else "",
        f"unexpected {', '.join(unexpected[:3])}" if unexpected else "",
        *(f"{key} is {list(weights[key].shape)}, the model has {list(wanted[key].shape)}" for key in shapes[:3]),
    ]
    if missing or unexpected or shapes:
        found = "; ".join(filter(None, differences))
        raise UserError(
            f"checkpoint {checkpoint} does not fit the model: {found}; check --model, --num_classes and --img_size"
        )
    model.load_state_dict(weights, strict=True, assign=True)
