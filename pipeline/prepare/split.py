"""Which split a row is in: a function of its key alone, so it stays there for ever. Starts no Spark job."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.config import Split
from pipeline.errors import DataError
from pipeline.prepare.read import KEY, RULE
from pipeline.schema import SPLITS, SplitName

SPLIT = "split"
BITS = 52  # of the key's SHA-256; exact in a double


def assign_splits(rows: DataFrame, split: Split) -> DataFrame:
    """Rows that are still in get `split` by hash of the key; dropped rows get null."""
    digest = F.sha2(F.concat(F.lit(f"{split.seed}:"), F.col(KEY)), 256)
    fraction = F.conv(F.substring(digest, 1, BITS // 4), 16, 10).cast("double") / float(2**BITS)
    name = F.when(fraction < split.train, "train").when(fraction < split.train + split.validation, "validation").otherwise("test")
    return rows.withColumn(SPLIT, F.when(F.col(RULE).isNull(), name))


def check_labels(counts: Mapping[SplitName, Mapping[str, int]], label: str) -> tuple[str, ...]:
    """The classes, sorted, if every split can be used with them.

    Args:
        counts: rows of each label value in each split.
        label: name of the label column, for the message.

    Raises:
        DataError: an empty split, fewer than two classes, or a label outside train that train does not have.
    """
    sizes = {name: sum(counts[name].values()) for name in SPLITS}
    if empty := [name for name in SPLITS if not sizes[name]]:
        raise DataError(f"Split {', '.join(empty)} has no rows (rows: {sizes}). Give it a larger share in `split`, or more data.")
    classes = tuple(sorted(counts["train"]))
    if len(classes) < 2:
        raise DataError(f"Column {label} has one class in the train rows: {classes[0]!r}. Expected at least two to learn from.")
    for name in ("validation", "test"):
        if unseen := sorted(set(counts[name]) - set(classes)):
            raise DataError(
                f"Label {', '.join(map(repr, unseen))} of column {label} is in {name} but not in train. "
                "Expected every class among the train rows: give train more rows, or drop the class from the source."
            )
    return classes
