"""Checkpoints load into the model that they belong to; anything else is refused with what to do instead."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn

from edgeflex_tflite.errors import UserError
from edgeflex_tflite.models import demo
from edgeflex_tflite.models.load import load_model

NAME = "test_vit"
SIZE, CLASSES = 32, 6
State = dict[str, Tensor]


def random_model(name: str = NAME, img_size: int = SIZE, classes: int = CLASSES) -> nn.Module:
    torch.manual_seed(5)
    model = timm.create_model(name, img_size=img_size, num_classes=classes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="module")
def state() -> State:
    return random_model().state_dict()


def save(state: Any, path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


def load(checkpoint: str | None, name: str = NAME, **options: Any) -> nn.Module:
    return load_model(name, checkpoint=checkpoint, **({"img_size": SIZE} | options))


WRAPPINGS: list[tuple[str, str, Callable[[State], Any]]] = [
    ("safetensors", "a.safetensors", dict),
    ("pt", "a.pt", dict),
    ("pth", "a.pth", dict),
    ("bin", "a.bin", dict),
    ("tar", "a.pth.tar", dict),
    ("state_dict", "a.pt", lambda state: {"state_dict": state, "epoch": 3}),
    ("model", "a.pt", lambda state: {"model": state, "epoch": 3}),
    ("data parallel", "a.pt", lambda state: {f"module.{key}": value for key, value in state.items()}),
]


@pytest.mark.parametrize(("file", "wrap"), [row[1:] for row in WRAPPINGS], ids=[row[0] for row in WRAPPINGS])
def test_checkpoint_is_loaded(tmp_path: Path, state: State, file: str, wrap: Callable[[State], Any]) -> None:
    model = load(save(wrap(state), tmp_path / file))
    found = model.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
    assert not model.training
    assert model.num_classes == CLASSES


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("file", ["a.safetensors", "a.pt"])
def test_other_precisions_become_float32(tmp_path: Path, state: State, dtype: torch.dtype, file: str) -> None:
    found = load(save({key: value.to(dtype) for key, value in state.items()}, tmp_path / file)).state_dict()
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert all(torch.equal(found[key], state[key].to(dtype).float()) for key in state)


def test_positions_are_resampled_to_the_image(tmp_path: Path, state: State) -> None:
    found = load(save(state, tmp_path / "a.pt"), img_size=64).state_dict()
    expected = resample_abs_pos_embed(state["pos_embed"], [4, 4], num_prefix_tokens=1)
    assert found["pos_embed"].shape == (1, 17, 64)
    torch.testing.assert_close(found["pos_embed"], expected)
    rest = [key for key in state if key != "pos_embed"]
    assert all(torch.equal(found[key], state[key]) for key in rest)


def test_half_precision_is_resampled_in_single(tmp_path: Path, state: State) -> None:
    half = {key: value.half() for key, value in state.items()}
    found = load(save(half, tmp_path / "a.pt"), img_size=64).state_dict()["pos_embed"]
    expected = resample_abs_pos_embed(half["pos_embed"].float(), [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_image_size_of_the_name_is_the_default(tmp_path: Path, state: State) -> None:
    model: Any = load(save(state, tmp_path / "a.pt"), img_size=None)
    assert model.patch_embed.img_size == (160, 160)


def test_demo_needs_no_checkpoint() -> None:
    torch.manual_seed(0)
    model: Any = load_model(demo.NAME)
    weights = load_model(demo.NAME, checkpoint=str(demo.WEIGHTS)).state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert not model.training


def test_demo_takes_other_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = timm.create_model(demo.NAME).state_dict()
    found = load_model(demo.NAME, checkpoint=save(state, tmp_path / "a.pt")).state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)


class Arbitrary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "plain pickle"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, state: State, legacy: bool) -> None:
    trace, path = tmp_path / "trace", tmp_path / "a.pt"
    content = state | {"extra": Arbitrary(trace)}
    if legacy:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=r"cannot be read as \.pt weights"):
        load(str(path))
    assert not trace.exists()
    pickle.loads(pickle.dumps(Arbitrary(trace)))
    assert trace.exists(), "the planted code would not have run anyway"


NAMING: list[tuple[dict[str, Any], str]] = [
    ({"name": "vit_tiny_patch16_225"}, "unknown model 'vit_tiny_patch16_225': did you mean vit_tiny_patch16_224"),
    ({"name": "zzz"}, r"unknown model 'zzz': timm.list_models\('vit_\*'\)"),
    ({"name": NAME}, f"no weights for {NAME}: give --checkpoint=FILE, or --pretrained"),
    ({"name": NAME, "pretrained": True, "checkpoint": "a.pt"}, "--pretrained and --checkpoint contradict each other"),
    ({"name": NAME, "checkpoint": "a.pt", "img_size": 0}, "img_size is 0: give pixels, above 0"),
    ({"name": NAME, "checkpoint": "a.pt", "img_size": -8}, "img_size is -8"),
    ({"name": NAME, "checkpoint": "a.pt", "num_classes": 0}, "num_classes is 0: give the number of classes"),
    ({"name": NAME, "checkpoint": "a.pt", "num_classes": -1}, "num_classes is -1"),
    ({"name": NAME, "checkpoint": "nowhere/a.pt"}, "checkpoint nowhere/a.pt does not exist"),
]


@pytest.mark.parametrize(("options", "message"), NAMING)
def test_refused_before_any_file_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_model(**options)


def test_not_a_vision_transformer(tmp_path: Path, state: State) -> None:
    with pytest.raises(UserError, match="resnet18 is a ResNet, not a VisionTransformer"):
        load_model("resnet18", checkpoint=save(state, tmp_path / "a.pt"))


def test_unknown_tag() -> None:
    with pytest.raises(UserError, match=r"timm has no 'nonsense' weights of test_vit: it has test_vit\.r160_in1k"):
        load("a.pt", name="test_vit.nonsense")


def test_known_tag(tmp_path: Path, state: State) -> None:
    assert load(save(state, tmp_path / "a.pt"), name="test_vit.r160_in1k").num_classes == CLASSES


@pytest.mark.parametrize("pretrained", [False, True])
def test_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: State, pretrained: bool) -> None:
    """The hub is asked for the architecture even where the weights are in a file."""
    monkeypatch.setattr(timm, "create_model", Mock(side_effect=OSError("no connection\nmore")))
    checkpoint = None if pretrained else save(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"hf-hub:a/b cannot be loaded: no connection; give a timm name"):
        load(checkpoint, name="hf-hub:a/b", pretrained=pretrained)


def test_image_below_one_patch(tmp_path: Path, state: State) -> None:
    with pytest.raises(UserError, match="img_size 5 is less than one patch of test_vit"):
        load(save(state, tmp_path / "a.pt"), img_size=5)


def test_wrong_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").touch()
    with pytest.raises(UserError, match=r"a\.onnx must end in one of \.safetensors, \.pt"):
        load(str(tmp_path / "a.onnx"))


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load(str(tmp_path))


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "bin"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", bytes(2000)], ids=["empty", "text", "zeros"])
def test_corrupt_file(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"cannot be read as \.{suffix} weights: \S"):
        load(str(path))


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_truncated_file(tmp_path: Path, state: State, suffix: str) -> None:
    path = Path(save(state, tmp_path / f"a.{suffix}"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=rf"cannot be read as \.{suffix} weights"):
        load(str(path))


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"state_dict": {}}, [1, 2], torch.zeros(3)])
def test_no_weights_in_the_file(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UserError, match=r"a\.pt (holds no tensors|cannot be read)"):
        load(save(content, tmp_path / "a.pt"))


def changed(state: State, **changes: Tensor | None) -> State:
    new = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in (state | new).items() if value is not None}


FOREIGN: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("missing", {"blocks__0__norm1__weight": None}, {}, ["missing blocks.0.norm1.weight"]),
    ("unexpected", {"extra__weight": torch.zeros(2)}, {}, ["unexpected extra.weight"]),
    ("shape", {"norm__weight": torch.zeros(9)}, {}, ["norm.weight is [9], the model has [64]"]),
    ("no head", {"head__weight": None, "head__bias": None}, {}, ["missing head.weight, head.bias"]),
    ("classes", {}, {"num_classes": 4}, ["head.weight is [6, 64], the model has [4, 64]", "check --model"]),
    ("not a grid", {"pos_embed": torch.zeros(1, 8, 64)}, {}, ["architecture"]),
]


@pytest.mark.parametrize(("changes", "options", "parts"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_other_architecture_names_the_keys(
    tmp_path: Path, state: State, changes: dict[str, Any], options: dict[str, Any], parts: list[str]
) -> None:
    checkpoint = save(changed(state, **changes), tmp_path / "a.pt")
    with pytest.raises(UserError) as refusal:
        load(checkpoint, **options)
    assert all(part in str(refusal.value) for part in parts)
    assert checkpoint in str(refusal.value)


def test_first_differing_keys_alone_are_named(tmp_path: Path) -> None:
    foreign = timm.create_model("resnet10t", num_classes=CLASSES).state_dict()
    with pytest.raises(UserError) as refusal:
        load(save(foreign, tmp_path / "a.pt"))
    message = str(refusal.value)
    assert "missing cls_token, pos_embed, patch_embed.proj.weight; unexpected conv1.0.weight" in message
    assert len(message) < 600
