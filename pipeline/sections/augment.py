"""The section `augment`: written copies of train rows. What each operation does stands in pipeline/prepare/augment/, by the same name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from pipeline.sections.augment_media import (
    AUDIO_OPERATIONS,
    IMAGE_OPERATIONS,
    BandMask,
    Blur,
    Brightness,
    Contrast,
    Crop,
    Cutout,
    Flip,
    Gain,
    Mixup,
    Noise,
    PixelNoise,
    Rotate,
    Shear,
    Speed,
    TimeMask,
    TimeShift,
    Translate,
    Zoom,
)
from pipeline.sections.augment_series import Jitter, Magnify, Smote, WindowSlice
from pipeline.sections.augment_text import TEXT_OPERATIONS, ChangeCase, Typo, WordDropout, WordSwap
from pipeline.sections.base import Section, exactly_one, set_fields

# Operations that go with each kind of content column. A kind that is not here takes none.
OPERATIONS_OF: dict[str, tuple[str, ...]] = {
    "image": IMAGE_OPERATIONS,
    "audio": AUDIO_OPERATIONS,
    "window": ("jitter", "magnify", "window_slice"),
    "table": ("jitter", "smote", "mixup"),
    "text": TEXT_OPERATIONS,
}


class AugmentOperation(Section):
    """One operation of `augment.operations`; exactly one key."""

    rotate: Rotate | None = None
    translate: Translate | None = None
    flip_horizontal: Flip | None = None
    flip_vertical: Flip | None = None
    zoom: Zoom | None = None
    shear: Shear | None = None
    crop: Crop | None = None
    brightness: Brightness | None = None
    contrast: Contrast | None = None
    pixel_noise: PixelNoise | None = None
    blur: Blur | None = None
    cutout: Cutout | None = None
    time_shift: TimeShift | None = None
    gain: Gain | None = None
    noise: Noise | None = None
    speed: Speed | None = None
    time_mask: TimeMask | None = None
    band_mask: BandMask | None = None
    word_dropout: WordDropout | None = None
    word_swap: WordSwap | None = None
    change_case: ChangeCase | None = None
    typo: Typo | None = None
    jitter: Jitter | None = None
    magnify: Magnify | None = None
    window_slice: WindowSlice | None = None
    smote: Smote | None = None
    mixup: Mixup | None = None

    @model_validator(mode="after")
    def is_one_operation(self) -> Self:
        return exactly_one(self)

    @cached_property  # asked for once a row and operation
    def name(self) -> str:
        return set_fields(self)[0]

    @cached_property
    def arguments(self) -> Section:
        """The operation's own section."""
        return getattr(self, self.name)  # type: ignore[no-any-return]


class Balance(Section):
    """More copies of rows of rarer classes, so that all come near the most frequent one."""

    max_copies: PositiveInt  # of one row; a class that would need more stays rarer


class Augment(Section):
    """Written copies of train rows; validation and test never have any. Seeded by (seed, sample, copy, operation)."""

    copies: NonNegativeInt = 0  # extra copies of every train row; each gets every operation, in order
    operations: tuple[AugmentOperation, ...] = ()
    balance: Balance | None = None  # its copies get the operations too; without any they are plain repeats
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def copies_differ(self) -> Self:
        if self.balance is None and (self.copies > 0) != bool(self.operations):
            raise ValueError("copies: N and operations: [...] go together; one without the other does nothing")
        if self.balance is not None and self.copies > 0 and not self.operations:
            raise ValueError("copies: N without operations: [...] repeats every row, which balances nothing; leave it out")
        if self.balance is not None and self.balance.max_copies < self.copies:
            raise ValueError(f"balance.max_copies: expected at least copies: {self.copies}, received {self.balance.max_copies}")
        return self

    @model_validator(mode="after")
    def mixes_last(self) -> Self:
        names = [operation.name for operation in self.operations]
        if "mixup" in names[:-1]:
            raise ValueError(f"mixup: expected once, as the last of operations, received {names}")
        return self

    @property
    def mixup(self) -> Mixup | None:
        return self.operations[-1].mixup if self.operations else None

    @property
    def single_operations(self) -> tuple[AugmentOperation, ...]:
        """Those that look at one row: all but mixup."""
        return self.operations[:-1] if self.mixup else self.operations

    def rows_per_copy(self, *, has_classes: bool) -> int:
        """A mixture of two classes is written with either label; of numbers once, with the mixed label."""
        return 2 if self.mixup and has_classes else 1

    def copies_of(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Copies of each row of a class, by the train rows of every class. With `balance`: rounded to what comes nearest to even counts."""
        if self.balance is None:
            return (self.copies,) * len(counts)
        most = max(counts) * (1 + self.copies)
        return tuple(min(max(round(most / count) - 1, self.copies), self.balance.max_copies) if count else 0 for count in counts)
