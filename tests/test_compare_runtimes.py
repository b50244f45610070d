"""The comparison of runtimes: its page from known figures, and a peer's process from a real one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgeflex_tflite.errors import UserError

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import compare_runtimes_page as page
import peers
from compare_runtimes_page import Row, Section

SMALL = {"img_size": [32, 32], "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 10}
EAGER = peers.PEERS[0]


def row(name: str, milliseconds: float, hits: str | None = None, **changes: object) -> Row:
    """Three rounds, the second of which is twice as slow for everybody."""
    rounds = tuple((factor * milliseconds,) * 3 for factor in (1.0, 2.0, 1.0))
    return Row(name, **({"file_bytes": 2_000_000, "rounds_ms": rounds, "hits": hits} | changes))  # type: ignore[arg-type]


ROWS = (
    row(page.DENSE, 30.0, "1110", file_bytes=None, runtime="torch 2"),
    row(page.BASE, 20.0, "1110", arena_bytes=3_000_000),
    row("ours mixed", 5.0, "1100", peak_bytes=7_000_000),
    Row("OpenVINO FP32", reason="no such file"),
)


def test_latencies_are_ratios_within_a_round() -> None:
    ratio = row("ours mixed", 5.0).over(row(page.BASE, 20.0))
    assert (ratio.median, ratio.low, ratio.high) == (0.25, 0.25, 0.25)


def test_the_page() -> None:
    text = page.text([Section("vit", (70, 70), True, ROWS)], "Chip, 2 cores", "python tools/compare_runtimes.py")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert lines[2] == ["ours mixed", "0.25 (0.25 to 0.25)", "5.00", "2.0", "-", "7.0", "50.00", lines[2][-1]]
    assert lines[2][-1].startswith("+25.00 (")
    assert lines[3][:5] == [page.BASE, "1.00 (1.00 to 1.00)", "20.00", "2.0", "3.0"]
    assert lines[4][0] == page.DENSE
    assert "Not made: OpenVINO FP32: no such file." in text
    assert "of one machine, Chip, 2 cores." in text
    assert "    python tools/compare_runtimes.py\n" in text


def test_random_weights_have_no_accuracy() -> None:
    text = page.text([Section("vit", (224, 224), False, ROWS)], "", "")
    assert "random weights: no accuracy" in text
    assert "top-1" not in text


def test_files(tmp_path: Path) -> None:
    written = page.write([Section("vit", (70, 70), True, ROWS)], "Chip, 2 cores", "again", tmp_path)
    assert [path.name for path in written] == ["performance.md", "performance.json", "performance.svg"]
    found = json.loads(written[1].read_text())["sections"][0]["rows"]
    assert found[2]["round_medians_ms"] == [5.0, 10.0, 5.0]
    assert "ours mixed" in written[2].read_text()


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    folder = tmp_path_factory.mktemp("peer")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **SMALL)
    save_file(model.state_dict(), folder / "weights.safetensors")
    content = {
        "model": "vit_tiny_patch16_224",
        "options": SMALL,
        "weights": str(folder / "weights.safetensors"),
        "size": [32, 32],
    }
    (folder / "model.json").write_text(json.dumps(content))
    return folder / "model.json"


def test_a_peer_answers(described: Path, tmp_path: Path) -> None:
    """torch itself, in a process of its own: what it says of the images is what the model says here."""
    import timm
    from safetensors.torch import load_file

    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    python = peers.python_of(None, tmp_path)
    path = peers.make(EAGER, python, described, tmp_path)
    assert peers.file_bytes(path) is None
    with peers.PeerProcess(EAGER, python, described, path, threads=1) as peer:
        start = peer.start()
        assert peer.version == f"torch {torch.__version__}"
        assert start.startup_ms > 0
        assert isinstance(start.memory.process_peak_bytes, int)
        assert len(peer.run(4, 0.0).samples_ms) == 4
        peer.logits(tmp_path / "images.npy", tmp_path / "logits.npy")
    model = timm.create_model("vit_tiny_patch16_224", **SMALL).eval()
    model.load_state_dict(load_file(described.with_name("weights.safetensors")))
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, rtol=1e-4, atol=1e-5)


def test_a_peer_that_dies_says_why(described: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(described.read_text().replace("vit_tiny", "no_such"))
    with (
        peers.PeerProcess(EAGER, sys.executable, tmp_path / "model.json", tmp_path / "x", 1) as peer,
        pytest.raises(UserError, match=r"torch eager: RuntimeError: Unknown model \(no_such_patch16_224\)"),
    ):
        peer.start()


def test_a_format_that_cannot_be_made(described: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.json"
    broken.write_text("{}")
    peer = peers.Peer("broken", None, "onnx", ".onnx", "onnxruntime")
    with pytest.raises(UserError, match="broken: KeyError: 'size'"):
        peers.make(peer, sys.executable, broken, tmp_path)
    assert not list(tmp_path.glob("*.onnx"))
