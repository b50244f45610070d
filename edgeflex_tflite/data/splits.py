"""Which of a data set's splits is meant, where it has several and names them in its own way."""

from __future__ import annotations

from collections.abc import Collection

from edgeflex_tflite.errors import UserError

_TRAIN = ("train", "training")
_VALIDATION = ("validation", "val", "valid", "eval", "evaluation")
_TEST = ("test", "testing")


def is_split(name: str) -> bool:
    """Whether a folder of this name is, going by its name, a split."""
    return name.lower() in _TRAIN + _VALIDATION + _TEST


def find_split(spec: str, present: Collection[str], split: str) -> str | None:
    """The name in `present` that means `split`, or None where `present` is empty.

    Case does not count, synonyms do (`val` for `validation`), and a test split stands in for a validation split that is
    not there. A lone split is taken whatever it is called. Raises UserError where several are there and none is meant.
    """
    by_name = {name.lower(): name for name in present}
    for name in _wanted(split.lower()):
        if name in by_name:
            return by_name[name]
    if len(present) > 1:
        have = ", ".join(sorted(present))
        raise UserError(f"{spec!r} has no split {split!r}: it has {have}; ask for one of these.")
    return next(iter(present), None)


def _wanted(split: str) -> tuple[str, ...]:
    if split in _TRAIN:
        return (split, *_TRAIN)
    if split in _VALIDATION:
        return (split, *_VALIDATION, *_TEST)
    return (split, *_TEST) if split in _TEST else (split,)
