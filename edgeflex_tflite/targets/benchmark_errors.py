"""Why `benchmark_model` could not do it, in its own words, and what to do about it."""

from __future__ import annotations

import re

from edgeflex_tflite.targets.adb_errors import last_words
from edgeflex_tflite.targets.benchmark_model import BenchmarkToolError

_REASONS = (
    (
        r"Encountered unresolved custom op: (?P<what>[^\s.]+)",
        "this benchmark_model has no custom op {what}: use a build that links it, or a file without it",
    ),
    (
        r"Select TensorFlow op\(s\)",
        "the file needs TensorFlow ops: use the build of benchmark_model that is called plus_flex",
    ),
    (
        r"Didn't find op for builtin opcode '(?P<what>[^']+' version '\d+)'",
        "this benchmark_model is older than the file, it has no '{what}': use a newer one",
    ),
    (
        r"Failed to apply (?P<what>\w+) delegate",
        "the {what} delegate refuses this file: measure with another delegate",
    ),
    (
        r"Signature not specified",
        "the file has several signatures and benchmark_model has to be told one: keep one when converting",
    ),
    (
        r"Failed to parse flag '(?P<what>[^']+)'",
        "this benchmark_model does not take --{what} as it was given: use a newer one",
    ),
    (
        r"Unknown (?:flag|argument)|usage: ",
        "this benchmark_model does not know a flag that it was given: use a newer one",
    ),
    (
        r"Failed to (?:load model|initialize model loader)|Could not open|not a valid Flatbuffer|does not match model",
        "it cannot load the file: is it a .tflite that LiteRT can load",
    ),
    (r"Failed to allocate tensors|failed to prepare", "the file cannot be prepared to run with this delegate or build"),
    (r"failed to invoke|Failed to invoke", "an inference failed"),
)
_ERROR_LINE = re.compile(
    r"^(?:ERROR|FATAL): |\b(?:[Ff]ailed to|Benchmarking failed|unresolved custom op|Didn't find op|Could not open)\b|"
    r"Select TensorFlow op|Disallowed CPU fallback"
)


def tool_error(text: str) -> BenchmarkToolError:
    """For a run that ended by itself without a result.

    Args:
        text: What the tool printed on both streams.
    """
    words = error_words(text)
    for pattern, meaning in _REASONS:
        found = re.search(pattern, "\n".join(words) or text)
        if found:
            reason = meaning.format(**found.groupdict())
            return BenchmarkToolError(f"benchmark_model failed: {reason}. It says: {_shown(words, text)}")
    return BenchmarkToolError(f"benchmark_model failed. It says: {_shown(words, text)}")


def error_words(text: str) -> list[str]:
    """Its error lines, without the closing one that says only that there was an error."""
    lines = [line.strip() for line in text.splitlines() if _ERROR_LINE.search(line)]
    told = [line for line in lines if "Benchmarking failed" not in line and "model file size" not in line]
    return list(dict.fromkeys(told or lines))


def _shown(words: list[str], text: str) -> str:
    return " / ".join(words[:4]) or last_words(text) or "nothing"
