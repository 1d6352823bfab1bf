"""Sections that prepare reads: where rows come from, what their columns hold, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.sections.base import Fraction, PathPattern, Pattern, Section, in_order
from pipeline.sections.media import AudioOptions, ImageOptions
from pipeline.sections.text import Text

# Kinds whose value is a whole image, sound or text: at most one feature of a recipe is such, and nothing else is then.
# What each means stands in pipeline/prepare/kinds/.
CONTENT_KINDS = ("image", "audio", "text")
FILE_FORMATS = {"images": "image", "audio": "audio", "idx": "image"}  # sources that hold nothing else, and the kind of column it is
SCHEMES = ("s3a", "hdfs", "gs", "abfss")  # read through Hadoop's file systems; settings in conf/spark/
Scaling = Literal["standard", "minmax", "robust", "max_abs", "log", "yeo_johnson", "quantile", "none"]


class Source(Section):
    """Where raw rows come from. Relative paths start at the folder that the command runs in."""

    format: Literal["images", "audio", "idx", "text", "csv", "jsonl", "parquet", "orc"]
    path: str = Field(min_length=1)  # a file, a folder (partitioned ones too), a glob, a URL of SCHEMES, or bundled:NAME
    separator: str = Field(",", min_length=1, max_length=1)  # csv only
    encoding: Literal["utf-8", "latin-1", "utf-16", "windows-1252"] = "utf-8"  # csv, jsonl and text; windows-1252 of text alone
    document: Literal["line", "file"] = "line"  # text: what one document is
    null_values: tuple[str, ...] = ("",)  # csv and jsonl: texts that mean that a value is missing
    # images and audio: a Python regular expression, searched for in a file's path below the source; its named groups are columns, as
    # (?P<digit>\d)_(?P<speaker>\w+)_\d+\.wav gives `digit` and `speaker`. If not said, the label is the name of the folder a file is in
    pattern: PathPattern | None = None

    @property
    def is_of_files(self) -> bool:
        """Whether a row is a file, named by its path."""
        return self.format in FILE_FORMATS or (self.format == "text" and self.document == "file")

    @property
    def bundled(self) -> str | None:
        """Name of a data set that comes with scikit-learn, or None for a path."""
        scheme, _, name = self.path.partition(":")
        return name if scheme == "bundled" else None

    @property
    def scheme(self) -> str | None:
        """`s3a` of `s3a://bucket/folder`; None for a local path."""
        return self.path.partition("://")[0] if "://" in self.path else None


class Expect(Section):
    """What must hold of a column.

    Rows that break min, max, integer, values or pattern go to quarantine as `invalid`; the limits on the whole column fail the run.
    """

    min: float | None = None
    max: float | None = None
    integer: bool = False
    values: tuple[str, ...] | None = None
    pattern: Pattern | None = None  # of the whole value
    max_nulls: Fraction | None = None  # share of the rows that are kept
    unique: bool = False  # no value twice among the rows that are kept
    max_distinct: PositiveInt | None = None

    @model_validator(mode="after")
    def has_room(self) -> Self:
        in_order(self.min, self.max)
        return self


class Column(Section):
    """One raw column: what it holds, and what it is for."""

    kind: Literal["number", "category", "time", "image", "audio", "text"]
    role: Literal["feature", "label", "weight", "key", "sensitive", "meta", "ignore"] = "feature"  # meta: for rules and splits only
    shape: tuple[PositiveInt, PositiveInt, Literal[1, 3]] | None = None  # images: (height, width, channels) after decoding
    image: ImageOptions | None = None  # images: how a file becomes the shape
    audio: AudioOptions | None = None  # audio: rate, length and limits
    format: str | None = None  # time: epoch_s, epoch_ms, or a pattern such as dd/MM/yyyy HH:mm; ISO 8601 if not said. Without a zone: UTC
    cycles: tuple[Literal["day", "week", "year"], ...] = ()  # time features: the sine and cosine of its place in each
    text: Text | None = None  # text: how documents are cleaned and become numbers
    expect: Expect = Expect()

    @model_validator(mode="after")
    def fits_its_kind(self) -> Self:
        if self.text is not None and self.kind != "text":
            raise ValueError("text: {...} goes with kind: text, and only with it")
        if (self.kind == "image") != (self.shape is not None):
            raise ValueError("shape: [height, width, channels] goes with kind: image, and only with it")
        if self.image is not None and self.kind != "image":
            raise ValueError("image: {resize: …} goes with kind: image, and only with it")
        if (self.kind == "audio") != (self.audio is not None):
            raise ValueError("audio: {sample_rate: …, seconds: …} goes with kind: audio, and only with it")
        if self.format is not None and self.kind != "time":
            raise ValueError("format goes with kind: time, and only with it")
        if self.cycles and (self.kind, self.role) != ("time", "feature"):
            raise ValueError("cycles: [day, week, year] goes with kind: time and role: feature, and only with them")
        if self.kind == "time" and not self.cycles and self.role not in ("meta", "ignore"):
            raise ValueError(f"kind: time expects role: meta or ignore, or cycles: [day, week, year] to be a feature; received {self.role}")
        return self


class Split(Section):
    """Which rows are for training, validation and test. A row keeps its split for ever, whatever else arrives.

    | by | a row's split follows from |
    |---|---|
    | hash | a hash of its key |
    | group | a hash of `column`: all rows of a user, patient, device together |
    | stratified | its key's hash among the rows with the same value of `column` (the label if not said), so that shares are exact in each |
    | time | `column` (kind: time): test from `test_from`, validation from `validation_from`, and `gap_s` before each that goes to neither |
    | kfold | its key's hash: part `fold` of `folds` is the test, the next one validation |
    | user_time | of interactions: its place among its user's, the last ones being for test; see `interactions` |
    """

    by: Literal["hash", "group", "stratified", "time", "kfold", "user_time"] = "hash"
    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    seed: NonNegativeInt = 0
    column: str | None = None
    validation_from: str | None = None  # ISO 8601; without a zone: UTC
    test_from: str | None = None
    gap_s: NonNegativeFloat = 0.0
    folds: Annotated[int, Field(ge=3, le=100)] | None = None
    fold: NonNegativeInt | None = None

    @model_validator(mode="after")
    def sums_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9 or min(self.train, self.validation, self.test) <= 0:
            raise ValueError(f"train, validation and test must each be above 0 and add up to 1; they add up to {total:g}")
        return self

    @model_validator(mode="after")
    def has_what_it_needs(self) -> Self:
        needs = {"group": {"column"}, "time": {"column", "validation_from", "test_from"}, "kfold": {"folds", "fold"}}.get(self.by, set())
        allowed = needs | ({"column"} if self.by == "stratified" else set()) | ({"gap_s"} if self.by == "time" else set())
        given = {name for name in ("column", "validation_from", "test_from", "folds", "fold") if getattr(self, name) is not None}
        given |= {"gap_s"} if self.gap_s else set()
        if missing := sorted(needs - given):
            raise ValueError(f"by: {self.by} also needs {', '.join(missing)}")
        if extra := sorted(given - allowed):
            raise ValueError(f"by: {self.by} does not use {', '.join(extra)}")
        if self.by == "kfold" and (self.fold or 0) >= (self.folds or 0):
            raise ValueError(f"fold: expected 0 to {(self.folds or 0) - 1}, received {self.fold}")
        if self.by == "time" and not self.boundaries[0] < self.boundaries[1]:
            raise ValueError(f"expected validation_from before test_from, received {self.validation_from} and {self.test_from}")
        return self

    @property
    def boundaries(self) -> tuple[float, float]:
        """(validation_from, test_from) as seconds since 1970, UTC; of by: time."""
        return epoch_seconds(self.validation_from or ""), epoch_seconds(self.test_from or "")


class Encode(Section):
    """How a category column becomes numbers. What train rows do not have goes to one place of its own, null included.

    | method | positions in the vector |
    |---|---|
    | one_hot | one for each value, one for the rest |
    | ordinal | 1: the value's index in sorted order, the rest last |
    | vocabulary | 1: the value's rank by frequency, from 1; 0 for the rest (also what is rarer than `min_count` or beyond `size`) |
    | hash | `buckets`, one-hot by a hash of the value |
    | target | one (one for each class, of three or more): the label's smoothed mean among the other folds' train rows |
    """

    method: Literal["one_hot", "ordinal", "vocabulary", "hash", "target"] = "one_hot"
    size: PositiveInt = 10_000
    min_count: PositiveInt = 1
    buckets: Annotated[int, Field(ge=2)] = 64
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    smoothing: PositiveFloat = 20.0  # rows that the overall mean weighs. Source: Micci-Barreca 2001, 10.1145/507533.507538

    @model_validator(mode="before")
    @classmethod
    def name_alone(cls, value: Any) -> Any:
        return {"method": value} if isinstance(value, str) else value


class Audit(Section):
    """What may not cross from train to validation or test. Shares are of the validation and test rows; above a limit the run fails.

    The same key, group (of `split.by: group`) or a train row later than an evaluation row (of `split.by: time`) always fails.
    """

    max_shared_content: Fraction = 0.01  # rows whose features equal a train row's
    max_near_duplicates: Fraction | None = None  # … after rounding to near_digits; not looked for if not said
    near_digits: PositiveInt = 3
    near_distance: Annotated[int, Field(ge=0, le=15)] = 4  # images: bits of 64 in which perceptual hashes may differ
    group: str | None = None  # a column whose values may not be in two splits, however rows are split


class Drift(Section):
    """Train rows against those of the recipe's last published run."""

    warn_psi: PositiveFloat = 0.2  # population stability index; above 0.25 is commonly called a shift
    max_psi: PositiveFloat | None = None  # above, the run fails
    max_js: Fraction | None = None  # Jensen–Shannon divergence, base 2
    new_categories: Literal["ignore", "warn", "fail"] = "warn"


class Prepare(Section):
    """How prepared data is laid out."""

    # Megabytes of tensors in one file; the shuffle window is one file in each lane. Arrow counts a column's bytes in 32 bits.
    file_mb: Annotated[int, Field(ge=1, le=2000)] = 64
    min_files: PositiveInt = 8  # per split, so that small data still spreads over lanes and ranks


def epoch_seconds(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 text; without a zone it is UTC.

    Raises:
        ValueError: not ISO 8601.
    """
    stamp = datetime.fromisoformat(text)
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp()
