"""Linears that read their input as the file's integer kernels do, while their weights are still being chosen."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

RoundInput = Callable[[Tensor], Tensor]


class RoundedLinear(nn.Linear):
    """A linear that rounds its input first; it shares its parameters with the one that it stands for."""

    def __init__(self, linear: nn.Linear, round_input: RoundInput) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.round_input = round_input

    def plain(self) -> nn.Linear:
        """The linear alone, with the same parameters."""
        linear = nn.Linear(self.in_features, self.out_features, device="meta")
        linear.weight, linear.bias = self.weight, self.bias
        return linear

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.round_input(x), self.weight, self.bias)


def seen(linear: nn.Module, x: Tensor) -> Tensor:
    """What a linear multiplies when it is given x."""
    return linear.round_input(x) if isinstance(linear, RoundedLinear) else x
