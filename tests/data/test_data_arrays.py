"""`.npz` files and the demonstration digits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from edgeflex_tflite.data import open_source
from edgeflex_tflite.errors import UserError

COLOUR = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
GREY = COLOUR[..., 0]
LABELS = np.array([1, 0], dtype=np.int16)


def saved(path: Path, **arrays: Any) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_colour(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path / "tiny.npz", images=COLOUR, labels=LABELS, class_names=["cat", "dog"]))
    assert (source.name, len(source), source.class_names) == ("tiny", 2, ("cat", "dog"))
    assert source.labels.dtype == np.int64
    assert [source.label(0), source.label(1)] == [1, 0]
    assert source.image(1).mode == "RGB"
    assert np.array_equal(np.asarray(source.image(1)), COLOUR[1])


def test_grey_becomes_rgb(tmp_path: Path) -> None:
    source = open_source(saved(tmp_path / "tiny.npz", images=GREY, labels=LABELS))
    assert source.class_names is None
    assert np.array_equal(np.asarray(source.image(0)), np.stack([GREY[0]] * 3, axis=-1))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": COLOUR}, "has no array labels: an .npz holds images uint8"),
        ({"labels": LABELS}, "has no array images: "),
        ({"images": COLOUR / 255, "labels": LABELS}, r"images is float64 \[2, 3, 4, 3\], but an .npz holds images"),
        ({"images": COLOUR[..., :2], "labels": LABELS}, r"images is uint8 \[2, 3, 4, 2\]"),
        ({"images": COLOUR[0, 0], "labels": LABELS}, r"images is uint8 \[4, 3\]"),
        ({"images": COLOUR[:0], "labels": LABELS[:0]}, r"images is empty, \[0, 3, 4, 3\]"),
        ({"images": COLOUR, "labels": LABELS[:1]}, r"labels is int16 \[1\] for 2 images"),
        ({"images": COLOUR, "labels": LABELS.astype(float)}, r"labels is float64 \[2\] for 2 images"),
        ({"images": COLOUR, "labels": -LABELS}, "labels holds -1"),
        ({"images": COLOUR, "labels": LABELS, "class_names": [3, 4]}, r"class_names is int64 \[2\], not strings"),
        ({"images": COLOUR, "labels": LABELS, "class_names": ["cat"]}, "labels goes up to 1 while class_names has 1"),
        ({"images": np.array([COLOUR, None], dtype=object), "labels": LABELS}, r"cannot be read as \.npz \(Object arr"),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(saved(tmp_path / "wrong.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"no archive at all", None])
def test_corrupt_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "corrupt.npz"
    whole = Path(saved(path, images=COLOUR, labels=LABELS)).read_bytes()
    path.write_bytes(whole[:200] if content is None else content)
    with pytest.raises(UserError, match=r"corrupt\.npz' cannot be read as \.npz \(.+\): .*; write the file anew"):
        open_source(str(path))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 500), st.integers(0, 255), min_size=1, max_size=4), st.booleans())
def test_damaged_file_opens_or_is_refused(tmp_path: Path, damage: dict[int, int], packed: bool) -> None:
    path = tmp_path / "damaged.npz"
    (np.savez_compressed if packed else np.savez)(path, images=COLOUR, labels=LABELS)
    content = bytearray(path.read_bytes())
    for place, value in damage.items():
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        assert len(open_source(str(path))) == 2
    except UserError as error:
        assert "damaged.npz'" in str(error)
        assert "\n" not in str(error)


def test_compression_that_python_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "odd.npz"
    np.savez(path, images=COLOUR, labels=LABELS)
    path.write_bytes(
        path.read_bytes().replace(b"PK\x01\x02-\x03-\x00\x00\x00\x00\x00", b"PK\x01\x02-\x03-\x00\x00\x00\x63\x00")
    )
    with pytest.raises(UserError, match=r"cannot be read as \.npz \(That compression method is not supported\)"):
        open_source(str(path))


def test_npy_that_is_called_npz(tmp_path: Path) -> None:
    path = tmp_path / "array.npz"
    with path.open("wb") as file:
        np.save(file, COLOUR)
    with pytest.raises(UserError, match=r"cannot be read as \.npz \(File is not a zip file\)"):
        open_source(str(path))


def test_demo_is_all_digits_once() -> None:
    train, test = open_source("demo/train"), open_source("demo/test")
    assert (len(train), len(test)) == (1000, 797)
    assert train.class_names == test.class_names == tuple("0123456789")
    digits = load_digits()
    expected = sorted((label, image.tobytes()) for label, image in zip(digits.target, digits.images, strict=True))
    found = sorted(
        (source.label(index), (np.asarray(source.image(index))[..., 0] * (16 / 255)).round().tobytes())
        for source in (train, test)
        for index in range(len(source))
    )
    assert found == expected


def test_demo_is_stratified_and_stays_the_same() -> None:
    train, test = open_source("demo/train"), open_source("demo/test")
    shares = np.bincount(train.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    assert np.allclose(shares, 1000 / 1797, atol=0.01)
    content = b"".join(np.asarray(test.image(index)).tobytes() for index in range(len(test)))
    assert (
        hashlib.sha256(content + test.labels.tobytes()).hexdigest()
        == "fcd30787e36acc4ca5b0653ce79f05a9e9bbd22f12de7070a85f6c1b093a131e"
    )


@pytest.mark.parametrize(("split", "part"), [("train", "train"), ("validation", "test"), ("test", "test")])
def test_demo_follows_the_split(split: str, part: str) -> None:
    assert open_source("demo", split).spec == f"demo/{part}"


def test_demo_pixels_span_the_range() -> None:
    source = open_source("demo/test")
    image = source.image(0)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    values = {value for index in range(20) for value in np.unique(np.asarray(source.image(index)))}
    assert min(values) == 0
    assert max(values) == 255
