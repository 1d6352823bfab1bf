"""Prepared rows as Arrow: their names, their tensors, and the predictions file beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from pipeline import storage
from pipeline.attempt import Found
from pipeline.errors import DataError
from pipeline.manifest import FileEntry
from pipeline.schema import LABEL, LABEL_SHIFT, SAMPLE_ID, Evaluated, SplitName, Tensor, files_of, prepared

if TYPE_CHECKING:
    from pipeline.evaluate.generation import Neighbours
    from pipeline.evaluate.unlabelled_inference import Reconstructed

PREDICTIONS, GENERATED = "predictions.parquet", "generated.parquet"


def read_columns(found: Found, split: SplitName, columns: Sequence[str]) -> pa.Table:
    """Columns of a whole split, in the files' order, which is the feed's."""
    return pa.concat_tables(read_file(found, entry, columns) for entry in files_of(found.manifest, split))


def read_file(found: Found, entry: FileEntry, columns: Sequence[str]) -> pa.Table:
    """Columns of one file, wherever it lies."""
    path = found.files / entry.path
    with storage.explained(path), storage.open_file(path) as file:
        return pq.ParquetFile(file).read(columns)


def sample_ids(found: Found, split: SplitName, labels: NDArray[Any]) -> pa.ChunkedArray:
    """Names of the rows that were evaluated.

    Args:
        found: a verified prepare result.
        split: its split.
        labels: (N,), or (N, K) of K numbers each, as the feed gave them.

    Raises:
        DataError: the files' own labels are not these, so names and predictions would not belong together.
    """
    table = read_columns(found, split, [SAMPLE_ID, LABEL])
    shape = prepared(found.manifest).label_shape
    stored = unpack(table.column(LABEL), "float32", (-1,)) if shape else table.column(LABEL).to_numpy()
    if not np.array_equal(stored, labels):
        raise DataError(
            f"The feed gave the {split} rows of {found.files} in another order than they are stored in: their labels differ. "
            "Expected the files' order. This is a defect of the feed; nothing was published."
        )
    return table.column(SAMPLE_ID)


def unpack(column: pa.ChunkedArray, dtype: str, shape: Sequence[int]) -> NDArray[Any]:
    """(N, *shape) of packed values."""
    return np.frombuffer(b"".join(column.to_pylist()), dtype).reshape(len(column), *shape)


def read_history(found: Found, split: SplitName) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Of a split's windows, file after file: (N, history, targets) in model units, and (N, targets, 2) LABEL_SHIFT if there is one."""
    facts = prepared(found.manifest)
    if facts.windows is None:
        raise DataError(f"{found.files} holds no windows. Run `pipeline prepare RECIPE --force`.")
    steps, targets, name = facts.windows.history, len(facts.windows.targets), facts.tensor.name
    has_shift = facts.windows.scale == "history"
    history, shifts = [], []
    for entry in files_of(found.manifest, split):
        table = read_file(found, entry, [name, *([LABEL_SHIFT] if has_shift else [])])
        history.append(unpack(table.column(name), facts.tensor.dtype, facts.tensor.shape)[:, :steps, :targets].copy())
        shifts += [unpack(table.column(LABEL_SHIFT), "float32", (targets, 2))] if has_shift else []
    return np.concatenate(history), np.concatenate(shifts) if has_shift else None


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
            packed = read_file(found, entry, [tensor.name]).column(0)
            for place, row in wanted:
                result[place] = as_array(packed[row].as_py(), tensor)
        begin = end
    return result


def as_array(packed: bytes, tensor: Tensor) -> NDArray[np.generic]:
    """One value of a tensor's column: its bytes as they are, or the pixels of a PNG or JPEG file."""
    if tensor.encoding in ("png", "jpeg"):
        with Image.open(io.BytesIO(packed), formats=["PNG", "JPEG"]) as image:
            return np.asarray(image, tensor.dtype).reshape(tensor.shape)
    return np.frombuffer(packed, tensor.dtype).reshape(tensor.shape)


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


def write_forecasts(
    path: Path, names: pa.ChunkedArray, true: NDArray[np.float64], predicted: NDArray[np.float64], targets: Sequence[str]
) -> None:
    """One row for each window of the split, in its order.

    | column | type | |
    |---|---|---|
    | `sample_id` | string | as in the prepared files: series @ last known time |
    | `label`, `predicted` | list of horizon x targets doubles | step after step, in the targets' raw units |

    The file's metadata key `targets` holds the names of the targets, as JSON.
    """
    columns = {
        name: pa.FixedSizeListArray.from_arrays(np.ascontiguousarray(values).ravel(), values.shape[1] * values.shape[2])
        for name, values in ((LABEL, true), ("predicted", predicted))
    }
    table = pa.table({SAMPLE_ID: names.cast(pa.string()), **columns})
    pq.write_table(table.replace_schema_metadata({"targets": json.dumps(list(targets))}), path)


def write_reconstructions(
    path: Path,
    names: pa.ChunkedArray,
    found: Reconstructed,
    classes: Sequence[str],
    is_anomaly: NDArray[np.bool_] | None,
    result: Evaluated,
) -> None:
    """One row for each row of the split, in its order.

    | column | type | |
    |---|---|---|
    | `sample_id` | string | as in the prepared files |
    | `error`, `absolute_error` | double | mean squared and mean absolute error of the row, in scaled units |
    | `is_above` | bool | whether `error` is above the threshold |
    | `label` | string | of recipes with one |
    | `is_anomaly` | bool | whether it is among anomalies.values, of recipes with them |

    The file's metadata key `threshold` holds the threshold, as JSON.
    """
    threshold = result.threshold.value if result.threshold else 0.0
    columns: dict[str, Any] = {SAMPLE_ID: names.cast(pa.string()), "error": found.errors.squared, "absolute_error": found.errors.absolute}
    columns["is_above"] = found.errors.squared > threshold
    if classes:
        columns[LABEL] = pa.array([classes[index] for index in found.labels], pa.string())
    if is_anomaly is not None:
        columns["is_anomaly"] = is_anomaly
    pq.write_table(pa.table(columns).replace_schema_metadata({"threshold": json.dumps(threshold)}), path)


def write_generated(path: Path, images: NDArray[np.uint8], data: Found, nearest: Neighbours, usual: float) -> None:
    """One row for each generated image.

    | column | type | |
    |---|---|---|
    | `image` | binary | pixels, uint8, row after row |
    | `nearest_train` | string | `sample_id` of the train image that it is most like |
    | `distance` | double | to that, divided by the median of the test images' distances |

    The file's metadata key `shape` holds the shape of an image, as JSON.
    """
    names = read_columns(data, "train", [SAMPLE_ID]).column(0).take(pa.array(nearest.index))
    columns = {
        "image": pa.array([image.tobytes() for image in images], pa.binary()),
        "nearest_train": names.cast(pa.string()),
        "distance": nearest.distance / max(usual, 1e-12),
    }
    pq.write_table(pa.table(columns).replace_schema_metadata({"shape": json.dumps(list(images.shape[1:]))}), path)
