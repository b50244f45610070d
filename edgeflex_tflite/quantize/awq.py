"""Activation-aware weight quantization (AWQ, arXiv 2306.00978) with folds that are exact.

A scale s on a linear's input channels, `W diag(s)` on `x / s`, leaves the float result alone and moves rounding error
away from channels with large activations. `x / s` costs nothing where what makes x can absorb it:

* LayerNorm -> Q, K, V, and LayerNorm -> fc1 (and gate): into the norm's weight;
* V -> proj: into V's output channels, since attention mixes tokens, not channels;
* fc1 -> fc2 of a gated MLP: into fc1's output channels. Through GELU there is no exact fold, so fc2 is left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from edgeflex_tflite.artifacts import AwqGroup, Grid
from edgeflex_tflite.models.edge import Attention, Block, EdgeViT, Norm
from edgeflex_tflite.models.tensors import frozen, twin
from edgeflex_tflite.profiling.blocks import Progress, Tokens, advance, no_progress, subset
from edgeflex_tflite.quantize.rounding import round_activation, round_weight
from edgeflex_tflite.recover.kept import KeptBlocks
from edgeflex_tflite.side_by_side import each

GRID = 20
"""Alpha is one of 0, 1/20, ..., 19/20 (AWQ, section 3.2)."""
STRIDES = (4, 2, 1)
"""Every fourth alpha is tried, then those two steps beside the best, and then its neighbours."""
SMALLEST_SCALE = 1e-4
JUDGED = {"norm1": "attn", "attn.v": "attn.proj", "norm2": "mlp", "mlp.fc1": "mlp.fc2"}
"""By the source of a fold, what its readers are in, up to the end of the attention or the MLP."""


@dataclasses.dataclass(frozen=True)
class FoldTarget:
    """A place in a block where a scale folds exactly.

    Attributes:
        source: module path, within the block, of what absorbs `1 / s`: a norm, or a linear's output channels.
        readers: module paths of the linears that absorb s on their input channels.
    """

    source: str
    readers: tuple[str, ...]

    @property
    def judged(self) -> str:
        """Module path of what reads the scaled channels and answers what the residual stream takes."""
        return JUDGED[self.source]

    @property
    def branch(self) -> str:
        """Module path of the attention or the MLP that its readers are in."""
        return self.judged.partition(".")[0]


def fold_targets(block: Block) -> tuple[FoldTarget, ...]:
    """Every exact fold of a block, in the order of its execution."""
    fc1 = ("mlp.fc1",) if block.mlp.gate is None else ("mlp.fc1", "mlp.gate")
    targets = [
        FoldTarget("norm1", ("attn.q", "attn.k", "attn.v")),
        FoldTarget("attn.v", ("attn.proj",)),
        FoldTarget("norm2", fc1),
    ]
    if block.mlp.gate is not None:
        targets.append(FoldTarget("mlp.fc1", ("mlp.fc2",)))
    left = [target for target in targets if block.shape.has(target.source)]
    return tuple(target for target in left if isinstance(block.get_submodule(target.source), (Norm, nn.Linear)))


def fold_(block: Block, target: FoldTarget, scale: Tensor) -> None:
    """Apply a scale `[in_features]` to a block, which computes the same function then."""
    source = block.get_submodule(target.source)
    assert isinstance(source, (Norm, nn.Linear))
    source.weight = frozen(source.weight / (scale if isinstance(source, Norm) else scale[:, None]))
    if source.bias is not None:
        source.bias = frozen(source.bias / scale)
    for name in target.readers:
        reader = block.get_submodule(name)
        assert isinstance(reader, nn.Linear)
        reader.weight = frozen(reader.weight * scale)


def scale_for(mean_abs: Tensor, alpha: float) -> Tensor:
    """`s = mean|x|^alpha`, centred so that its largest and smallest entries are reciprocal."""
    scale = mean_abs.pow(alpha).clamp_min(SMALLEST_SCALE)
    return scale / (scale.max() * scale.min()).sqrt()


@torch.inference_mode()
def search_block_(
    block: Block, tokens: Tokens, prefix: str, grids: Mapping[str, Grid], dynamic: bool
) -> list[AwqGroup]:
    """Choose and fold the best scale for every fold target of a block, in place.

    Each alpha of the grid is judged by the mean squared error of the answer of the attention or the MLP that the
    target's readers are in, when these have rounded weights and INT8 inputs. Alpha 0 is plain rounding, so the chosen
    scale is never worse on these tokens.

    Args:
        block: it is changed.
        tokens: input of the block.
        prefix: the block's path in the model, as in `blocks.3`.
        grids: of the weights of every site that becomes an integer; targets without any of them are left alone.
        dynamic: whether activations are quantized for each token (at run time) or with one scale for all.
    """
    targets = fold_targets(block)
    read, answered = _float_answers(block, tokens, targets)
    groups = []
    for target in targets:
        readers = tuple(reader for reader in target.readers if f"{prefix}.{reader}" in grids)
        if not readers:
            continue
        inputs, wanted = read[target.source], answered[target.branch]
        mean_abs = _mean_abs(inputs)
        of_readers = {reader: grids[f"{prefix}.{reader}"] for reader in readers}
        best, errors = _search(partial(_error, block, target, mean_abs, of_readers, dynamic, inputs, wanted))
        fold_(block, target, scale_for(mean_abs, best))
        groups.append(AwqGroup(tuple(f"{prefix}.{reader}" for reader in readers), best, errors[0.0], errors[best]))
    return groups


def _search(error: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """The alpha of least error, and the errors of all that were tried; ties go to the smaller one."""
    errors: dict[float, float] = {}
    best = 0.0
    for stride in STRIDES:
        middle = round(GRID * best)
        steps = (middle - stride, middle + stride) if errors else range(0, GRID, stride)
        alphas = [step / GRID for step in steps if 0 <= step < GRID]
        errors |= zip(alphas, each(error, alphas), strict=True)
        best = min(sorted(errors), key=errors.__getitem__)
    return best, errors


def _error(
    block: Block,
    target: FoldTarget,
    mean_abs: Tensor,
    grids: Mapping[str, Grid],
    dynamic: bool,
    inputs: Tokens,
    wanted: Tokens,
    alpha: float,
) -> float:
    """Mean squared error of what a target's readers are in, with one alpha, when they read `inputs`, scaled."""
    scale = scale_for(mean_abs, alpha)
    candidate = twin(block)
    fold_(candidate, target, scale)
    _simulate_(candidate, grids, dynamic)
    judged = candidate.get_submodule(target.judged)
    return _squared_error([_answer(judged, x / scale) for x in inputs], wanted)


def _answer(judged: nn.Module, x: Tensor) -> Tensor:
    return judged(x, x) if isinstance(judged, Attention) else judged(x)


def search(
    model: EdgeViT,
    tokens: Tokens,
    grids: Mapping[str, Grid],
    dynamic: bool,
    max_tokens: int,
    progress: Progress = no_progress,
    kept: KeptBlocks[list[AwqGroup]] | None = None,
) -> tuple[EdgeViT, list[AwqGroup]]:
    """AWQ over the whole model, front to back.

    Args:
        kept: blocks that a run before has searched.

    Returns:
        A new model that computes the same function, with scales folded in, and what was chosen.
    """
    model, kept = twin(model), kept or KeptBlocks(None, list[AwqGroup])
    tokens = subset(tokens, max(1, max_tokens // model.num_tokens))
    groups = []
    for index, block in enumerate(progress(model.blocks, "search AWQ scales")):
        if (found := kept.restore(index, block)) is not None:
            model.blocks[index], chosen = found
        else:
            chosen = search_block_(block, tokens, f"blocks.{index}", grids, dynamic)
            model.blocks[index] = kept.keep(index, block, chosen)
        groups += chosen
        tokens = advance(model.blocks[index], tokens)
    return model, groups


def _float_answers(
    block: Block, tokens: Tokens, targets: Iterable[FoldTarget]
) -> tuple[dict[str, Tokens], dict[str, Tokens]]:
    """By their sources what the targets' readers read, and what the block's `attn` and `mlp` answer."""
    read: dict[str, list[Tensor]] = {target.source: [] for target in targets}
    answered: dict[str, list[Tensor]] = {"attn": [], "mlp": []}
    handles = [
        block.get_submodule(target.readers[0]).register_forward_pre_hook(
            lambda _, inputs, source=target.source: read[source].append(inputs[0])
        )
        for target in targets
    ]
    handles += [
        block.get_submodule(branch).register_forward_hook(
            lambda _, inputs, answer, branch=branch: answered[branch].append(answer)
        )
        for branch in answered
    ]
    try:
        for x in tokens:
            block(x)
    finally:
        for handle in handles:
            handle.remove()
    return read, answered


def _mean_abs(batches: Tokens) -> Tensor:
    """Of each channel over all tokens, `[p]`."""
    return torch.cat([x.flatten(0, -2).abs() for x in batches]).mean(0, dtype=torch.float64).float()


def _simulate_(block: Block, grids: Mapping[str, Grid], dynamic: bool) -> None:
    def rounded(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        return round_activation(inputs[0], per_token=dynamic)

    hook: Callable = rounded
    for reader, grid in grids.items():
        linear = block.get_submodule(reader)
        assert isinstance(linear, nn.Linear)
        linear.weight = frozen(round_weight(linear.weight, *grid))
        linear.register_forward_pre_hook(hook)


def _squared_error(outputs: Tokens, expected: Tokens) -> float:
    """Mean squared error over images, tokens and channels."""
    squares = [(x - wanted).double().square().sum().item() for x, wanted in zip(outputs, expected, strict=True)]
    return sum(squares) / sum(wanted.numel() for wanted in expected)
