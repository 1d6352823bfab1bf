"""The rules of `clean`: which rows go to quarantine and which values change, in the order they are written."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.sections.base import Fraction, Pattern, Section, exactly_one, in_order, set_fields

CHANGING = ("fill_nulls", "clip", "clip_outliers", "tidy", "replace")  # rules that change values and drop no row

Columns = Annotated[list[str], Field(min_length=1)]


class FillNulls(Section):
    """Missing values become a constant, a statistic of the train rows, or the series' last value."""

    columns: Columns
    by: Literal["value", "mean", "median", "mode", "forward"] = "value"  # forward: the last value before it, in `order`, of one `series`
    value: float | str | None = None
    series: str | None = None  # of forward: the column that names a series; None: all rows are one
    order: str | None = None  # of forward: the time column

    @model_validator(mode="after")
    def has_what_it_needs(self) -> Self:
        if (self.by == "value") != (self.value is not None):
            raise ValueError("value: … goes with by: value, and only with it")
        if (self.by == "forward") != (self.order is not None) or (self.series is not None and self.by != "forward"):
            raise ValueError("order: (a time column) goes with by: forward, and series: only with it")
        return self


class KeepRange(Section):
    """Rows outside the range, or without a value, go to quarantine."""

    column: str
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def has_room(self) -> Self:
        in_order(self.min, self.max)
        return self


class KeepValues(Section):
    """Rows with any other value, or none, go to quarantine."""

    column: str
    values: Annotated[list[str], Field(min_length=1)]


class KeepPattern(Section):
    """Rows whose whole value does not match, or is missing, go to quarantine. Java's regular expressions."""

    column: str
    pattern: Pattern


class Clip(Section):
    """Values beyond a bound become the bound."""

    columns: Columns
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def has_a_bound(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("expected min, max or both")
        in_order(self.min, self.max)
        return self


class Outliers(Section):
    """Bounds from the train rows: quartiles ± limit * IQR, mean ± limit * std, or two quantiles. Missing values are no outliers."""

    columns: Columns
    by: Literal["iqr", "zscore", "quantiles"] = "iqr"
    limit: PositiveFloat | None = None  # of iqr (1.5 if not said; Tukey 1977) and zscore (3)
    quantiles: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None  # of quantiles: [0.001, 0.999]

    @model_validator(mode="after")
    def has_what_it_needs(self) -> Self:
        if (self.by == "quantiles") != (self.quantiles is not None) or (self.by == "quantiles" and self.limit is not None):
            raise ValueError("quantiles: [low, high] goes with by: quantiles and limit: with the others")
        if self.quantiles is not None and self.quantiles[0] >= self.quantiles[1]:
            raise ValueError(f"quantiles: expected [low, high] with low < high, received {self.quantiles}")
        return self


class Tidy(Section):
    """Category text: white space trimmed and collapsed, letter case. Text that is empty then is missing."""

    columns: Columns
    case: Literal["keep", "lower", "upper"] = "keep"


class Replace(Section):
    """Values of a category column that become another, or null."""

    column: str
    values: dict[str, str | None]


class NearDuplicates(Section):
    """Rows that agree in these columns after rounding numbers to significant digits and tidying text; the first stays."""

    columns: Columns | None = None  # all features if not said
    digits: PositiveInt = 3
    similarity: Annotated[float, Field(ge=0.5, le=1)] | None = None  # texts: Jaccard similarity of their runs of words, from which on
    shingle: Annotated[int, Field(ge=1, le=20)] = 3  # texts: words of a run
    distance: Annotated[int, Field(ge=0, le=15)] = 4  # images: bits of 64 in which perceptual hashes may differ


class CleanRule(Section):
    """One rule of `clean.rules`; exactly one key. Rows it drops go to quarantine with the rule's name."""

    drop_nulls: Columns | None = None  # columns that must have a value
    fill_nulls: FillNulls | None = None
    drop_duplicates: Literal[True] | None = None  # the same declared content, as read, as an earlier row
    drop_near_duplicates: NearDuplicates | None = None
    keep_range: KeepRange | None = None
    keep_values: KeepValues | None = None
    keep_pattern: KeepPattern | None = None
    clip: Clip | None = None
    clip_outliers: Outliers | None = None
    drop_outliers: Outliers | None = None
    tidy: Tidy | None = None
    replace: Replace | None = None

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {value: {} if value == "drop_near_duplicates" else True} if isinstance(value, str) else value

    @model_validator(mode="after")
    def is_one_rule(self) -> Self:
        return exactly_one(self)

    @property
    def name(self) -> str:
        return set_fields(self)[0]

    @property
    def used(self) -> list[str]:
        """The columns that the rule names."""
        rule = getattr(self, self.name)
        named = (
            rule if isinstance(rule, list) else [] if rule is True else getattr(rule, "columns", None) or [getattr(rule, "column", None)]
        )
        extra = [rule.series, rule.order] if isinstance(rule, FillNulls) else []
        return [name for name in [*named, *extra] if name is not None]


class Clean(Section):
    """Rows that cannot be read (undecodable, unparsable, no label) always go to quarantine; `rules` say what else does."""

    rules: tuple[CleanRule, ...] = ()
    max_dropped: Fraction = 0.01  # share of all rows that quarantine may take (duplicates excluded) before the run fails
