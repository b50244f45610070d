"""A model as parts to choose for: each block's MLP and attention, the patch embedding and the head."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence

from torch import nn

from edgeflex_tflite.artifacts import BlockShape, Dtype, PrecisionPlan
from edgeflex_tflite.budget.allocate import Option
from edgeflex_tflite.budget.dropped import DROPPED
from edgeflex_tflite.budget.int4 import INT4_GROUPS
from edgeflex_tflite.budget.measure import BlockCosts, Costs
from edgeflex_tflite.lower.predict import linear_bytes, linear_sizes
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.sites import weight_sites

ATTENTION = tuple(path for group in INT4_GROUPS for path in group if path.startswith("attn."))
MLP = tuple(path for group in INT4_GROUPS for path in group if path.startswith("mlp."))
SIZES = ("num_heads", "key_dim", "value_dim")


def parts_of(
    model: EdgeViT, plan: PrecisionPlan, costs: Costs, multiple: int, signatures: int = 1
) -> list[list[Option]]:
    """Every part's options; the first of each is the dense one in the planned precisions.

    Bytes are those of linears; a norm that goes with a dropped branch saves some more.

    Args:
        model: dense.
        plan: precision of every site.
        costs: what may be done, and what it costs.
        multiple: what widths are multiples of.
        signatures: of the file; each keeps bytes of its own in its arena.
    """
    parts = []
    for index, (block, cost) in enumerate(zip(model.blocks, costs.blocks, strict=True)):
        shape, prefix = block.shape, f"blocks.{index}"
        channels = block.attn.proj.out_features
        paths = {path: plan.weights[f"{prefix}.{path}"].dtype for path in (*ATTENTION, *MLP) if _has(block, path)}
        option = _Sizer(channels, prefix, paths, plan.activations == "dynamic", plan.int4_block, signatures)
        mlp = [({"width": width}, loss) for width, loss in _widths(shape.width, cost, multiple)]
        attention = list(_attentions(shape, cost))
        parts.append([*option.options(MLP, shape, mlp, cost), *_dropped("mlp", cost)])
        parts.append([*option.options(ATTENTION, shape, attention, cost), *_dropped("attn", cost)])
    for site, divergence in costs.int8.items():
        weight = weight_sites(model)[site].weight
        assert isinstance(weight, nn.Parameter)
        out, inside = len(weight), weight[0].numel()
        half, integer = (
            _total(linear_bytes(inside, out, dtype, True), signatures) for dtype in (Dtype.FP16, Dtype.INT8)
        )
        parts.append([Option(half, 0.0), Option(integer, divergence, dtypes={site: Dtype.INT8})])
    return parts


@dataclasses.dataclass(frozen=True)
class _Sizer:
    """Options of one block's parts, with their bytes."""

    channels: int
    prefix: str
    dtypes: Mapping[str, Dtype]
    dynamic: bool
    int4_block: int
    signatures: int

    def options(
        self,
        paths: Collection[str],
        shape: BlockShape,
        sizes: Sequence[tuple[Mapping[str, int], float]],
        cost: BlockCosts,
    ) -> list[Option]:
        """All sizes in all precisions of the linears at `paths`; divergences add up."""
        groups = [
            (group, loss)
            for group, loss in cost.int4.items()
            if group[0] in paths and any(self.dtypes[path] is Dtype.INT8 for path in group)
        ]
        choices = []
        for lowered in itertools.product((False, True), repeat=len(groups)):
            chosen = [group for group, low in zip(groups, lowered, strict=True) if low]
            dtypes = {path: Dtype.INT4 for group, _ in chosen for path in group if self.dtypes[path] is Dtype.INT8}
            loss = sum(loss for _, loss in chosen)
            for changes, size_loss in sizes:
                bytes_ = self._bytes(paths, dataclasses.replace(shape, **changes), dtypes)
                named = {f"{self.prefix}.{path}": dtype for path, dtype in dtypes.items()}
                choices.append(Option(bytes_, loss + size_loss, changes, named))
        return choices

    def _bytes(self, paths: Collection[str], shape: BlockShape, lowered: Mapping[str, Dtype]) -> int:
        sizes = linear_sizes(self.channels, shape)
        dtypes = {path: lowered.get(path, dtype) for path, dtype in self.dtypes.items() if path in paths}
        return sum(
            _total(linear_bytes(*sizes[path], dtype, self.dynamic, self.int4_block), self.signatures)
            for path, dtype in dtypes.items()
        )


def _total(found: tuple[int, int], signatures: int) -> int:
    """Of weights, which all signatures share, and of what each of them keeps in its arena."""
    weights, kept = found
    return weights + signatures * kept


def _widths(dense: int, cost: BlockCosts, multiple: int) -> Iterator[tuple[int, float]]:
    yield dense, 0.0
    if cost.mlp is not None:
        for width in range((dense - 1) // multiple * multiple, 0, -multiple):
            yield width, cost.mlp.cost(width)


def _attentions(shape: BlockShape, cost: BlockCosts) -> Iterator[tuple[dict[str, int], float]]:
    ladders = [[(getattr(shape, name), 0.0), *cost.sizes.get(name, {}).items()] for name in SIZES]
    for steps in itertools.product(*ladders):
        changes = {name: size for name, (size, _) in zip(SIZES, steps, strict=True) if size != getattr(shape, name)}
        yield changes, sum(loss for _, loss in steps)


def _dropped(branch: str, cost: BlockCosts) -> list[Option]:
    return [Option(0, cost.dropped[branch], DROPPED[branch])] if branch in cost.dropped else []


def _has(block: nn.Module, path: str) -> bool:
    parent, _, name = path.rpartition(".")
    return getattr(block.get_submodule(parent), name) is not None
