"""The section `windows`: how series are cut into samples, a stretch of the past and what comes after it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from pipeline.sections.base import Fraction, Section
from pipeline.sections.data import epoch_seconds


class Windows(Section):
    """One sample is one window: `history` steps, then `gap` steps that nobody sees, then the `horizon` whose targets are the label.

    Targets are the columns with role: label. Every other feature is known up to the forecast alone, but for those in `known`, `static`,
    and the cycles of the time column, which is known for ever.
    """

    time: str  # a column of kind: time
    series: tuple[str, ...] = ()  # category columns that name a series; without any, all rows are one
    period_s: PositiveFloat  # seconds between two steps
    anchor: str = "1970-01-01"  # ISO 8601: steps are whole periods away from it
    history: PositiveInt
    horizon: PositiveInt
    gap: NonNegativeInt = 0
    stride: PositiveInt = 1  # a forecast every so many steps, counted from the anchor
    known: tuple[str, ...] = ()  # features whose values are known for the horizon too, as a price or a holiday
    static: tuple[str, ...] = ()  # features of the series itself: their value at the forecast, at every step
    resample: Literal["mean", "sum", "min", "max", "first", "last"] | None = None  # all rows of a period become one step
    duplicates: Literal["quarantine", "mean", "sum", "min", "max"] = "quarantine"  # without resample: rows with the same stamp
    fill: Literal["forward", "zero"] | None = None  # missing values become the last one, or 0; else no window has them
    max_fill: PositiveInt | None = None  # of fill: steps in a row; where more are missing, none is filled
    max_holes: Fraction = 0.1  # share of windows that may be lost to missing steps; above it the run fails
    reach_back: bool = False  # validation and test windows may have history from before their split
    scale: Literal["train", "history"] = "train"  # history: then by mean and deviation of each window's own history
    season: PositiveInt | None = None  # steps; evaluate also compares with the value of a season before

    @field_validator("anchor")
    @classmethod
    def is_a_stamp(cls, anchor: str) -> str:
        epoch_seconds(anchor)
        return anchor

    @model_validator(mode="after")
    def goes_together(self) -> Self:
        if (self.fill is None) != (self.max_fill is None):
            raise ValueError("fill: forward or zero, and max_fill: N steps, go together")
        if self.resample and self.duplicates != "quarantine":
            raise ValueError(
                "duplicates is for stamps as they are; with resample, rows of the same stamp are aggregated like all of a period"
            )
        if self.season is not None and self.season > self.history:
            raise ValueError(f"season: expected at most history: {self.history}, received {self.season}")
        return self

    @property
    def anchor_s(self) -> float:
        """Seconds since 1970."""
        return epoch_seconds(self.anchor)

    @property
    def span(self) -> int:
        """Steps from the first of the history to the last of the horizon."""
        return self.history + self.gap + self.horizon
