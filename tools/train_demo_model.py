"""Train the demo model that ships with the package, and print its accuracy on images it has not seen.

    python tools/train_demo_model.py

Takes about five minutes on 2 cores and writes edgeflex_tflite/models/weights/vit_edgeflex_digits.safetensors, in
half precision.
"""

from __future__ import annotations

import timm
import torch
from absl import app, flags
from safetensors.torch import save_file
from torch.nn import functional as F
from torchvision.transforms import v2
from tqdm import trange

from edgeflex_tflite.data import Preprocessing, open_source
from edgeflex_tflite.models import demo

_EPOCHS = flags.DEFINE_integer("epochs", 120, "Passes over the 1,000 training images.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the initial weights, the order of images and the augmentation.")
BATCH_SIZE = 100
PEAK_LEARNING_RATE = 1e-3


def load(split: str, preprocessing: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """All images of a split as uint8 `[n, 3, 32, 32]` and their labels."""
    source = open_source(f"demo/{split}")
    pixels = torch.stack([preprocessing.resize(source.image(i)) for i in range(len(source))])
    return pixels, torch.tensor([source.label(i) for i in range(len(source))])


def accuracy(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.inference_mode():
        return (model.eval()(images).argmax(dim=1) == labels).float().mean().item()


def main(_: list[str]) -> None:
    torch.manual_seed(_SEED.value)
    model = timm.create_model(demo.NAME, drop_path_rate=0.1)
    preprocessing = Preprocessing.of_model(model)
    pixels, labels = load("train", preprocessing)
    augment = v2.RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.85, 1.15), shear=8)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = _EPOCHS.value * len(pixels) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps)
    for _ in trange(_EPOCHS.value, unit="epoch"):
        model.train()
        for batch in torch.randperm(len(pixels)).split(BATCH_SIZE):
            images = torch.stack([augment(image) for image in pixels[batch]])
            loss = F.cross_entropy(model(preprocessing.normalize(images)), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    demo.WEIGHTS.parent.mkdir(exist_ok=True)
    model = model.half()
    save_file(model.state_dict(), demo.WEIGHTS)
    unseen, unseen_labels = load("test", preprocessing)
    top1 = accuracy(model.float(), preprocessing.normalize(unseen), unseen_labels)
    print(
        f"{demo.WEIGHTS.name}: {demo.WEIGHTS.stat().st_size:,} bytes, top-1 on {len(unseen)} unseen digits {top1:.2%}"
    )


if __name__ == "__main__":
    app.run(main)
