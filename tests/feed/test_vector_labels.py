"""Labels of several numbers: packed like a tensor, given as many numbers a row as a model answers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import DataError
from pipeline.feed.budget import bytes_per_file
from pipeline.feed.columns import decode
from pipeline.manifest import FileEntry
from pipeline.schema import Tensor

TENSOR = Tensor(name="window", dtype="float32", shape=(2, 3))


def table(labels: list[bytes | None]) -> pa.Table:
    rows = np.arange(6 * len(labels), dtype=np.float32).reshape(-1, 6)
    packed = pa.array([row.tobytes() for row in rows], pa.binary())
    return pa.table({"window": packed, "label": pa.array(labels, pa.binary()), "weight": np.ones(len(labels), np.float32)})


def test_a_label_comes_out_row_major():
    labels = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    found = decode(table([label.tobytes() for label in labels]), TENSOR, "float32", "file", (2, 2))
    assert found.label.shape == (3, 4) and found.label.dtype == np.float32
    np.testing.assert_array_equal(found.label, labels.reshape(3, 4))
    np.testing.assert_array_equal(found.take(np.asarray([2, 0])).label, labels.reshape(3, 4)[[2, 0]])


@pytest.mark.parametrize(
    ("label", "says"),
    [(None, "holds nulls"), (b"\0" * 8, "Expected 16 each"), (np.asarray([1, np.nan, 2, 3], np.float32).tobytes(), "not finite")],
    ids=["null", "too short", "not a number"],
)
def test_a_label_that_is_not_as_the_manifest_says_is_refused(label, says):
    good = np.zeros(4, np.float32).tobytes()
    with pytest.raises(DataError, match=says):
        decode(table([good, label]), TENSOR, "float32", "file", (4,))


def test_labels_count_among_a_ranks_memory():
    entry = FileEntry(path="data/train/part-00000.parquet", rows=10, bytes=1, sha256="0" * 64)
    scalar, vector = (bytes_per_file([entry], TENSOR, shape)[0] for shape in ((), (24, 7)))
    assert vector - scalar == 10 * 4 * 24 * 7
