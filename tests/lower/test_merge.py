"""Merged tokens: what ToMe says, written with loops; nothing lost but the tokens; the file answers as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeflex_tflite.artifacts import Merging
from edgeflex_tflite.errors import UserError, VerificationError
from edgeflex_tflite.lower import flatbuffer
from edgeflex_tflite.lower.choose_merging import fewest_fast_enough, most_accurate_enough
from edgeflex_tflite.lower.export import export_float
from edgeflex_tflite.lower.merge import Merge, merging, most_merged, tokens_entering
from edgeflex_tflite.lower.predict import memory_cost
from edgeflex_tflite.lower.quantizer import quantize_file
from edgeflex_tflite.memory.runtime import measure_arena
from edgeflex_tflite.models.edge import EdgeViT
from edgeflex_tflite.models.translate import to_edge_form
from edgeflex_tflite.verify.readback import check_precisions
from edgeflex_tflite.verify.runner import FileRunner
from tests.conftest import random_vit
from tests.lower.conftest import SPEC, plan_for


def drawn(tokens: int, channels: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, their sizes, their keys."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 5, (tokens, 1), generator=generator).float()
    return (torch.randn(tokens, channels, generator=generator), sizes, torch.randn(tokens, 4, generator=generator))


def merged_by_loops(x: Tensor, size: Tensor, keys: Tensor, prefix: int, count: int) -> tuple[Tensor, Tensor]:
    """ToMe as its paper says it, pair by pair."""
    pairs = (len(x) - prefix) // 2
    firsts, seconds = range(prefix, prefix + 2 * pairs, 2), range(prefix + 1, prefix + 2 * pairs, 2)
    unit = keys / keys.norm(dim=-1, keepdim=True)
    nearest = {first: max(seconds, key=lambda second: (unit[first] @ unit[second]).item()) for first in firsts}
    order = sorted(firsts, key=lambda first: -(unit[first] @ unit[nearest[first]]).item())
    sums, sizes = x * size, size.clone()
    for first in order[:count]:
        sums[nearest[first]] += x[first] * size[first]
        sizes[nearest[first]] += size[first]
    kept = [*range(prefix), *order[count:], *seconds, *range(prefix + 2 * pairs, len(x))]
    return (sums / sizes)[kept], sizes[kept]


@pytest.mark.parametrize(("tokens", "prefix"), [(17, 1), (16, 1), (21, 5), (8, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_as_the_paper_says(tokens: int, prefix: int, seed: int) -> None:
    x, size, keys = drawn(tokens, seed=seed)
    for count in range(1, (tokens - prefix) // 2 + 1):
        actual = Merge(tokens, prefix, count)(x, size, keys)
        for found, wanted in zip(actual, merged_by_loops(x, size, keys, prefix, count), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_no_patch_is_lost_or_counted_twice() -> None:
    """Not even where all tokens are the same, as in the blank parts of an image."""
    x, size, keys = drawn(17)
    for same in (keys, torch.ones_like(keys)):
        merged, sizes = Merge(17, 1, 5)(x, size, same)
        assert len(merged) == 12
        torch.testing.assert_close(sizes.sum(), size.sum())
        torch.testing.assert_close((merged * sizes).sum(0), (x * size).sum(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_of_tokens_as_near_the_first_goes_and_to_the_first(seed: int) -> None:
    """Keys that point along few axes, so that most pairs are as near as others."""
    x, size, _ = drawn(17, seed=seed)
    keys = torch.eye(3)[torch.randint(0, 3, (17,), generator=torch.Generator().manual_seed(seed))]
    for found, wanted in zip(Merge(17, 1, 4)(x, size, keys), merged_by_loops(x, size, keys, 1, 4), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(30))
def test_cosines_that_differ_in_their_last_bits(seed: int) -> None:
    """Whichever are merged, every place gets one token, and none is empty."""
    x, size, _ = drawn(41, seed=seed)
    keys = 1 + 1e-3 * torch.randn(41, 4, generator=torch.Generator().manual_seed(seed))
    merged, sizes = Merge(41, 1, 9)(x, size, keys)
    assert merged.isfinite().all() and sizes.min() >= 1
    torch.testing.assert_close(sizes.sum(), size.sum())
    torch.testing.assert_close((merged * sizes).sum(0), (x * size).sum(0), rtol=1e-4, atol=1e-4)


def test_equal_tokens_count_as_often_as_they_are(edge: EdgeViT) -> None:
    """An attention that reads the merged ones, with their sizes, gives what it gives to all of them."""
    attention = merging(edge, 1).blocks[0].attn
    tokens = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([1.0, 3.0, 1.0, 2.0, 1.0])
    with torch.inference_mode():
        merged, _ = attention(tokens, tokens, sizes[:, None])
        repeated = tokens.repeat_interleave(sizes.long(), dim=0)
        torch.testing.assert_close(merged, attention(tokens, repeated)[0], rtol=1e-5, atol=1e-5)


def test_batches_are_images_one_by_one(edge: EdgeViT) -> None:
    images = torch.randn(3, 3, *edge.img_size, generator=torch.Generator().manual_seed(0))
    changed = merging(edge, 3)
    with torch.inference_mode():
        torch.testing.assert_close(changed(images), torch.cat([changed(image[None]) for image in images]))


def test_tokens_of_each_block(edge: EdgeViT) -> None:
    assert tokens_entering(edge, 0) == [17, 17, 17]
    assert tokens_entering(edge, 3) == [17, 14, 11]
    assert most_merged(edge) == 8
    assert tokens_entering(edge, 8) == tokens_entering(edge, 100) == [17, 9, 5]


def test_the_model_is_left_alone(edge: EdgeViT) -> None:
    before = [name for name, _ in edge.named_modules()]
    merging(edge, 2)
    assert [name for name, _ in edge.named_modules()] == before
    assert merging(edge, 0) is edge


def test_a_head_that_reads_all_tokens() -> None:
    averaged = to_edge_form(random_vit(global_pool="avg", class_token=False))
    with pytest.raises(UserError, match=r"reads all tokens \(avg pooling\)"):
        merging(averaged, 1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8_static"])
def test_the_file(edge: EdgeViT, images: list[NDArray[np.uint8]], tmp_path: Path, precision: str) -> None:
    """It answers as torch does, has every site in its precision and needs the arena that was planned."""
    plan, image = plan_for(edge, precision), np.random.default_rng(0).uniform(0, 255, SPEC.shape).astype(np.float32)
    costs = {}
    for count in (0, 4):
        export_float(edge, SPEC, tmp_path / "float.tflite", merged=count)
        quantize_file(tmp_path / "float.tflite", tmp_path / "file.tflite", plan, [image], threads=1)
        check_precisions(tmp_path / "file.tflite", plan)
        costs[count] = memory_cost(tmp_path / "file.tflite")
        found = measure_arena(tmp_path / "file.tflite")
        assert found.peak_bytes is not None
        assert costs[count].arena_bytes == found.peak_bytes + found.persistent_bytes
    runner, changed = FileRunner(tmp_path / "float.tflite", SPEC, 1), merging(edge, 4)
    normalized = (torch.from_numpy(np.stack(images)) / 255 - torch.tensor(SPEC.mean).view(3, 1, 1)) / torch.tensor(
        SPEC.std
    ).view(3, 1, 1)
    with torch.inference_mode():
        expected = changed(normalized.float()).numpy()
    np.testing.assert_allclose([runner(each) for each in images], expected, rtol=1e-3, atol=1e-4)
    named = {
        tensor.name.decode().split(";")[0] for tensor in flatbuffer.read(tmp_path / "float.tflite").subgraphs[0].tensors
    }
    assert named <= {*plan.weights, *plan.compute}


def test_the_fewest_that_are_fast_enough() -> None:
    found = fewest_fast_enough(lambda count: 10.0 - count, target_ms=6.5, least=0, most=8)
    assert found == Merging(4, ((0, 10.0), (8, 2.0), (4, 6.0), (2, 8.0), (3, 7.0)))
    assert fewest_fast_enough(lambda count: 10.0 - count, 10.0, 0, 8) == Merging(0, ((0, 10.0),))
    assert fewest_fast_enough(lambda count: 10.0 - count, 10.0, 3, 8) == Merging(3, ((3, 7.0),))


def test_a_latency_out_of_reach() -> None:
    with pytest.raises(VerificationError, match=r"takes 10\.00 ms on this machine and 2\.00 ms with 8 pairs"):
        fewest_fast_enough(lambda count: 10.0 - count, 1.0, 0, 8)
    with pytest.raises(VerificationError, match=r"latency_target_ms 1 is out of reach"):
        fewest_fast_enough(lambda count: 10.0 - count, 1.0, 9, 8)


def test_the_most_that_are_accurate_enough() -> None:
    found = most_accurate_enough(lambda count: 0.1 * count, allowed=0.35, least=0, most=8)
    assert found.count == 3
    assert [count for count, _ in found.drops] == [0, 8, 4, 2, 3]
    assert found.drops[1] == (8, 0.8) and found.tried == ()
    assert most_accurate_enough(lambda count: 0.1 * count, 0.9, 0, 8) == Merging(8, drops=((0, 0.0), (8, 0.8)))
    assert most_accurate_enough(lambda _: 0.1, 0.2, 8, 8) == Merging(8, drops=((8, 0.1),))


def test_every_loss_gets_the_most_that_it_allows() -> None:
    for allowed in range(12):
        found = most_accurate_enough(float, allowed, 0, 9)
        assert found.count == min(allowed, 9)
        assert dict(found.drops)[found.count] <= allowed


def test_nothing_left_to_give_for_fewer_tokens() -> None:
    with pytest.raises(VerificationError, match=r"loses 2\.00 points of top-1 with all its tokens, more than the 1 of"):
        most_accurate_enough(lambda count: 2.0 + count, 1.0, 0, 8)
    with pytest.raises(VerificationError, match=r"loses 5\.00 points of top-1 with 3 pairs of tokens merged"):
        most_accurate_enough(lambda count: 2.0 + count, 1.0, 3, 8)
