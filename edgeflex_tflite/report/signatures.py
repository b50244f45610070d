"""The signatures of a file: what they share, what each has to itself, and what each takes for an image."""

from __future__ import annotations

from edgeflex_tflite.artifacts import Metrics, NotMeasured, Signature
from edgeflex_tflite.report.tables import BLANK, Table, mb
from edgeflex_tflite.targets.results import Results


def signatures_text(metrics: Metrics) -> str:
    """What the file's signatures share; nothing for a file with one."""
    if len(metrics.signatures) < 2:
        return ""
    alone = sum(each.alone_bytes for each in metrics.signatures)
    return (
        f"The file has {len(metrics.signatures)} signatures on one set of weights: {mb(metrics.memory.file_bytes)} MB, "
        f"where a file for each would be {mb(alone)} MB. Accuracy is that of the first. Each has an arena of its own, "
        "which the interpreter allocates when the signature is first used and then keeps, so the planned arena is that "
        "of all of them. XNNPACK packs the weights once for each signature of the file, used or not, unless it is "
        "given a weight cache (`--weight_cache` measures both)."
    )


def signatures_table(metrics: Metrics, sha256: str, benchmark: Results | None) -> Table:
    """One row a signature; `sha256` is the written file's. No rows for a file with one signature."""
    if len(metrics.signatures) < 2:
        return Table((), [])
    headers = (
        "signature", "images at once", "file of its own, MB", "planned arena, MB", "differs from the first by",
        "median ms", "ms an image",
    )  # fmt: skip
    return Table(headers, [_row(each, _median_ms(each, sha256, benchmark)) for each in metrics.signatures])


def _row(signature: Signature, median_ms: float | None) -> tuple[str, ...]:
    parity = signature.parity
    return (
        signature.name,
        str(signature.batch),
        mb(signature.alone_bytes),
        mb(signature.arena_bytes),
        BLANK if parity is None else f"{parity.max_relative_difference:.1e} (bound {parity.bound:g})",
        BLANK if median_ms is None else f"{median_ms:.2f}",
        BLANK if median_ms is None else f"{median_ms / signature.batch:.2f}",
    )


def _median_ms(signature: Signature, sha256: str, benchmark: Results | None) -> float | None:
    """As the benchmark measured it, the first signature as the file itself; None where it did not."""
    variant = "" if signature.parity is None else signature.name
    for each in () if benchmark is None else benchmark.measurements:
        if (each.sha256, each.variant) == (sha256, variant) and not isinstance(each.latency, NotMeasured):
            return None if isinstance(each.latency.median_ms, NotMeasured) else each.latency.median_ms
    return None
