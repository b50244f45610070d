"""timm's `VisionTransformer` -> `EdgeViT`: the only file that knows timm's attribute names.

What the edge form cannot express is refused by name. Afterwards both models must agree on random images,
so an architecture that timm adds later cannot slip through half translated.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from timm import layers as timm_layers
from timm.layers.mlp import GluMlp, SwiGLU
from timm.models import vision_transformer as timm_vit
from torch import Tensor, nn

from edgeflex_tflite import rewrites as exact
from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models.edge import (
    ALL_TOKENS,
    Attention,
    AttentionPool,
    Block,
    Centre,
    EdgeViT,
    LatentQuery,
    Mlp,
    Norm,
)
from edgeflex_tflite.models.tensors import linear

EXACTNESS_BOUND = 1e-4
"""Largest difference between the logits of timm's model and of the edge form, relative to the largest logit."""

TimmModule = Any
"""A module of timm's: what its attributes are is known from here alone."""

SUPPORTED_POOLING = ("token", "avg", "map")


def to_edge_form(model: nn.Module, rewrites: frozenset[str] = exact.FOR_ANY_WEIGHTS) -> EdgeViT:
    """Translate a timm Vision Transformer into edge form.

    Args:
        model: a `timm.models.VisionTransformer` with a classification head; it is not changed.
        rewrites: which of `REWRITES` are made, now or when the model is written.

    Returns:
        An `EdgeViT` in float32 and evaluation mode whose logits agree with the model's.

    Raises:
        UserError: the model is not a VisionTransformer, or uses a part that has no edge form; the message names it.
    """
    _refuse_unsupported(model)
    if model.training or any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        model = copy.deepcopy(model).float().eval()
    with torch.no_grad():
        edge = _translate(model).eval()
        edge.rewrites = rewrites
        if exact.SHIFT in rewrites:
            for block in edge.blocks:
                _fold_shift(block.norm1, [block.attn.q, block.attn.k, block.attn.v])
                _fold_shift(block.norm2, [block.mlp.fc1, block.mlp.gate])
        if exact.CENTRE in rewrites:
            _centre_residual_stream(edge)
        if exact.LAST_BLOCK not in rewrites:
            edge.reads = ALL_TOKENS
        _check_exact(model, edge)
    return edge.requires_grad_(False)


def _refuse_unsupported(model: TimmModule) -> None:
    if type(model) is not timm_vit.VisionTransformer:
        raise UserError(
            f"{type(model).__name__} is not supported: only timm's VisionTransformer is (vit_*, deit_*, deit3_*, "
            "dinov2 and the image towers of CLIP and SigLIP); choose one of timm.list_models('vit_*')"
        )
    if model.in_chans != 3:
        raise _refusal(f"{model.in_chans} input channels")
    if model.attn_pool is not None and not isinstance(model.attn_pool, timm_layers.AttentionPoolLatent):
        raise _refusal(f"{type(model.attn_pool).__name__} pooling")
    if model.global_pool not in SUPPORTED_POOLING:
        raise _refusal(f"global_pool={model.global_pool!r} (supported: {', '.join(SUPPORTED_POOLING)})")
    if not isinstance(model.head, nn.Linear):
        raise UserError("the model has no classification head: give --num_classes and a checkpoint that has one")
    if type(model.patch_embed) is not timm_layers.PatchEmbed:
        raise _refusal(f"{type(model.patch_embed).__name__} instead of patches")
    if not isinstance(model.patch_embed.norm, nn.Identity):
        raise _refusal(f"PatchEmbed with {type(model.patch_embed.norm).__name__}")
    for block in model.blocks:
        if type(block) is not timm_vit.Block:
            raise _refusal(f"{type(block).__name__} blocks")
        if type(block.attn) is not timm_layers.Attention:
            raise _refusal(f"{type(block.attn).__name__}")
        if not isinstance(block.attn.norm, nn.Identity) or block.attn.gate is not None:
            raise _refusal("a norm or gate on the attention output")


def _refusal(part: str) -> UserError:
    return UserError(f"this Vision Transformer uses {part}, which has no edge form; choose another model")


def _translate(model: TimmModule) -> EdgeViT:
    prefix, position = _tokens_with_positions(model)
    reads = slice(0, 1) if model.global_pool == "token" else _tokens_pooled(model)
    return EdgeViT(
        patch_embed=_patch_convolution(model.patch_embed.proj),
        prefix=prefix,
        position=position,
        norm_pre=_norm(model.norm_pre),
        blocks=[_block(block) for block in model.blocks],
        norm=_norm(model.norm),
        pooling=model.global_pool,
        reads=reads,
        attention_pool=_attention_pool(model.attn_pool),
        fc_norm=_norm(model.fc_norm),
        head=_linear(model.head),
        img_size=tuple(model.patch_embed.img_size),
    )


def _tokens_with_positions(model: TimmModule) -> tuple[Tensor, Tensor]:
    """Prefix tokens `[P, C]` with their positions added, and patch positions `[N, C]`."""
    channels = model.embed_dim
    tokens = [token[0] for token in (model.cls_token, model.reg_token) if token is not None]
    prefix = torch.cat(tokens) if tokens else torch.zeros(0, channels)
    patches = model.patch_embed.num_patches
    if model.pos_embed is None:
        return prefix.clone(), torch.zeros(patches, channels)
    position = model.pos_embed[0]
    if model.no_embed_class:
        return prefix.clone(), position.clone()
    return prefix + position[: len(prefix)], position[len(prefix) :].clone()


def _tokens_pooled(model: TimmModule) -> slice:
    if model.pool_include_prefix or model.num_prefix_tokens == 0:
        return ALL_TOKENS
    return slice(model.num_prefix_tokens, None)


def _patch_convolution(conv: TimmModule) -> nn.Conv2d:
    new = nn.Conv2d(3, conv.out_channels, conv.kernel_size, conv.stride)
    assert new.bias is not None
    new.weight.copy_(conv.weight)
    new.bias.copy_(conv.bias if conv.bias is not None else torch.zeros(conv.out_channels))
    return new


def _block(block: TimmModule) -> Block:
    attn = block.attn
    q, k, v = _split_linear(attn.qkv, 3)
    q_norm, k_norm = _norm(attn.q_norm), _norm(attn.k_norm)
    q, q_norm = _with_softmax_scale(q, q_norm, attn.scale)
    proj = _with_layer_scale(_linear(attn.proj), block.ls1)
    norm1, norm2 = _norm(block.norm1), _norm(block.norm2)
    mlp = _mlp(block.mlp)
    mlp.fc2 = _with_layer_scale(mlp.fc2, block.ls2)
    return Block(norm1, Attention(q, k, v, proj, attn.num_heads, q_norm, k_norm), norm2, mlp)


def _attention_pool(pool: TimmModule | None) -> AttentionPool | None:
    if pool is None:
        return None
    if pool.pos_embed is not None or pool.latent_len != 1 or pool.mlp is None or pool.pool != "token":
        raise _refusal("an attention pooling other than SigLIP's")
    k, v = _split_linear(pool.kv, 2)
    latent = pool.q(pool.latent[0])
    query = pool.q_norm(latent.reshape(pool.num_heads, -1)).reshape(1, -1) * pool.scale
    norm, mlp = _norm(pool.norm), _mlp(pool.mlp)
    _fold_shift(norm, [mlp.fc1])
    attn = Attention(LatentQuery(query), k, v, _linear(pool.proj), pool.num_heads, nn.Identity(), _norm(pool.k_norm))
    return AttentionPool(attn, norm, mlp)


def _mlp(mlp: TimmModule) -> Mlp:
    if not isinstance(mlp.norm, nn.Identity):
        raise _refusal("a norm inside the MLP")
    fc2 = _linear(mlp.fc2)
    if type(mlp) is timm_layers.Mlp:
        return Mlp(_linear(mlp.fc1), _activation(mlp.act), fc2)
    if type(mlp) is GluMlp:
        first, second = _split_linear(mlp.fc1, 2)
        value, gate = (first, second) if mlp.gate_last else (second, first)
        return Mlp(value, _activation(mlp.act), fc2, gate)
    if type(mlp) is SwiGLU:
        return Mlp(_linear(mlp.fc1_x), _activation(mlp.act), fc2, _linear(mlp.fc1_g))
    raise _refusal(f"{type(mlp).__name__}")


ACTIVATIONS = (nn.GELU, nn.SiLU, nn.ReLU, timm_layers.GELU, timm_layers.GELUTanh, timm_layers.QuickGELU)


def _activation(act: nn.Module) -> nn.Module:
    if type(act) is timm_layers.GELU:
        return nn.GELU()
    if type(act) is timm_layers.GELUTanh:
        return nn.GELU(approximate="tanh")
    if isinstance(act, ACTIVATIONS):
        return act
    raise _refusal(f"the activation {type(act).__name__}")


def _norm(norm: nn.Module) -> nn.Module:
    if isinstance(norm, nn.Identity):
        return nn.Identity()
    if isinstance(norm, nn.LayerNorm):
        weight = norm.weight.clone() if norm.weight is not None else torch.ones(norm.normalized_shape)
        bias = norm.bias.clone() if norm.bias is not None else torch.zeros_like(weight)
        return Norm(weight, bias, norm.eps)
    raise _refusal(f"the norm {type(norm).__name__}")


def _linear(linear: TimmModule) -> nn.Linear:
    return _new_linear(linear.weight, linear.bias)


def _new_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    return linear(weight.clone(), bias.clone() if bias is not None else torch.zeros(weight.shape[0]))


def _split_linear(linear: TimmModule, parts: int) -> list[nn.Linear]:
    biases = linear.bias.chunk(parts) if linear.bias is not None else [None] * parts
    return [_new_linear(weight, bias) for weight, bias in zip(linear.weight.chunk(parts), biases, strict=True)]


def _with_softmax_scale(q: nn.Linear, q_norm: nn.Module, scale: float) -> tuple[nn.Linear, nn.Module]:
    """Move `1/sqrt(head_dim)` into Q, or into the norm over each head's channels where there is one."""
    scaled: Any = q_norm if isinstance(q_norm, Norm) else q
    scaled.weight.mul_(scale)
    scaled.bias.mul_(scale)
    return q, q_norm


def _with_layer_scale(linear: nn.Linear, layer_scale: TimmModule) -> nn.Linear:
    if isinstance(layer_scale, nn.Identity):
        return linear
    gamma = layer_scale.gamma
    return _new_linear(linear.weight * gamma[:, None], linear.bias * gamma)


def _fold_shift(norm: nn.Module, readers: list[Any]) -> None:
    """Move a LayerNorm's shift into the biases of all linears that read it: `W(x + beta) + b = Wx + (W beta + b)`."""
    if not isinstance(norm, Norm) or norm.bias is None:
        return
    for reader in readers:
        if reader is not None:
            reader.bias.add_(reader.weight @ norm.bias)
    norm.bias = None


def _centre_residual_stream(edge: EdgeViT) -> None:
    """Give the residual stream zero mean over channels, and let every LayerNorm that reads it know.

    A LayerNorm does not see the mean of its input, so all that writes to the stream may leave it out. This holds only
    if nothing but LayerNorms reads the stream: a model without a final norm is left as it is.
    """
    final = edge.norm if isinstance(edge.norm, Norm) else edge.fc_norm
    candidates = [norm for block in edge.blocks for norm in (block.norm1, block.norm2)] + [final]
    readers = [norm for norm in candidates if isinstance(norm, Norm)]
    if len(readers) < len(candidates) or (edge.pooling == "map" and final is edge.fc_norm):
        return
    if isinstance(edge.norm_pre, Norm):
        edge.norm_pre = nn.Sequential(edge.norm_pre, Centre())
    else:
        for tokens in (edge.prefix, edge.position):
            tokens.sub_(tokens.mean(dim=1, keepdim=True))
        _centre_output(edge.patch_embed)
    for block in edge.blocks:
        _centre_output(block.attn.proj)
        _centre_output(block.mlp.fc2)
    for norm in readers:
        norm.centred = True


def _centre_output(layer: nn.Linear | nn.Conv2d) -> None:
    assert layer.bias is not None
    layer.weight.sub_(layer.weight.mean(dim=0, keepdim=True))
    layer.bias.sub_(layer.bias.mean())


def _check_exact(model: nn.Module, edge: EdgeViT) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, *edge.img_size, generator=generator)
    expected, actual = model(images), edge(images)
    difference = ((expected - actual).abs().max() / expected.abs().max().clamp_min(1e-6)).item()
    if not difference <= EXACTNESS_BOUND:
        raise UserError(
            f"the edge form of this model differs from timm's by {difference:.1e} of the largest logit "
            f"(bound {EXACTNESS_BOUND:.0e}): it uses a part that is not supported; please report the model's name"
        )
