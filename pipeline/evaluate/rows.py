"""Prepared rows as Arrow: their names, their tensors, and the predictions file beside them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.errors import DataError
from pipeline.schema import LABEL, SAMPLE_ID, SplitName, files_of, prepared

PREDICTIONS = "predictions.parquet"


def read_columns(found: Found, split: SplitName, columns: Sequence[str]) -> pa.Table:
    """Columns of a whole split, in the files' order, which is the feed's."""
    return pa.concat_tables(pq.ParquetFile(found.files / entry.path).read(columns) for entry in files_of(found.manifest, split))


def sample_ids(found: Found, split: SplitName, labels: NDArray[Any]) -> pa.ChunkedArray:
    """Names of the rows that were evaluated.

    Args:
        found: a verified prepare result.
        split: its split.
        labels: (N,) as the feed gave them.

    Raises:
        DataError: the files' own labels are not these, so names and predictions would not belong together.
    """
    table = read_columns(found, split, [SAMPLE_ID, LABEL])
    if not np.array_equal(table.column(LABEL).to_numpy(), labels):
        raise DataError(
            f"The feed gave the {split} rows of {found.files} in another order than they are stored in: their labels differ. "
            "Expected the files' order. This is a defect of the feed; nothing was published."
        )
    return table.column(SAMPLE_ID)


def read_tensors(found: Found, split: SplitName, positions: Sequence[int]) -> NDArray[np.generic]:
    """The tensors of some rows of a split, (P, *shape), read from the files that hold them and no other.

    Args:
        found: a verified prepare result.
        split: its split.
        positions: (P,) rows, counted over the split in the files' order.
    """
    tensor, begin = prepared(found.manifest).tensor, 0
    result = np.zeros((len(positions), *tensor.shape), tensor.dtype)
    for entry in files_of(found.manifest, split):
        end = begin + (entry.rows or 0)
        wanted = [(place, position - begin) for place, position in enumerate(positions) if begin <= position < end]
        if wanted:
            packed = pq.ParquetFile(found.files / entry.path).read([tensor.name]).column(0)
            for place, row in wanted:
                result[place] = np.frombuffer(packed[row].as_py(), tensor.dtype).reshape(tensor.shape)
        begin = end
    return result


def write_class_predictions(
    path: Path, names: pa.ChunkedArray, labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> None:
    """One row for each row of the split, in its order.

    | column | type | |
    |---|---|---|
    | `sample_id` | string | as in the prepared files |
    | `label`, `predicted` | int64 | class indices, as in the prepared files |
    | `probability` | float | of `predicted` |
    | `probabilities` | list of K floats | of every class; they add up to 1 |

    The file's metadata key `classes` holds the label value of each index, as JSON.
    """
    predicted = probabilities.argmax(axis=1)
    table = pa.table(
        {
            SAMPLE_ID: names.cast(pa.string()),
            LABEL: labels,
            "predicted": predicted,
            "probability": probabilities.max(axis=1).astype(np.float32),
            "probabilities": pa.FixedSizeListArray.from_arrays(probabilities.astype(np.float32).ravel(), len(classes)),
        }
    )
    pq.write_table(table.replace_schema_metadata({"classes": json.dumps(list(classes))}), path)


def write_number_predictions(path: Path, names: pa.ChunkedArray, true: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
    """One row for each row of the split, in its order.

    | column | type | |
    |---|---|---|
    | `sample_id` | string | as in the prepared files |
    | `label`, `predicted` | double | in the label's raw unit; the metrics are of these |
    """
    pq.write_table(pa.table({SAMPLE_ID: names.cast(pa.string()), LABEL: true, "predicted": predicted}), path)
