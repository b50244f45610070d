"""Benchmark results as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from edgeflex_tflite.artifacts import NotMeasured
from edgeflex_tflite.recipe import MEGABYTE
from edgeflex_tflite.targets.measurement import Latency, Measurement, Ratio
from edgeflex_tflite.targets.results import Change, Results

BLANK = "-"
_LINE_END = "  \n"
"""Ends a line in Markdown too."""
Figure = float | int | NotMeasured


def benchmark_text(results: Results, changes: Sequence[Change] = (), tablefmt: str = "simple") -> str:
    """Tables of latency and memory, ratios, what changed, and everything that a reader has to know.

    Args:
        results: What one call measured.
        changes: What changed since earlier ones.
        tablefmt: tabulate's name of the tables' form.
    """
    measurements = results.measurements
    names = measurement_names(measurements)
    reasons = Reasons()
    sections = [
        _places(measurements),
        _latency_table(measurements, names, reasons, tablefmt),
        _memory_table(measurements, names, reasons, tablefmt),
        _LINE_END.join(reasons.lines()),
        _ratio_table(results.ratios, tablefmt),
        _drift_text(measurements, names),
        _profiles(measurements, names),
        _change_table(changes),
        _LINE_END.join(f"warning: {about}: {text}" for about, text in measurement_warnings(results)),
    ]
    return "\n\n".join(section for section in sections if section)


class Reasons:
    """Numbers the reasons for blanks."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cell(self, value: Figure, form: str = "{:.2f}", unit: float = 1) -> str:
        if isinstance(value, NotMeasured):
            number = self._numbers.setdefault(value.reason, len(self._numbers) + 1)
            return f"{BLANK} [{number}]"
        return form.format(value / unit)

    def lines(self) -> list[str]:
        return [f"[{number}] not measured: {reason}" for reason, number in self._numbers.items()]


def _places(measurements: Sequence[Measurement]) -> str:
    lines = []
    for e in dict.fromkeys(m.environment for m in measurements):
        about = [e.cpu, e.clock, e.system]
        known = ", ".join(fact for fact in about if isinstance(fact, str))
        lines.append(
            f"{e.target}: {e.device} ({known}){_LINE_END}{e.runtime}, delegate {e.delegate}, {e.threads} threads"
        )
    return _LINE_END.join(lines)


def _latency_table(measurements: Sequence[Measurement], names: Sequence[str], reasons: Reasons, tablefmt: str) -> str:
    headers = ("ms", "start", "first", "min", "p5", "median", "p95", "p99", "mean", "std", "runs")
    rows = [[name, *_latency_row(m, reasons)] for name, m in zip(names, measurements, strict=True)]
    return _table(rows, headers, tablefmt)


def _table(rows: list[list[str]], headers: Sequence[str], tablefmt: str) -> str:
    alignment = {"stralign": "right", "colalign": ("left",), "disable_numparse": True}
    return tabulate(rows, headers=headers, tablefmt=tablefmt, **alignment)


def _latency_row(m: Measurement, reasons: Reasons) -> list[str]:
    head = [reasons.cell(m.startup_ms), reasons.cell(m.first_ms)]
    if isinstance(m.latency, NotMeasured):
        return [*head, reasons.cell(m.latency), *[BLANK] * 7]
    t = m.latency
    figures = (t.min_ms, t.p5_ms, t.median_ms, t.p95_ms, t.p99_ms, t.mean_ms, t.std_ms)
    return [*head, *(reasons.cell(figure) for figure in figures), str(t.count)]


def _memory_table(measurements: Sequence[Measurement], names: Sequence[str], reasons: Reasons, tablefmt: str) -> str:
    headers = ("MB", "file", "arena", "runtime-owned", "process peak", "anonymous", "file-backed")
    rows = []
    for name, m in zip(names, measurements, strict=True):
        parts = m.memory
        figures: list[Figure] = [
            m.file_bytes,
            parts.arena_bytes,
            parts.runtime_bytes,
            parts.process_peak_bytes,
            parts.process_anonymous_bytes,
            parts.process_file_bytes,
        ]
        rows.append([name, *(reasons.cell(figure, unit=MEGABYTE) for figure in figures)])
    return _table(rows, headers, tablefmt)


def _ratio_table(ratios: Sequence[Ratio], tablefmt: str) -> str:
    if not ratios:
        return ""
    rows = [(_last(r.file), _last(r.over), f"{r.median:.3f}", f"{r.low:.3f} to {r.high:.3f}") for r in ratios]
    headers = ("latency of", "over that of", "ratio", f"in {len(ratios[0].rounds)} rounds")
    return tabulate(rows, headers=headers, disable_numparse=True, tablefmt=tablefmt)


def _drift_text(measurements: Sequence[Measurement], names: Sequence[str]) -> str:
    lines = []
    for name, m in zip(names, measurements, strict=True):
        if m.drift is not None and isinstance(m.latency, Latency):
            total = m.latency.mean_ms * m.latency.count / 60_000
            lines.append(
                f"{name}: {total:.1f} minutes without a pause, {m.drift.percent_per_minute:+.2f} % a minute; "
                f"the last twentieth took {m.drift.last_over_first:.3f} times the first"
            )
    return "\n".join(lines)


def _profiles(measurements: Sequence[Measurement], names: Sequence[str]) -> str:
    tables = []
    for name, m in zip(names, measurements, strict=True):
        if m.ops:
            rows = [(op.name, op.count, f"{op.mean_ms:.3f}") for op in m.ops]
            tables.append(f"{name}\n" + tabulate(rows, headers=("op", "calls", "ms")))
    return "\n\n".join(tables)


def _change_table(changes: Sequence[Change]) -> str:
    if not changes:
        return ""
    rows = []
    for c in changes:
        peak = (c.before.memory.process_peak_bytes, c.now.memory.process_peak_bytes)
        peaks = [f"{p / MEGABYTE:.1f}" if isinstance(p, int) else BLANK for p in peak]
        ratio = c.latency_ratio
        rows.append(
            (
                _short(c.now),
                c.before_created,
                "the same file" if c.same_content else "another file",
                "" if c.same_place else "another device or runtime",
                BLANK if ratio is None else f"{ratio:.3f}",
                " -> ".join(peaks),
            )
        )
    headers = ("against", "taken", "content", "place", "latency ratio", "process peak MB")
    table = tabulate(rows, headers=headers, disable_numparse=True)
    return f"{table}\nThe earlier figures come from another time; to compare two files, measure both in one call."


def measurement_warnings(results: Results) -> list[tuple[str, str]]:
    """Each warning once, as the names of those that it is about and its text."""
    measurements = results.measurements
    about: dict[str, list[str]] = {}
    for name, m in zip(measurement_names(measurements), measurements, strict=True):
        for warning in m.warnings:
            about.setdefault(warning, []).append(name)
    return [(", ".join(named), warning) for warning, named in about.items()]


def measurement_names(measurements: Sequence[Measurement]) -> list[str]:
    """File names, with the target in front where there are several."""
    several = len({m.environment.target for m in measurements}) > 1
    return [f"{m.environment.target}: {_short(m)}" if several else _short(m) for m in measurements]


def _short(m: Measurement) -> str:
    return _last(m.name)


def _last(name: str) -> str:
    """A path's last part, the variant kept."""
    path, mark, variant = name.partition(" (")
    return Path(path).name + mark + variant
