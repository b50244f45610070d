"""Names of the files in the output folder of a run that bundles are made from."""

from __future__ import annotations

MANIFEST_FILE, RECIPE_FILE, PREPROCESSING_FILE = "manifest.json", "recipe.json", "preprocessing.json"
MODEL_FILE = "model.tflite"
GOLDEN_IMAGE, GOLDEN_INPUT, GOLDEN_OUTPUT = "golden/image.png", "golden/input.npy", "golden/output.npy"
