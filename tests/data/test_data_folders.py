"""Folders and tars of class folders."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeflex_tflite.data import open_source
from edgeflex_tflite.data.decoding import decode
from edgeflex_tflite.data.preprocess import Preprocessing
from edgeflex_tflite.errors import UserError

CLASSES = {"cat": 2, "dog10": 1, "dog9": 3}  # in alphabetical order; timm sorts numbers by value
NAMES = ("cat", "dog9", "dog10")
LABELS = [0, 0, 1, 1, 1, 2]


def pack(folder: Path, archive: Path, mode: str = "w") -> Path:
    with tarfile.open(archive, mode) as tar:
        for child in sorted(folder.iterdir(), reverse=True):
            tar.add(child, child.name)
    return archive


def everything_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_folder(tmp_path: Path, class_folders: Callable, picture: Callable) -> None:
    root = class_folders(tmp_path / "pets", CLASSES)
    source = open_source(str(root))
    assert (source.name, source.spec, len(source)) == ("pets", str(root), 6)
    assert source.class_names == NAMES
    assert [source.label(index) for index in range(6)] == LABELS
    image = source.image(5)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(picture(2)))  # the third that was written: dog10/0.png


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tar.xz", "w:xz"), ("TAR", "w")])
def test_tar_reads_as_its_folder(tmp_path: Path, class_folders: Callable, ending: str, mode: str) -> None:
    root = class_folders(tmp_path / "pets", CLASSES)
    archive = pack(root, tmp_path / f"archive.{ending}", mode)
    before = everything_below(tmp_path)
    tar, folder = open_source(str(archive)), open_source(str(root))
    assert tar.class_names == folder.class_names
    assert tar.labels.tolist() == folder.labels.tolist()
    for index in (5, 0, 3):
        assert np.array_equal(np.asarray(tar.image(index)), np.asarray(folder.image(index)))
    assert everything_below(tmp_path) == before  # nothing is written beside the data


def test_unpacked_copy_is_gone_with_the_process(tmp_path: Path, class_folders: Callable) -> None:
    archive = pack(class_folders(tmp_path / "pets", CLASSES), tmp_path / "archive.tar.gz", "w:gz")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import pathlib, sys; from edgeflex_tflite.data.folders import _plain_tar\n"
        "print(_plain_tar(pathlib.Path(sys.argv[1])).stat().st_size)"
    )
    environment = {"TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, str(archive)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(result.stdout) > archive.stat().st_size
    assert not list(scratch.iterdir())


def test_tar_is_read_by_several_processes_at_once(
    tmp_path: Path, class_folders: Callable, plain: Preprocessing
) -> None:
    source = open_source(str(pack(class_folders(tmp_path / "many", {"a": 40, "b": 40}), tmp_path / "many.tar")))
    alone = [pixels for pixels, _ in decode(source, plain, range(80), batch_size=4)]
    together = [pixels for pixels, _ in decode(source, plain, range(80), batch_size=4, workers=2)]
    assert all(bool((one == other).all()) for one, other in zip(alone, together, strict=True))
    pickle.dumps(source)  # which an open file cannot be: worker processes would share its position


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("folders", "split", "chosen"),
    [
        (("train", "val"), "validation", 1),
        (("train", "val"), "train", 0),
        (("Train", "Test"), "validation", 1),
        (("train", "val", "test"), "test", 2),
        (("train", "testing"), "test", 1),
        (("train",), "validation", 0),
    ],
)
def test_split_folders(
    tmp_path: Path, class_folders: Callable, packed: bool, *, folders: tuple[str, ...], split: str, chosen: int
) -> None:
    for number, folder in enumerate(folders):
        class_folders(tmp_path / "root" / folder, {"cat": number + 1, "dog": 1})
    root = pack(tmp_path / "root", tmp_path / "root.tar") if packed else tmp_path / "root"
    source = open_source(str(root), split)
    assert source.labels.tolist() == [0] * (chosen + 1) + [1]
    assert source.class_names == ("cat", "dog")


def test_split_folders_below_the_tars_own_folder(tmp_path: Path, class_folders: Callable) -> None:
    for folder, classes in (("train", {"cat": 3}), ("val", {"cat": 1})):
        class_folders(tmp_path / "all" / "pets" / folder, classes)
    archive = pack(tmp_path / "all", tmp_path / "pets.tar")
    assert len(open_source(str(archive))) == 1
    assert len(open_source(str(archive), "train")) == 3


def test_tar_of_one_image(tmp_path: Path, class_folders: Callable) -> None:
    archive = pack(class_folders(tmp_path / "pets", {"cat": 1}), tmp_path / "pets.tar")
    assert open_source(str(archive)).labels.tolist() == [0]


@pytest.mark.parametrize("packed", [False, True])
def test_class_named_like_a_split(tmp_path: Path, class_folders: Callable, packed: bool) -> None:
    root = class_folders(tmp_path / "vehicles", {"bus": 1, "train": 2})
    source = open_source(str(pack(root, tmp_path / "vehicles.tar") if packed else root), "train")
    assert source.class_names == ("bus", "train")
    assert len(source) == 3


@pytest.mark.parametrize("packed", [False, True])
def test_no_such_split(tmp_path: Path, class_folders: Callable, packed: bool) -> None:
    for folder in ("val", "test"):
        class_folders(tmp_path / "root" / folder, {"cat": 1})
    root = pack(tmp_path / "root", tmp_path / "root.tar") if packed else tmp_path / "root"
    with pytest.raises(UserError, match=r"has no split 'train': it has test, val; ask for one of these"):
        open_source(str(root), "train")


@pytest.mark.parametrize("packed", [False, True])
def test_image_outside_class_folders(tmp_path: Path, class_folders: Callable, picture: Callable, packed: bool) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    picture(0).save(root / "banner.png")
    spec = str(pack(root, tmp_path / "pets.tar") if packed else root)
    with pytest.raises(UserError, match=r"banner\.png is in no class folder; put each image in a folder named for"):
        open_source(spec)


@pytest.mark.parametrize("packed", [False, True])
def test_one_class_in_two_folders(tmp_path: Path, class_folders: Callable, packed: bool) -> None:
    root = class_folders(tmp_path / "pets", {"n01/images": 1, "n02/images": 1})  # timm would see one class, images
    spec = str(pack(root, tmp_path / "pets.tar") if packed else root)
    with pytest.raises(UserError, match=r"two folders for class 'images', .*n01/images and .*n02/images"):
        open_source(spec)


@pytest.mark.parametrize("packed", [False, True])
def test_no_images(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "cat" / "notes.txt").write_text("no image")
    spec = str(pack(tmp_path / "empty", tmp_path / "empty.tar") if packed else tmp_path / "empty")
    with pytest.raises(
        UserError, match=r"empty.*holds no images: \.png, \.jpg, \.jpeg files in class folders are read"
    ):
        open_source(spec)


@pytest.mark.parametrize("packed", [False, True])
def test_unreadable_image_is_named(tmp_path: Path, class_folders: Callable, packed: bool) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 3})
    (root / "cat" / "1.png").write_bytes(b"no image")
    source = open_source(str(pack(root, tmp_path / "pets.tar") if packed else root))
    source.image(0)
    with pytest.raises(
        UserError, match=r"image cat/1\.png cannot be decoded \(no image format\); replace or remove it"
    ):
        source.image(1)


def test_truncated_image_is_named(tmp_path: Path, class_folders: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    file = root / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(UserError, match=r"image cat/0\.png cannot be decoded"):
        open_source(str(root)).image(0)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path, picture: Callable) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    for mode in ("L", "P", "RGBA", "1"):
        picture(0).convert(mode).save(tmp_path / "pets" / "cat" / f"{mode}.png")
    source = open_source(str(tmp_path / "pets"))
    assert {source.image(index).mode for index in range(4)} == {"RGB"}


def test_file_that_is_no_tar(tmp_path: Path) -> None:
    file = tmp_path / "data.tar"
    file.write_bytes(b"these are not the bytes of a tar" * 100)
    with pytest.raises(UserError, match=r"data\.tar' is no tar: a file must be a tar of class folders or an \.npz"):
        open_source(str(file))


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz")])
def test_tar_that_was_cut_off(tmp_path: Path, class_folders: Callable, ending: str, mode: str) -> None:
    archive = pack(class_folders(tmp_path / "pets", {"cat": 30}), tmp_path / f"pets.{ending}", mode)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"cannot be read to its end \(.+\); make or copy it anew"):
        open_source(str(archive))


def test_tar_that_was_cut_between_two_images(tmp_path: Path, class_folders: Callable) -> None:
    archive = pack(class_folders(tmp_path / "pets", {"cat": 3}), tmp_path / "pets.tar")
    with tarfile.open(archive) as tar:
        end = tar.getmembers()[-1].offset
    archive.write_bytes(archive.read_bytes()[:end])
    with pytest.raises(UserError, match=r"cannot be read to its end \(end-of-archive blocks are missing\)"):
        open_source(str(archive))


def test_compressed_tar_without_its_second_half(tmp_path: Path, class_folders: Callable) -> None:
    archive = pack(class_folders(tmp_path / "pets", {"cat": 1}), tmp_path / "pets.tar.gz", "w:gz")
    archive.write_bytes(archive.read_bytes()[:100])  # less than the first header
    with pytest.raises(UserError, match=r"cannot be read to its end"):
        open_source(str(archive))


@pytest.mark.parametrize("kind", ["gz", "xz"])
def test_damaged_compression(tmp_path: Path, class_folders: Callable, kind: str) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    (root / "cat" / "notes.txt").write_text(" ".join(map(str, range(20_000))))
    archive = pack(root, tmp_path / f"pets.tar.{kind}", f"w:{kind}")
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read to its end \(.+\); make or copy it anew"):
        open_source(str(archive))


def test_tar_with_absolute_names(tmp_path: Path, picture: Callable) -> None:
    picture(0).save(tmp_path / "0.png")
    with tarfile.open(tmp_path / "pets.tar", "w") as tar:
        for name in ("/pets/cat/0.png", "pets/dog/0.png"):
            member = tar.gettarinfo(tmp_path / "0.png")
            member.name = name
            tar.addfile(member, (tmp_path / "0.png").open("rb"))
    assert open_source(str(tmp_path / "pets.tar")).class_names == ("cat", "dog")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.dictionaries(st.integers(0, 200), st.integers(0, 255), min_size=1, max_size=4))
def test_damaged_image_decodes_or_is_named(tmp_path: Path, picture: Callable, damage: dict[int, int]) -> None:
    file = tmp_path / "pets" / "cat" / "0.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    picture(0).save(file)
    content = bytearray(file.read_bytes())
    for place, value in damage.items():
        content[place % len(content)] = value
    file.write_bytes(content)
    try:
        assert open_source(str(tmp_path / "pets")).image(0).mode == "RGB"
    except UserError as error:
        assert "image cat/0.png cannot be decoded" in str(error)
        assert "\n" not in str(error)


def test_folder_without_read_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # root, as which tests may run, is refused nothing
    with pytest.raises(UserError, match=r"may not be read .*Permission denied"):
        open_source(str(tmp_path))


def test_tar_without_read_permission(tmp_path: Path, class_folders: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = pack(class_folders(tmp_path / "pets", {"cat": 1}), tmp_path / "pets.tar")

    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tarfile, "is_tarfile", refuse)
    with pytest.raises(UserError, match=r"may not be read .*Permission denied"):
        open_source(str(archive))


def test_folder_that_is_called_npz(tmp_path: Path, class_folders: Callable) -> None:
    assert len(open_source(str(class_folders(tmp_path / "pets.npz", {"cat": 2})))) == 2


def test_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file, folder or known data set '.*nowhere': give a folder or tar"):
        open_source(str(tmp_path / "nowhere"))


def test_image_that_went_away(tmp_path: Path, class_folders: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1})
    source = open_source(str(root))
    shutil.rmtree(root)
    with pytest.raises(UserError, match=r"image cat/0\.png cannot be decoded .*No such file"):
        source.image(0)


def test_tar_of_tars(tmp_path: Path, class_folders: Callable, picture: Callable) -> None:
    root = class_folders(tmp_path / "pets", {"cat": 1, "dog": 2})
    (tmp_path / "tars").mkdir()
    for name in ("cat", "dog"):
        pack(root / name, tmp_path / "tars" / f"{name}.tar")
    source = open_source(str(pack(tmp_path / "tars", tmp_path / "pets.tar")))
    assert source.class_names == ("cat", "dog")
    assert sorted(source.labels.tolist()) == [0, 1, 1]
    colours = {np.asarray(source.image(index)).tobytes() for index in range(3)}
    assert colours == {np.asarray(picture(number)).tobytes() for number in range(3)}


def test_decompression_bomb_is_named(tmp_path: Path, class_folders: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(str(class_folders(tmp_path / "pets", {"cat": 1})))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    with pytest.raises(UserError, match=r"image cat/0\.png cannot be decoded .*decompression bomb"):
        source.image(0)
