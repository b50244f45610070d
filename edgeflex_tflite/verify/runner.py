"""Running a written file on uint8 pixels, whatever input it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import InputSpec
from edgeflex_tflite.quiet import quiet


def file_input(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """One image `uint8 [3, H, W]` as the file's float input, in its layout and units."""
    x = pixels.astype(np.float32)
    if spec.range != "0-255":
        x = x / np.float32(255)
    if spec.range == "normalized":
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (spec.mean, spec.std))
        x = (x - mean) / std
    return np.ascontiguousarray(x.transpose(1, 2, 0) if spec.layout == "nhwc" else x)[None]


def in_batches(inputs: Iterable[NDArray], size: int) -> Iterator[NDArray]:
    """Inputs of one image each as inputs of `size` images; the first images fill the last one up."""
    images = list(inputs)
    for start in range(0, len(images), size):
        yield np.concatenate([images[index % len(images)] for index in range(start, start + size)])


def quantized(values: NDArray[np.float32], detail: Mapping[str, Any]) -> NDArray:
    """Real numbers in the type of the tensor that the interpreter describes so."""
    dtype = detail["dtype"]
    if dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    limits = np.iinfo(dtype)
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(dtype)


def dequantized(values: NDArray, detail: Mapping[str, Any]) -> NDArray[np.float32]:
    """The real numbers that a tensor's values stand for."""
    if values.dtype == np.float32:
        return values
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - zero) * scale).astype(np.float32)


class FileRunner:
    """A `.tflite` in the LiteRT interpreter with its default CPU delegate.

    Calling it with pixels `uint8 [3, H, W]` gives logits `float32 [num_classes]`; integer files are fed quantized and
    read dequantized, and `saturated` says of the last call how many logits were at an end of the integer range.
    """

    def __init__(self, path: Path, spec: InputSpec, threads: int) -> None:
        with quiet():
            self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._spec = spec
        self.saturated = 0

    def tensor(self, pixels: NDArray[np.uint8]) -> NDArray:
        """The exact array that the file is given for an image."""
        return quantized(file_input(pixels, self._spec), self._input)

    def raw(self, pixels: NDArray[np.uint8]) -> NDArray:
        """The file's output as it is, `[1, num_classes]`."""
        self._interpreter.set_tensor(self._input["index"], self.tensor(pixels))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output = self.raw(pixels)[0]
        self.saturated = 0
        if output.dtype != np.float32:
            limits = np.iinfo(output.dtype)
            self.saturated = int(np.sum((output == limits.min) | (output == limits.max)))
        return dequantized(output, self._output)
