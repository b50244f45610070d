"""The closed form for queries and keys against the scores themselves, and what the softmax does not see."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgeflex_tflite.prune import query_key
from edgeflex_tflite.prune.query_key import ScoreMoments, query_key_maps, score_error_curve


def heads_of(seed: int, heads: int = 2, images: int = 6, tokens: int = 5, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Queries and keys `float64 [images, heads, tokens, dim]` with correlated channels and means of their own."""
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        mixing = torch.randn(heads, dim, dim, generator=generator, dtype=torch.float64)
        x = torch.randn(images, heads, tokens, dim, generator=generator, dtype=torch.float64) @ mixing
        return x + torch.randn(heads, 1, dim, generator=generator, dtype=torch.float64)

    return draw(), draw()


def mapped_scores(query: Tensor, key: Tensor, moments: ScoreMoments, rank: int) -> Tensor:
    A, C = query_key_maps(moments, rank)
    return (query @ A) @ ((key - moments.key_mean[:, None]) @ C).mT


def centred(key: Tensor) -> Tensor:
    return key - key.mean(-2, keepdim=True)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5), tokens=st.integers(2, 6))
def test_moments_are_those_of_all_images_at_once(seed: int, dim: int, tokens: int) -> None:
    query, key = heads_of(seed, dim=dim, tokens=tokens)
    moments = ScoreMoments(zip(query.split(4), key.split(4), strict=True))
    q, k, around = (x.movedim(1, 0).flatten(1, 2) for x in (query, key, centred(key)))
    torch.testing.assert_close(moments.query_second, q.mT @ q / q.shape[1])
    torch.testing.assert_close(moments.key_mean, k.mean(1))
    torch.testing.assert_close(moments.key_covariance, around.mT @ around / k.shape[1])


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 5))
def test_full_rank_is_exact_for_any_input(seed: int, dim: int) -> None:
    """The scores are those of the keys without their mean, so the softmax weights are those of the keys."""
    moments = ScoreMoments([heads_of(seed, dim=dim)])
    query, key = heads_of(seed + 1, dim=dim)
    scores = mapped_scores(query, key, moments, dim)
    torch.testing.assert_close(scores, query @ (key - moments.key_mean[:, None]).mT, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(scores.softmax(-1), (query @ key.mT).softmax(-1), rtol=1e-7, atol=1e-7)


def test_directions_that_calibration_lacks_stay_exact() -> None:
    query, key = heads_of(0)
    moments = ScoreMoments([(query * torch.tensor([1.0, 1, 0, 0]), key * torch.tensor([0.0, 1, 1, 1]))])
    scores = mapped_scores(query, key, moments, 4)
    torch.testing.assert_close(scores, query @ (key - moments.key_mean[:, None]).mT, rtol=1e-5, atol=1e-5)


def test_constant_queries_and_keys_are_no_obstacle() -> None:
    """No variance at all: nothing is infinite."""
    moments = ScoreMoments([(torch.zeros(2, 1, 3, 4), torch.ones(2, 1, 3, 4))])
    A, C = query_key_maps(moments, 2)
    assert A.isfinite().all() and C.isfinite().all()
    assert score_error_curve(moments).max() < 1e-12


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 4))
def test_error_is_the_least_and_what_the_curve_says(seed: int, rank: int) -> None:
    """Over all pairs of calibration queries and keys around their image's mean, by the SVD of the score matrix."""
    query, key = heads_of(seed)
    moments = ScoreMoments([(query, key)])
    q, k = (x.movedim(1, 0).flatten(1, 2) for x in (query, centred(key)))
    scores = q @ k.mT
    U, S, Vh = torch.linalg.svd(scores, full_matrices=False)
    least = scores - U[..., :rank] * S[:, None, :rank] @ Vh[:, :rank]
    A, C = query_key_maps(moments, rank)
    error = (scores - (q @ A) @ (k @ C).mT).square().mean((1, 2)).sum()
    size = scores.square().mean((1, 2)).sum()
    assert error.item() == pytest.approx(least.square().mean((1, 2)).sum().item(), rel=1e-3, abs=1e-5 * size.item())
    assert score_error_curve(moments)[4 - rank].item() == pytest.approx(error.item(), rel=1e-3, abs=1e-5 * size.item())


def test_queries_and_keys_share_the_scale() -> None:
    query, key = heads_of(3)
    moments = ScoreMoments([(query, key)])
    A, C = query_key_maps(moments, 3)
    sizes = [M.mT @ G @ M for M, G in ((A, moments.query_second), (C, moments.key_covariance))]
    torch.testing.assert_close(sizes[0], sizes[1], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sizes[0], torch.diag_embed(sizes[0].diagonal(dim1=1, dim2=2)), rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_what_the_keys_of_an_image_share_does_not_count(seed: int) -> None:
    """A shift of all keys of each image, large and in a direction of its own, changes neither rank nor maps."""
    query, key = heads_of(seed)
    shift = 10 * torch.randn(6, 2, 1, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    plain, shifted = ScoreMoments([(query, key)]), ScoreMoments([(query, key + shift)])
    torch.testing.assert_close(score_error_curve(plain), score_error_curve(shifted), rtol=1e-7, atol=1e-9)
    before, after = (mapped_scores(query, x, m, 2).softmax(-1) for x, m in ((key, plain), (key + shift, shifted)))
    torch.testing.assert_close(before, after, rtol=1e-6, atol=1e-6)


def test_centring_the_keys_saves_a_rank() -> None:
    """Keys of one dimension around a mean in another: rank 1 is enough, and would not be for the keys as they are."""
    query, _ = heads_of(1)
    generator = torch.Generator().manual_seed(2)
    around = torch.randn(6, 2, 5, 1, generator=generator, dtype=torch.float64) * torch.tensor([0.0, 0, 1, 1])
    key = around + torch.tensor([5.0, 0, 0, 0])
    moments = ScoreMoments([(query, key)])
    expected = (query @ key.mT).softmax(-1)
    torch.testing.assert_close(mapped_scores(query, key, moments, 1).softmax(-1), expected, rtol=1e-4, atol=1e-4)
    moments.key_covariance = (key.mT @ key / 5).mean(0)
    assert (mapped_scores(query, key, moments, 1).softmax(-1) - expected).abs().max() > 1e-2


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), dim=st.integers(1, 6))
def test_curve_grows_from_zero_to_all_of_the_scores(seed: int, dim: int) -> None:
    query, key = heads_of(seed, dim=dim)
    moments = ScoreMoments([(query, key)])
    curve = score_error_curve(moments)
    everything = (moments.query_second @ moments.key_covariance).diagonal(dim1=1, dim2=2).sum().item()
    assert curve.shape == (dim + 1,) and curve[0] == 0
    assert bool((curve.diff() >= 0).all())
    assert curve[-1].item() == pytest.approx(everything, rel=100 * query_key.RELATIVE_RIDGE)
