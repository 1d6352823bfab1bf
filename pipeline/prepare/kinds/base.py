"""What a kind of content answers for. Pure but for `fit`, which may start Spark jobs; everything else runs in Spark's workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa

from pipeline.schema import Tensor
from pipeline.sections.data import Column

if TYPE_CHECKING:  # staging, tally and Spark stand above the kinds
    from pyspark.sql import SparkSession

    from pipeline.config import Recipe
    from pipeline.prepare.tally import Tally


class Undecodable(ValueError):
    """Why a raw value cannot be used; the text goes to quarantine."""


@dataclass(frozen=True)
class Decoded:
    """One raw value as it is staged."""

    value: bytes | str


@dataclass(frozen=True)
class ContentFit:
    """What a kind fitted from train rows."""

    tensor: Tensor
    state: Any = None  # what `pack` needs besides; sent to every worker, so it has to be picklable (by Spark itself, never from a file)
    facts: dict[str, Any] = field(default_factory=dict)  # further fields of the manifest's `Prepared`
    files: dict[str, str] = field(default_factory=dict)  # further files of the result: name -> text


class Kind(Protocol):
    """A kind of content column. `column` is always its section of the recipe."""

    staged: Literal["binary", "string"]  # Spark's type of a staged value

    def row_bytes(self, column: Column) -> int:
        """About how many bytes one staged value takes; sizes the batches that Spark hands to Python."""

    def decode(self, content: bytes, column: Column, name: str = "") -> Decoded:
        """One raw value, staged; `name` is the file's, if it has one. Raises Undecodable with the reason."""

    def count(self, values: pa.ChunkedArray, column: Column) -> list[list[int]]:
        """Rows of integers that add up over parts of the train rows, whatever the parts; [] if the kind counts nothing."""

    def fit(self, spark: SparkSession, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
        """The tensor and what else follows from train rows: from `tally.totals` (the sums of `count`), or from staged rows in `work`."""

    def pack(self, values: pa.ChunkedArray, fitted: ContentFit) -> pa.Array:
        """(R,) binary: the tensor of each staged value."""

    def unpack(self, value: Any, fitted: ContentFit) -> Any:
        """One staged value as what augmentation works on: an array, or a text."""

    def repack(self, values: Any, fitted: ContentFit) -> bytes | str:
        """The staged value of what was augmented; the inverse of `unpack`."""
