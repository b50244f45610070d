"""How far the logits move when one thing in the model is another: the KL divergence on a few images."""

from __future__ import annotations

import dataclasses

from torch import Tensor
from torch.nn import functional as F

from edgeflex_tflite.artifacts import Sensitivity
from edgeflex_tflite.models.edge import Attention, Block, EdgeViT, Mlp
from edgeflex_tflite.profiling.blocks import Tokens, advance, logits_from


class Probe:
    """Holds other logits of the probe images against the dense model's.

    Attributes:
        found: the divergence of each change that was tried.
    """

    def __init__(self, expected: Tensor) -> None:
        self.expected = expected
        self.found: list[Sensitivity] = []

    def __call__(self, actual: Tensor, block: int | None, change: str) -> float:
        divergence = max(kl_divergence(self.expected, actual), 0.0)
        self.found.append(Sensitivity(block, change, divergence))
        return divergence


@dataclasses.dataclass(frozen=True)
class Rest:
    """Asks the rest of the model what it makes of another block in the place of one."""

    model: EdgeViT
    index: int
    tokens: Tokens
    probe: Probe

    def __call__(self, block: Block, change: str) -> float:
        actual = logits_from(self.model, self.index + 1, advance(block, self.tokens))
        return self.probe(actual, self.index, change)


def with_mlp(block: Block, mlp: Mlp) -> Block:
    return Block(block.norm1, block.attn, block.norm2, mlp)


def with_attention(block: Block, attn: Attention) -> Block:
    return Block(block.norm1, attn, block.norm2, block.mlp)


def kl_divergence(expected: Tensor, actual: Tensor) -> float:
    """Mean KL(expected || actual) of two sets of logits `[images, num_classes]`, in nats."""
    p, q = F.log_softmax(expected.double(), dim=-1), F.log_softmax(actual.double(), dim=-1)
    return F.kl_div(q, p, log_target=True, reduction="batchmean").item()
