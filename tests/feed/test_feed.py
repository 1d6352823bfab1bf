"""A feed over several epochs: it goes on reading, reads each file once, keeps to its memory, and never hangs."""

from __future__ import annotations

import dataclasses
import io
import json
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.errors import ConfigError, DataError, InfrastructureError
from pipeline.feed import reader as readers
from pipeline.feed.dataset import ID_LOG, TrainingFeed, split_dataset, training_dataset
from pipeline.feed.plan import Plan, Position
from pipeline.schema import Tensor
from pipeline.sections.feed import Feed

pytestmark = pytest.mark.tf

ROWS = [50, 30, 7, 41, 100, 3, 62]
FIRST = np.concatenate([[0], np.cumsum(ROWS)])


def expected(plan, epoch, size=1, rank=0):
    """(steps, B) row numbers of a rank, straight from the plan."""
    lanes = []
    for lane in plan.lanes_of(rank, size):
        rows = [FIRST[s.file] + plan.row_order(epoch, s.file)[s.begin : s.end] for s in plan.segments(epoch, lane)]
        lanes.append(np.concatenate(rows).reshape(plan.num_steps, -1))
    return np.concatenate(lanes, axis=1)


def labels(dataset):
    return np.stack([label.numpy() for _, label, _ in dataset])


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_epoch_after_epoch_holds_what_the_plan_says(write_split, cache):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 32, 8, 17)
    feed = TrainingFeed(reader, plan, Feed(cache=cache), rank=1, size=3, epochs=3)
    for epoch in range(3):
        assert np.array_equal(labels(feed.epoch(epoch)), expected(plan, epoch, 3, 1))
    feed.close()


def test_an_epoch_left_half_way_or_begun_anew_is_given_from_its_first_step(write_split):
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 16, 4, 17)
    feed = TrainingFeed(reader, plan, epochs=3, start=Position(0, 3))
    for _ in feed.epoch(0).take(2):
        pass
    assert np.array_equal(labels(feed.epoch(1)), expected(plan, 1))
    assert np.array_equal(labels(feed.epoch(0)), expected(plan, 0)[3:])
    feed.close()


def test_a_file_is_read_once_an_epoch_and_once_a_training_from_a_cache(write_split, monkeypatch):
    asked = []
    read_tables = readers.read_tables
    monkeypatch.setattr(readers, "read_tables", lambda paths, *rest: asked.extend(paths) or read_tables(paths, *rest))
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 32, 8, 17)
    for cache, times in (("none", 2), ("memory", 1)):
        asked.clear()
        feed = TrainingFeed(reader, plan, Feed(cache=cache), epochs=2)
        for epoch in range(2):
            labels(feed.epoch(epoch))
        feed.close()
        assert len(set(asked)) == len(ROWS) and len(asked) == times * len(ROWS), cache


def test_a_feed_that_does_not_fit_in_its_memory_is_refused(write_split):
    reader = write_split([200_000] * 4)
    with pytest.raises(ConfigError, match="feed.memory_mb=8 is less than"):
        TrainingFeed(reader, Plan(reader.rows_per_file, 64, 4, 0), Feed(memory_mb=8))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # that it is unhandled is the point
@pytest.mark.parametrize("way", ["stuck", "dead"])
def test_a_reader_that_is_stuck_or_dead_is_an_error_within_its_limit(write_split, monkeypatch, way):
    from petastorm.arrow_reader_worker import ArrowReaderWorker

    release, process = threading.Event(), ArrowReaderWorker.process

    def fail_at_the_fifth(worker, piece_index, **arguments):
        if piece_index == 4 and way == "stuck":  # like a read from a network share that is gone
            release.wait()
        if piece_index == 4 and way == "dead":  # Petastorm's thread ends and tells nobody
            raise SystemExit
        return process(worker, piece_index, **arguments)

    monkeypatch.setattr(ArrowReaderWorker, "process", fail_at_the_fifth)
    feed = TrainingFeed(write_split(ROWS), Plan(tuple(ROWS), 32, 8, 17), Feed(timeout_s=1))
    with pytest.raises(Exception, match="gave nothing for 1 s"):  # in the class that TensorFlow made of it
        labels(feed.epoch(0))
    assert isinstance(feed.error, InfrastructureError)
    release.set()


def test_an_error_of_the_data_reaches_the_training_as_it_is(write_split):
    reader = write_split(ROWS)
    files = tuple(entry if index != 2 else entry.model_copy(update={"rows": 9}) for index, entry in enumerate(reader.files))
    short = dataclasses.replace(reader, files=files)
    feed = TrainingFeed(short, Plan(short.rows_per_file, 32, 8, 17))
    with pytest.raises(Exception, match="its manifest says 9"):
        labels(feed.epoch(0))
    assert isinstance(feed.error, DataError)


def rewrite(reader, index, column, values, name=None):
    path = reader.folder / reader.files[index].path
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.column_names.index(column), name or column, values), path)


def test_a_type_that_changes_between_files_is_refused(write_split):
    reader = write_split([20, 20])
    rewrite(reader, 1, "label", pa.array(np.arange(20, dtype=np.int32)))
    with pytest.raises(DataError, match="part-00001.parquet: expected label of int64 without nulls, received int32"):
        list(reader.read([0, 1]))


def test_a_column_that_one_file_lacks_is_refused(write_split):
    reader = write_split([20, 20])
    rewrite(reader, 1, "weight", pa.array(np.ones(20, np.float32)), name="wait")
    with pytest.raises(DataError, match="weight"):
        list(reader.read([0, 1]))


def test_a_null_weight_is_refused(write_split):
    reader = write_split([3])
    rewrite(reader, 0, "weight", pa.array([1.0, None, 1.0], pa.float32()))
    with pytest.raises(DataError, match="expected weight of float32 without nulls, received float with 1 nulls"):
        list(reader.read([0]))


def test_a_pickled_schema_in_a_footer_is_refused(write_split):
    reader = write_split([3])
    path = reader.folder / reader.files[0].path
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"dataset-toolkit.unischema.v1": b"\x80\x04."}), path)
    with pytest.raises(DataError, match="footer may hold a pickled schema"):
        list(reader.read([0]))


def test_a_file_of_two_row_groups_is_refused(write_split):
    reader = write_split([30])
    path = reader.folder / reader.files[0].path
    pq.write_table(pq.read_table(path), path, row_group_size=20)
    with pytest.raises(DataError, match="read 20 rows, its manifest says 30"):
        list(reader.read([0]))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32"])
@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 2, 1)], ids=str)
@pytest.mark.parametrize("fixed", [False, True], ids=["binary", "fixed"])
def test_packed_tensors_of_any_type_and_shape_arrive_as_they_were(write_split, dtype, shape, fixed):
    reader = write_split([40])
    values = np.random.default_rng(3).integers(0, 200, (40, *shape)).astype(dtype)
    kind = pa.binary(values[0].nbytes) if fixed else pa.binary()
    rewrite(reader, 0, "features", pa.array([value.tobytes() for value in values], kind))
    reader = dataclasses.replace(reader, tensor=Tensor(name="features", dtype=dtype, shape=shape))
    for tensor, label, _ in training_dataset(reader, Plan((40,), 8, 4, 1)):
        assert tensor.dtype == dtype and np.array_equal(tensor.numpy(), values[label.numpy()])


def test_texts_arrive_as_strings_of_any_length(write_split):
    reader, texts = write_split([40]), [f"Zeile {number} " + "ä€𝄞" * (number % 5) for number in range(40)]
    rewrite(reader, 0, "features", pa.array([text.encode() for text in texts], pa.binary()))
    reader = dataclasses.replace(reader, tensor=Tensor(name="features", dtype="string", shape=(), encoding="utf8"))
    for dataset in (training_dataset(reader, Plan((40,), 8, 4, 1)), split_dataset(reader, 10)):
        for tensor, label, _ in dataset:
            assert tensor.dtype == "string" and [text.decode() for text in tensor.numpy()] == [texts[row] for row in label.numpy()]


def test_encoded_images_are_decoded_in_tensorflow_beside_their_labels(write_split):
    reader = write_split([24])
    pixels = np.random.default_rng(5).integers(0, 255, (24, 9, 7, 3), dtype=np.uint8)
    rewrite(reader, 0, "features", pa.array([as_png(image) for image in pixels], pa.binary()))
    reader = dataclasses.replace(reader, tensor=Tensor(name="features", dtype="uint8", shape=(9, 7, 3), encoding="png"))
    seen = []
    for tensor, label, _ in training_dataset(reader, Plan((24,), 8, 4, 1)):
        assert np.array_equal(tensor.numpy(), pixels[label.numpy()])
        seen += label.numpy().tolist()
    assert sorted(seen) == list(range(24))
    evaluated = np.concatenate([tensor.numpy() for tensor, _, _ in split_dataset(reader, 10)])
    assert np.array_equal(evaluated, pixels)


def as_png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 3])
def test_padded_evaluation_gives_equal_steps_and_every_row_once_with_its_weight(write_split, size):
    reader = write_split(ROWS)
    ranks = [list(split_dataset(reader, 32, rank=rank, size=size, is_padded=True)) for rank in range(size)]
    assert len({len(batches) for batches in ranks}) == 1
    assert {len(label) for batches in ranks for _, label, _ in batches} == {32}
    rows = [row for batches in ranks for _, label, weight in batches for row in label.numpy()[weight.numpy() > 0]]
    assert rows == list(range(sum(ROWS)))


def test_kerass_loss_counts_rows_of_weight_0_which_is_why_validation_is_not_padded(write_split):
    import keras

    reader = write_split([40])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(loss="mae", weighted_metrics=["mae"])
    exact, padded = (model.evaluate(split_dataset(reader, 32, is_padded=padded), verbose=0, return_dict=True) for padded in (False, True))
    assert padded["loss"] == pytest.approx(exact["loss"] * 40 / 64, rel=1e-4)
    assert padded["mae"] == pytest.approx(exact["mae"], rel=1e-4)


def test_the_log_says_which_rows_every_step_holds(write_split, tmp_path, monkeypatch):
    monkeypatch.setenv(ID_LOG, str(tmp_path / "ids"))
    reader = write_split(ROWS)
    plan = Plan(reader.rows_per_file, 16, 4, 17)
    whole = labels(training_dataset(reader, plan, rank=1, size=2, start=Position(2, 4)))
    (path,) = (tmp_path / "ids").glob("rank-1-*.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(2, step) for step in range(4, plan.num_steps)]
    assert np.array_equal([line["ids"] for line in lines], whole)


@pytest.mark.parametrize("given", [0, 3])
def test_a_reader_that_ends_an_epoch_early_is_an_error_that_says_what_is_missing(write_split, monkeypatch, given):
    """As Petastorm 0.13.1 does every other time; docs/feed.md."""
    reader, plan = write_split(ROWS), Plan(tuple(ROWS), 32, 8, 17)
    read_next, left = readers.WholeTables.read_next, [given]

    def end_early(self, pool, schema, ngram):
        if not left[0]:
            raise StopIteration
        left[0] -= 1
        return read_next(self, pool, schema, ngram)

    monkeypatch.setattr(readers.WholeTables, "read_next", end_early)
    feed = TrainingFeed(reader, plan)
    with pytest.raises(Exception, match="read 0 rows, its manifest says"):
        labels(feed.epoch(0))
    assert isinstance(feed.error, DataError)
    left[0] = given
    with pytest.raises(Exception, match="read 0 rows, its manifest says"):
        list(split_dataset(reader, 32))


def test_columns_in_another_order_are_the_same_rows_and_one_in_another_case_is_missing(write_split):
    reader = write_split([20, 20])
    path = reader.folder / reader.files[1].path
    table = pq.read_table(path)
    pq.write_table(table.select(table.column_names[::-1]), path)
    assert [rows.label.tolist() for rows in reader.read([0, 1])] == [list(range(20)), list(range(20, 40))]
    rewrite(reader, 1, "label", table["label"], name="Label")
    with pytest.raises(DataError, match="label"):
        list(reader.read([0, 1]))
