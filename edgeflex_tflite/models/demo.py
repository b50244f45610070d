"""The small Vision Transformer that ships with the package, registered with timm under its own name.

`tools/train_demo_model.py` trained it on the 1,000 training images of scikit-learn's handwritten digits
(`--data=demo/train`) and prints its accuracy on the 797 others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import VisionTransformer, build_model_with_cfg, generate_default_cfgs, register_model

NAME = "vit_edgeflex_digits"
WEIGHTS = Path(__file__).parent / "weights" / f"{NAME}.safetensors"

default_cfgs = generate_default_cfgs(
    {
        NAME: {
            "file": str(WEIGHTS),
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "first_conv": "patch_embed.proj",
            "classifier": "head",
            "license": "apache-2.0",
        }
    }
)


@register_model
def vit_edgeflex_digits(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Six blocks of width 96 on 32x32 images in 8x8 patches: 17 tokens, 0.69 million parameters."""
    config = {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3}
    return build_model_with_cfg(VisionTransformer, NAME, pretrained, **(config | kwargs))
