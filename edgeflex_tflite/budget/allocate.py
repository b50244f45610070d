"""The choice, one option for every part of a model, that loses least within a number of bytes.

That is the multiple-choice knapsack problem, and is given to HiGHS as an integer program: with x_po = 1 where part p
takes option o, minimize `sum d_po x_po` subject to `sum b_po x_po <= limit` and `sum_o x_po = 1` for every part.
Where nothing tells the parts apart there is nothing to choose, and `allocate_evenly` lowers them together.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from edgeflex_tflite.artifacts import Dtype
from edgeflex_tflite.errors import UserError

RELATIVE_GAP = 1e-3
"""How much better than the choice that is found another one may be, over its divergence; predictions are coarser."""
PRESOLVE = False
"""With it, the HiGHS of SciPy 1.17 misses the best where one option takes the limit alone and others next to none."""
NODES = 20_000
"""Of the solver's tree, after which the best choice found so far is taken: some 20 seconds. A number of seconds would
make the choice one of the machine."""


@dataclasses.dataclass(frozen=True)
class Option:
    """One way to write a part of the model.

    Attributes:
        bytes: of weights, and of arena that is held from the start.
        divergence: predicted KL divergence of the logits, in nats.
        sizes: of a block, by their names in `BlockShape`, where they are not the dense ones.
        dtypes: of sites, where they are not the planned ones.
    """

    bytes: int
    divergence: float
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    dtypes: Mapping[str, Dtype] = dataclasses.field(default_factory=dict)


def not_dominated(options: Iterable[Option]) -> list[Option]:
    """Options than which none is both smaller and better, from the largest to the smallest."""
    kept: list[Option] = []
    for option in sorted(options, key=lambda option: (option.bytes, option.divergence)):
        if not kept or option.divergence < kept[-1].divergence:
            kept.append(option)
    return kept[::-1]


def allocate(parts: Sequence[Sequence[Option]], limit_bytes: int) -> list[Option]:
    """For each part the option to take, so that the least is lost within `limit_bytes`.

    Raises:
        UserError: even the smallest options take more.
    """
    candidates = _candidates(parts, limit_bytes)
    return _within(candidates, _solve(candidates, limit_bytes), limit_bytes)


def allocate_evenly(parts: Sequence[Sequence[Option]], limit_bytes: int) -> list[Option]:
    """For each part the option to take, by single steps of the part that loses least a byte until all are in the limit.

    For parts that are equal but for their sizes, of which the first take one step more than the last at most.

    Raises:
        UserError: even the smallest options take more.
    """
    candidates = _candidates(parts, limit_bytes)
    chosen = [options[0] for options in candidates]
    taken = sum(option.bytes for option in chosen)
    steps = sorted(step for number, options in enumerate(candidates) for step in _steps(number, options))
    for _, part, place in steps:
        if taken <= limit_bytes:
            break
        after = candidates[part][place]
        taken -= chosen[part].bytes - after.bytes
        chosen[part] = after
    return chosen


def _steps(part: int, options: Sequence[Option]) -> Iterable[tuple[float, int, int]]:
    """Loss a byte of each step from one option to the next; none is less than that of the step before it."""
    slope = 0.0
    for place, (before, after) in enumerate(itertools.pairwise(options), 1):
        slope = max(slope, (after.divergence - before.divergence) / (before.bytes - after.bytes))
        yield slope, part, place


def _candidates(parts: Sequence[Sequence[Option]], limit: int) -> list[list[Option]]:
    least = sum(min(option.bytes for option in options) for options in parts)
    if least > limit:
        raise UserError(f"what may be changed takes {least:,} bytes at least, and {limit:,} are left for it")
    return [not_dominated(options) for options in parts]


def _solve(candidates: list[list[Option]], limit: int) -> list[Option]:
    flat = [(part, option) for part, options in enumerate(candidates) for option in options]
    costs = np.array([option.divergence for _, option in flat], dtype=float)
    uses = np.array([option.bytes for _, option in flat], dtype=float)
    scale = max(limit, 1)
    one_each = sparse.csr_array((np.ones(len(flat)), ([part for part, _ in flat], range(len(flat)))))
    found = milp(
        costs / max(costs.max(), np.finfo(float).tiny),
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, np.where(uses <= limit, 1, 0)),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(np.minimum(uses / scale, 2)[None], ub=1)],
        options={"mip_rel_gap": RELATIVE_GAP, "node_limit": NODES, "presolve": PRESOLVE},
    )
    assert found.x is not None, found.message
    ends = np.cumsum([len(options) for options in candidates])[:-1]
    return [options[int(x.argmax())] for options, x in zip(candidates, np.split(found.x, ends), strict=True)]


def _within(candidates: list[list[Option]], chosen: list[Option], limit: int) -> list[Option]:
    """The solver keeps to the limit up to its tolerance: take fewer bytes, where they cost least, until it is kept."""
    chosen = list(chosen)
    while sum(option.bytes for option in chosen) > limit:
        steps = [
            (other.divergence - chosen[part].divergence, part, other)
            for part, options in enumerate(candidates)
            for other in options
            if other.bytes < chosen[part].bytes
        ]
        _, part, other = min(steps, key=lambda step: step[:2])
        chosen[part] = other
    return chosen
