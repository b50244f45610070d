"""The signatures of a written file beside its first one, which alone is verified on all evaluation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from edgeflex_tflite.artifacts import InputSpec, Parity
from edgeflex_tflite.errors import VerificationError
from edgeflex_tflite.quiet import quiet
from edgeflex_tflite.verify import parity
from edgeflex_tflite.verify.runner import dequantized, file_input, in_batches, quantized

INTEGER_BOUND = 0.1
"""Of the largest logit, where activations are rounded to integers: a sum in another order may fall on the next one."""


def signature_logits(
    path: Path, name: str, pixels: Sequence[NDArray[np.uint8]], spec: InputSpec, threads: int
) -> NDArray[np.float32]:
    """What a signature of a file answers.

    Args:
        path: of the file.
        name: of the signature, whose input and output have its number of images first.
        pixels: images `uint8 [3, H, W]`.
        spec: how the file takes them.
        threads: of the interpreter.

    Returns:
        Logits `float32 [images, classes]`.
    """
    with quiet():
        runner = Interpreter(model_path=str(path), num_threads=threads).get_signature_runner(name)
    ((key, taken),) = runner.get_input_details().items()
    ((answer, given),) = runner.get_output_details().items()
    inputs = in_batches((file_input(image, spec) for image in pixels), int(taken["shape"][0]))
    rows = [dequantized(runner(**{key: quantized(each, taken)})[answer], given) for each in inputs]
    return np.concatenate(rows)[: len(pixels)]


def check_signature(
    name: str, actual: NDArray[np.float32], expected: NDArray[np.float32], integer_activations: bool
) -> Parity:
    """Compare logits `[n, classes]` of a signature with those of the first one.

    Raises:
        VerificationError: they differ by more than the bound, which is that of the float graph or `INTEGER_BOUND`.
    """
    bound = INTEGER_BOUND if integer_activations else parity.BOUND
    found = parity.difference(actual, expected, bound)
    if not found.max_relative_difference <= bound:
        raise VerificationError(
            f"signature {name} differs from the first one by {found.max_relative_difference:.1e} of the largest logit "
            f"(bound {bound:g}, {found.images} images): leave its number of images out of batch_sizes"
        )
    return found
