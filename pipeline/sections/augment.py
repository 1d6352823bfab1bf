"""The section `augment`: written copies of train rows. What each operation does stands in pipeline/prepare/augment/, by the same name."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from pipeline.sections.augment_series import Jitter, Magnify, Smote, WindowSlice
from pipeline.sections.augment_text import TEXT_OPERATIONS, ChangeCase, Typo, WordDropout, WordSwap
from pipeline.sections.augment_text import TEXT_OPERATIONS, ChangeCase, Typo, WordDropout, WordSwap
from pipeline.sections.base import Section, exactly_one, set_fields

# Operations that go with each kind of content column. A kind that is not here takes none.
OPERATIONS_OF: dict[str, tuple[str, ...]] = {
    "image": ("rotate", "translate"),
    "window": ("jitter", "magnify", "window_slice"),
    "table": ("jitter", "smote"),
    "text": TEXT_OPERATIONS,
}


class Rotate(Section):
    """Uniform in [-degrees, degrees] around the centre, bilinear."""

    degrees: Annotated[float, Field(gt=0, le=180)]


class Translate(Section):
    """Uniform in [-pixels, pixels] on each axis, bilinear."""

    pixels: PositiveFloat


class AugmentOperation(Section):
    """One operation of `augment.operations`; exactly one key."""

    rotate: Rotate | None = None
    translate: Translate | None = None
    word_dropout: WordDropout | None = None
    word_swap: WordSwap | None = None
    change_case: ChangeCase | None = None
    typo: Typo | None = None
    word_dropout: WordDropout | None = None
    word_swap: WordSwap | None = None
    change_case: ChangeCase | None = None
    typo: Typo | None = None
    jitter: Jitter | None = None
    magnify: Magnify | None = None
    window_slice: WindowSlice | None = None
    smote: Smote | None = None

    @model_validator(mode="after")
    def is_one_operation(self) -> Self:
        return exactly_one(self)

    @property
    def name(self) -> str:
        return set_fields(self)[0]

    @property
    def arguments(self) -> Section:
        """The operation's own section."""
        return getattr(self, self.name)  # type: ignore[no-any-return]


class Augment(Section):
    """Written copies of train rows; validation and test never have any. Seeded by (seed, sample, copy, operation)."""

    copies: NonNegativeInt = 0  # extra copies of every train row; each gets every operation, in order
    operations: tuple[AugmentOperation, ...] = ()
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def copies_differ(self) -> Self:
        if (self.copies > 0) != bool(self.operations):
            raise ValueError("copies: N and operations: [...] go together; one without the other does nothing")
        return self
