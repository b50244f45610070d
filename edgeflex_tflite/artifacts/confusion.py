"""Which images and classes a file knows less well than the model that it was made from."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ClassHits:
    """How many images of a class both name right.

    Attributes:
        label: number of the class.
        images: of the class in the evaluation set.
        dense, file: of these, named right by the FP32 torch model and by the written file.
    """

    label: int
    images: int
    dense: int
    file: int

    @property
    def lost(self) -> int:
        """Images that the file names right less often than the model; negative where it gained."""
        return self.dense - self.file


@dataclasses.dataclass(frozen=True)
class Confused:
    """How many images of the class `label` are taken for the class `answer`, by the FP32 torch model and the file."""

    label: int
    answer: int
    dense: int
    file: int


@dataclasses.dataclass(frozen=True)
class Flip:
    """An image that the FP32 torch model names right and the file wrong.

    Attributes:
        position: in the evaluation set.
        label, answer: its class, and what the file takes it for.
        label_probability, answer_probability: that the file gives to each, from 0 to 1.
    """

    position: int
    label: int
    answer: int
    label_probability: float
    answer_probability: float


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The answers of the file beside those of the FP32 torch model, on the same images.

    Attributes:
        classes: one for every class that has images.
        changed: pairs of different classes whose count differs between the two.
        flips: images that flipped from right to wrong, those first whose right class lost most.
        won: how many flipped from wrong to right.
    """

    classes: tuple[ClassHits, ...]
    changed: tuple[Confused, ...]
    flips: tuple[Flip, ...]
    won: int

    @property
    def worse(self) -> tuple[ClassHits, ...]:
        """The classes that got worse, the worst first."""
        return tuple(sorted((each for each in self.classes if each.lost > 0), key=lambda each: -each.lost))
