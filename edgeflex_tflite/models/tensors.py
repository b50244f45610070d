"""Models that share their tensors: surgery puts new tensors into modules, and never writes into one that is there."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def twin(module: Module) -> Module:
    """The same modules anew, with the same tensors: what is put into one of them leaves the other alone."""
    tensors = itertools.chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def frozen(tensor: Tensor) -> nn.Parameter:
    """A parameter that is not trained."""
    return nn.Parameter(tensor.contiguous(), requires_grad=False)


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A frozen linear of `weight [out, in]` and `bias [out]`, or without one, in float32; float32 is not copied."""
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    new.weight = frozen(weight.float())
    if bias is not None:
        new.bias = frozen(bias.float())
    return new
