"""Batches out of real Parquet, through Petastorm and tf.data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.feed.dataset import training_dataset
from pipeline.feed.plan import Plan, Position

pytestmark = pytest.mark.tf

ROWS = [50, 30, 7, 41, 100, 3, 62]


def labels(reader, plan, size, start=None):
    """(steps, global batch) the row numbers that all ranks of a world give, step by step."""
    ranks = [[batch[1].numpy() for batch in training_dataset(reader, plan, rank=rank, size=size, start=start)] for rank in range(size)]
    return [np.concatenate(step) for step in zip(*ranks, strict=True)]


def test_ranks_together_read_what_one_rank_reads(write_split):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 32, 8, 17)
    alone = labels(reader, plan, 1)
    assert len(alone) == plan.num_steps
    for size in (2, 3):
        assert np.array_equal(labels(reader, plan, size), alone)


def test_an_epoch_gives_every_row_once_but_the_stated_rest(write_split):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 32, 8, 17)
    rows = np.concatenate(labels(reader, plan, 2))
    assert len(np.unique(rows)) == len(rows) == plan.num_steps * 32


def test_reading_from_a_position_gives_the_rest_of_the_epoch(write_split):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 16, 4, 17)
    whole = labels(reader, plan, 2, Position(3, 0))
    assert np.array_equal(labels(reader, plan, 1, Position(3, 5)), whole[5:])


def test_tensors_arrive_with_their_rows(write_split):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 32, 8, 17)
    for tensor, label, weight in training_dataset(reader, plan):
        assert np.array_equal(tensor.numpy(), label.numpy().astype(np.float32)[:, None].repeat(4, axis=1))
        assert np.array_equal(weight.numpy(), np.ones(32, np.float32))


def test_reading_fails_where_a_file_has_other_rows_than_its_manifest_says(write_split):
    reader = write_split(ROWS)
    files = tuple(entry if index != 2 else entry.model_copy(update={"rows": 9}) for index, entry in enumerate(reader.files))
    short = dataclasses.replace(reader, files=files)
    with pytest.raises(DataError, match=r"part-00002.parquet: read 7 rows, its manifest says 9"):
        list(short.read(range(len(ROWS))))


def test_a_null_tensor_is_refused(write_split):
    reader = write_split([4])
    path = reader.folder / reader.files[0].path
    table = pq.read_table(path)
    column = pa.array([None, *table["features"].to_pylist()[1:]], pa.binary())
    pq.write_table(table.set_column(1, "features", column), path)
    with pytest.raises(DataError, match="column features holds nulls"):
        list(reader.read([0]))


def test_a_tensor_of_another_size_is_refused(write_split):
    reader = write_split([4])
    path = reader.folder / reader.files[0].path
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "features", pa.array([b"\0" * 12] * 4, pa.binary())), path)
    with pytest.raises(DataError, match="holds 48 bytes in 4 rows. Expected 16 each"):
        list(reader.read([0]))


def test_labels_of_another_type_are_refused(write_split):
    reader = write_split([4])
    path = reader.folder / reader.files[0].path
    table = pq.read_table(path)
    pq.write_table(table.set_column(2, "label", pa.array([0.0, 1.0, None, 2.0])), path)
    with pytest.raises(DataError, match="expected label of int64 without nulls, received double with 1 nulls"):
        list(reader.read([0]))


def with_numbers(reader, values):
    """The same single file with these float labels, for a reader of a regression."""
    path = reader.folder / reader.files[0].path
    pq.write_table(pq.read_table(path).set_column(2, "label", pa.array(values, pa.float32())), path)
    return dataclasses.replace(reader, label_dtype="float32")


def test_labels_of_a_regression_arrive_with_their_rows_as_they_are(write_split):
    numbers = np.arange(64, dtype=np.float32)
    reader = with_numbers(write_split([64]), numbers / 3)
    for tensor, label, _ in training_dataset(reader, Plan(reader.rows_per_file, 16, 4, 17)):
        assert label.dtype == np.float32
        assert np.array_equal(label.numpy(), tensor.numpy()[:, 0] / np.float32(3))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "part-00000.parquet: expected label of float32 without nulls, received float with 1 nulls"),
        (np.nan, "part-00000.parquet: label holds a number that is not finite"),
        (np.inf, "part-00000.parquet: label holds a number that is not finite"),
    ],
)
def test_a_label_that_is_no_number_is_refused(write_split, value, message):
    reader = with_numbers(write_split([4]), [0.5, value, 1.5, 2.5])
    with pytest.raises(DataError, match=message):
        list(reader.read([0]))


def test_class_labels_are_refused_where_numbers_are_expected(write_split):
    reader = dataclasses.replace(write_split([4]), label_dtype="float32")
    with pytest.raises(DataError, match="expected label of float32 without nulls, received int64"):
        list(reader.read([0]))


def test_a_truncated_file_is_named(write_split):
    reader = write_split([500])
    path = reader.folder / reader.files[0].path
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="data/train"):
        list(reader.read([0]))


def test_a_corrupt_page_header_is_an_error_and_not_a_hang(write_split):
    reader = write_split([500])
    path = reader.folder / reader.files[0].path
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(DataError, match="data/train"):
        list(reader.read([0]))


def test_a_pickled_schema_is_refused_before_anything_is_opened(write_split):
    reader = write_split([4])
    (reader.folder / "data" / "train" / "_common_metadata").write_bytes(b"not opened")
    with pytest.raises(DataError, match="_common_metadata may hold a pickled schema"):
        list(reader.read([0]))
