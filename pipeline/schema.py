"""What a prepared data set's columns and tensors are: the part of a prepare manifest that feed, train and evaluate rely on."""

from __future__ import annotations

import math
from typing import Literal

from pipeline.manifest import FileEntry, Manifest, Record

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# Columns that every prepared file has, besides one binary column per tensor.
SAMPLE_ID, LABEL, WEIGHT = "sample_id", "label", "weight"


class Tensor(Record):
    """A packed binary column: every value is the row-major bytes of one array of this dtype and shape."""

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None = None  # images: per channel, train rows, in pixel units
    std: tuple[float, ...] | None = None

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * {"uint8": 1, "float32": 4, "int64": 8}[self.dtype]


class NumberScaler(Record):
    """x -> (x - offset) / scale; nulls become `fill` first."""

    column: str
    method: Literal["standard", "minmax", "none"]
    offset: float
    scale: float
    fill: float


class CategoryEncoder(Record):
    """One-hot over `values` and one more place for everything else, null included."""

    column: str
    values: tuple[str, ...]


class SplitFacts(Record):
    """Rows of one split. `sources` are raw rows; `rows` also counts augmented copies."""

    rows: int
    sources: int
    label_counts: dict[str, int]


class Accounting(Record):
    """rows_in = rows_out + everything dropped."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int]  # rule -> rows; rules that dropped nothing are listed with 0
    augmented: int


class ColumnStatistics(Record):
    """Of one number column, over train rows."""

    count: int
    nulls: int
    mean: float
    std: float  # population
    min: float
    max: float


class Prepared(Record):
    """`facts` of a prepare manifest."""

    task: Literal["classification"]
    label: str
    classes: tuple[str, ...]  # label value of each index, sorted
    tensor: Tensor
    splits: dict[SplitName, SplitFacts]
    accounting: Accounting
    scalers: tuple[NumberScaler, ...] = ()
    encoders: tuple[CategoryEncoder, ...] = ()
    statistics: dict[str, ColumnStatistics] = {}
    slices: tuple[str, ...] = ()  # sensitive columns kept beside the tensor, as text


def prepared(manifest: Manifest) -> Prepared:
    return Prepared.model_validate(manifest.facts)


def files_of(manifest: Manifest, split: SplitName) -> list[FileEntry]:
    """The data files of one split, in the order that row positions are counted in."""
    return [entry for entry in manifest.files if entry.path.startswith(f"data/{split}/")]
