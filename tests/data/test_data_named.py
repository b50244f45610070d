"""Data sets that timm names by a prefix."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeflex_tflite.data import open_source
from edgeflex_tflite.data.named import _network
from edgeflex_tflite.errors import UserError


def write_mnist(root: Path, images: np.ndarray, labels: np.ndarray, kind: str = "t10k") -> None:
    """MNIST's own files: a big-endian header, then bytes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        chosen = slice(None) if part == kind else slice(0, 1)
        pixels, classes = images[chosen], labels[chosen]
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *pixels.shape) + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(classes)) + classes.tobytes())


def test_torchvision_by_name(tmp_path: Path) -> None:
    images = np.arange(5 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(5, 28, 28)
    write_mnist(tmp_path, images, np.array([3, 1, 4, 1, 5], dtype=np.uint8))
    source = open_source(f"torch/mnist:{tmp_path}")
    assert source.name == "torch/mnist"
    assert source.labels.tolist() == [3, 1, 4, 1, 5]
    assert source.class_names is not None
    assert len(source.class_names) == 10
    assert source.image(4).mode == "RGB"
    assert np.array_equal(np.asarray(source.image(4))[..., 2], images[4])
    assert len(open_source(f"torch/mnist:{tmp_path}", "train")) == 1


def test_labels_that_are_no_plain_list(tmp_path: Path) -> None:
    """QMNIST keeps eight numbers an image; the class is one of them."""
    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels, extended = np.zeros((3, 28, 28), np.uint8), np.zeros((3, 8), ">i4")
    extended[:, 0] = [7, 8, 9]
    (raw / "qmnist-test-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *pixels.shape) + pixels.tobytes())
    header = struct.pack(">3i", 0x0C02, *extended.shape)
    (raw / "qmnist-test-labels-idx2-int").write_bytes(header + extended.tobytes())
    assert open_source(f"torch/qmnist:{tmp_path}", "test").labels.tolist() == [7, 8, 9]


def test_torchvision_folder(tmp_path: Path, class_folders: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "dog": 2})
    source = open_source(f"torch/folder:{root}")
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 1, 1]
    (root / "dog" / "0.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"image number 1 cannot be decoded"):
        source.image(1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch/cifar10", r"names no folder that exists: write torch/cifar10:<folder that has the data>"),
        ("torch/cifar10:{here}/nowhere", r"names no folder that exists"),
        ("torch/cifar10:{here}", r"cannot be opened \(Dataset not found or corrupted"),
        ("torch/nosuch:{here}", r"cannot be opened \(Unknown torchvision dataset nosuch\); check the name"),
        ("torch/imagenet:{here}", r"is not unpacked, and torchvision would do so there; give the class folders' path"),
    ],
)
def test_torchvision_errors(tmp_path: Path, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(spec.format(here=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spec", ["tfds/mnist", "wds/shards:/data", "hfids/some/name"])
def test_data_without_numbers(spec: str) -> None:
    with pytest.raises(UserError, match=rf"{spec}' can only be read in order, but images are drawn by number: give a"):
        open_source(spec)


@pytest.mark.parametrize("spec", ["keras/cifar10", "demo/all", "torch/", ""])
def test_unknown_names(spec: str) -> None:
    with pytest.raises(UserError, match=rf"no file, folder or known data set '{spec}': give a folder or tar of class"):
        open_source(spec)


def test_hugging_face_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datasets" else found(name))
    with pytest.raises(UserError, match=r"'hfds/some/name' needs the package datasets: run pip install datasets"):
        open_source("hfds/some/name")


def write_parquet(root: Path, **columns: list) -> Path:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's package datasets is not installed")
    kinds = {
        "img": datasets.Image(),
        "label": datasets.ClassLabel(names=["cat", "dog"]),
        "text": datasets.Value("string"),
    }
    features = datasets.Features({name: kinds[name] for name in columns})
    root.mkdir()
    for split in ("train", "test"):
        datasets.Dataset.from_dict(columns, features=features).to_parquet(root / f"{split}.parquet")
        columns = {name: values[:2] for name, values in columns.items()}
    return root


def test_hugging_face(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    pictures = [picture(number) for number in range(3)]
    root = write_parquet(tmp_path / "pets", img=pictures, label=[0, 1, 1])
    source = open_source(f"hfds/{root}:{tmp_path / 'cache'}", "train")
    assert source.class_names == ("cat", "dog")
    assert source.labels.tolist() == [0, 1, 1]
    assert np.array_equal(np.asarray(source.image(2)), np.asarray(pictures[2]))
    assert len(open_source(f"hfds/{root}:{tmp_path / 'cache'}")) == 2  # test stands in for validation


def test_hugging_face_without_labels(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    root = write_parquet(tmp_path / "pets", img=[picture(number) for number in range(3)], text=["a", "b", "c"])
    with pytest.raises(UserError, match=r"has columns img, text: an Image and a ClassLabel are needed"):
        open_source(f"hfds/{root}:{tmp_path / 'cache'}")


def test_hugging_face_fetches_nothing(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="Hugging Face's package datasets is not installed")
    with pytest.raises(UserError, match=r"cannot be opened \(.*[Oo]ffline.*\); load it once with datasets"):
        open_source(f"hfds/some/name:{tmp_path}")


def test_hugging_face_damaged(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    root = write_parquet(tmp_path / "pets", img=[picture(0)], label=[0])
    (root / "test.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match=r"cannot be opened \(.+\); load it once with datasets"):
        open_source(f"hfds/{root}:{tmp_path / 'cache'}")


@pytest.mark.parametrize("allowed", [False, True])
def test_the_network_is_left_as_it_was(allowed: bool) -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face's package datasets is not installed")
    before = datasets.config.HF_HUB_OFFLINE
    with _network(allowed):
        assert (before or not allowed) == datasets.config.HF_HUB_OFFLINE
    assert before == datasets.config.HF_HUB_OFFLINE
