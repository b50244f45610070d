"""Fewer channels for the queries and keys of each head, so that the scores change least.

A head's scores are `q . k`, and what is left of them when both have only r channels is `q^T A C^T k`. With
`G_Q = E[q q^T]`, and G_K the second moments of the keys, the mean squared error of the scores over all pairs is
`|| G_Q^1/2 (I - A C^T) G_K^1/2 ||^2`. With the singular values `G_Q^1/2 G_K^1/2 = U S V^T` it is least at
`A = G_Q^-1/2 U_r S_r^1/2` and `C = G_K^-1/2 V_r S_r^1/2`, and it is the sum of the squares of the singular values left
out. Linears absorb both: `W_Q <- A^T W_Q`, `W_K <- C^T W_K`, and their biases alike.

The softmax is blind to whatever all keys of an image share, because it adds the same to all scores of a query. So G_K
is the covariance of the keys within an image, and the bias of K is free: it takes the mean away.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

RELATIVE_RIDGE = 1e-6
"""Of the mean variance: directions that no calibration token takes stay invertible."""


class ScoreMoments:
    """What the error of a head's scores depends on, over calibration images, in float64.

    Attributes:
        query_second: E[q q^T], `[heads, d, d]`.
        key_mean: E[k], `[heads, d]`.
        key_covariance: of the keys around the mean of their image, `[heads, d, d]`.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """From queries `[..., heads, queries, d]` and keys `[..., heads, tokens, d]` of images, a batch each."""
        queries = tokens = 0
        query_gram = key_gram = key_total = torch.zeros(())
        for query, key in batches:
            centred = key - key.mean(-2, keepdim=True)
            query_gram = query_gram + _gram(query)
            key_gram = key_gram + _gram(centred)
            key_total = key_total + _rows(key).sum(-2, dtype=torch.float64)
            queries, tokens = queries + _rows(query).shape[-2], tokens + _rows(key).shape[-2]
        self.query_second, self.key_covariance = query_gram / queries, key_gram / tokens
        self.key_mean = key_total / tokens


def _rows(x: Tensor) -> Tensor:
    """`[..., heads, tokens, d]` -> `[heads, all tokens, d]`."""
    return x.movedim(-3, 0).flatten(1, -2)


def _gram(x: Tensor) -> Tensor:
    rows = _rows(x)
    return (rows.mT @ rows).double()


def query_key_maps(moments: ScoreMoments, rank: int) -> tuple[Tensor, Tensor]:
    """A and C of every head, `float64 [heads, d, rank]`: scores are `(A^T q) . (C^T (k - mean))`.

    At `rank == d`, `A C^T` is the identity: the weights of the softmax are what they were, for any input.
    """
    (query_root, query_inverse), (key_root, key_inverse) = _roots(moments.query_second), _roots(moments.key_covariance)
    U, S, Vh = torch.linalg.svd(query_root @ key_root)
    scale = S[:, None, :rank].sqrt()
    return query_inverse @ U[..., :rank] * scale, key_inverse @ Vh.mT[..., :rank] * scale


def score_error_curve(moments: ScoreMoments) -> Tensor:
    """Mean squared error of the scores, summed over heads, for every number of channels that each head loses.

    Returns:
        `float64 [d + 1]`: entry k when k channels of each head are cut. What all scores of a query share is no error.
    """
    query_root, key_root = _roots(moments.query_second)[0], _roots(moments.key_covariance)[0]
    each = torch.linalg.svdvals(query_root @ key_root).square().sum(0)
    return torch.cat([torch.zeros(1, dtype=torch.float64), each.flip(0).cumsum(0)])


def _roots(second: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric square roots of second moments with their ridge, and the roots' inverses: `[heads, d, d]` each."""
    values, vectors = torch.linalg.eigh(second)
    ridge = RELATIVE_RIDGE * values.mean(-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    roots = (values.clamp_min(0) + ridge).sqrt()[:, None]
    return vectors * roots @ vectors.mT, vectors / roots @ vectors.mT
