"""The feed from an S3 server: the same rows as from a local disk, through Petastorm; fetched once a host if asked to."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
from contextlib import ExitStack

import numpy as np
import pytest

from pipeline import storage
from pipeline.disk_cache import DiskCache
from pipeline.errors import DataError, InfrastructureError
from pipeline.feed.dataset import TrainingFeed, split_dataset
from pipeline.feed.plan import Plan
from pipeline.feed.reader import SplitReader
from pipeline.paths import Remote
from tests.conftest import PROJECT

pytestmark = pytest.mark.tf

ROWS = [50, 30, 7, 41, 100, 3, 62, 15, 80, 22]  # more files than one Petastorm reader opens


@pytest.fixture
def on_store(s3, bucket, write_split):
    """The same split on this disk and in the bucket."""
    local = write_split(ROWS)
    s3.copy_folder(local.folder, bucket, "prepare")
    return local, dataclasses.replace(local, folder=Remote(f"s3://{bucket}/prepare"))


def read_all(reader: SplitReader):
    return [(rows.tensor.tolist(), rows.label.tolist()) for rows in reader.read(range(len(reader.files)))]


def labels(dataset):
    return np.stack([label.numpy() for _, label, _ in dataset])


def test_epochs_from_a_store_are_those_from_a_disk(on_store):
    local, remote = on_store
    plan = Plan(local.rows_per_file, 32, 8, 17)
    feeds = [TrainingFeed(reader, plan, rank=1, size=2, epochs=2) for reader in (local, remote)]
    for epoch in range(2):
        disk, store = (labels(feed.epoch(epoch)) for feed in feeds)
        assert np.array_equal(disk, store)
    assert [row for _, label, _ in split_dataset(remote, 50) for row in label.numpy()] == list(range(sum(ROWS)))
    for feed in feeds:
        feed.close()


def test_a_file_that_goes_away_is_an_error_of_the_data_that_names_it(s3, bucket, on_store):
    _, remote = on_store
    s3.client().delete_object(Bucket=bucket, Key=f"prepare/{remote.files[8].path}")
    with pytest.raises(DataError, match=f"s3://{bucket}/prepare/data/train"):
        read_all(remote)


def test_a_damaged_file_is_an_error_of_the_data_and_not_of_the_store(s3, bucket, on_store):
    _, remote = on_store
    path = remote.files[1].path
    s3.client().put_object(Bucket=bucket, Key=f"prepare/{path}", Body=b"x" * remote.files[1].bytes)
    with pytest.raises(DataError, match="Cannot open prepared data in s3://"):
        read_all(remote)


def test_a_store_that_refuses_half_way_is_infrastructure(s3, bucket, on_store, monkeypatch):
    _, remote = on_store
    rows = remote.read(range(len(remote.files)), queued=1)
    next(rows)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    storage.forget_connections()
    with pytest.raises(InfrastructureError, match="check AWS_ENDPOINT_URL and the network"):
        list(rows)


def test_a_pickled_schema_beside_the_files_is_refused_on_a_store_too(s3, bucket, on_store):
    _, remote = on_store
    s3.client().put_object(Bucket=bucket, Key="prepare/data/train/_common_metadata", Body=b"")
    with pytest.raises(DataError, match="may hold a pickled schema"):
        read_all(remote)


RANK = """
import pickle, sys
from pathlib import Path
from pipeline import storage
from pipeline.disk_cache import DiskCache
from pipeline.feed.reader import SplitReader
folder, files, tensor = pickle.loads(Path(sys.argv[2]).read_bytes())
reader = SplitReader(folder, files, tensor, copies=DiskCache(Path(sys.argv[1]), 1 << 20))
for _ in range(2):
    print(sum(len(rows) for rows in reader.read(range(len(files)))))
"""


def test_two_ranks_and_a_later_run_fetch_every_file_once(s3, bucket, on_store, tmp_path):
    local, remote = on_store
    since = s3.mark()
    command = [sys.executable, "-c", RANK, str(tmp_path / "copies"), str(tmp_path / "split")]
    (tmp_path / "split").write_bytes(pickle.dumps((remote.folder, remote.files, remote.tensor)))
    with ExitStack() as running:
        ranks = [running.enter_context(subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE)) for _ in range(2)]
        assert [rank.stdout.read().split() for rank in ranks] == [[str(sum(ROWS)).encode()] * 2] * 2
    got = {path: count for (method, path), count in s3.requests(since).items() if method == "GET" and path.endswith(".parquet")}
    assert got == {f"/{bucket}/prepare/{entry.path}": 1 for entry in remote.files}
    since = s3.mark()
    cached = dataclasses.replace(remote, copies=DiskCache(tmp_path / "copies", 1 << 20))
    assert read_all(cached) == read_all(local)
    assert not [path for method, path in s3.requests(since) if path.endswith(".parquet")]


def test_what_does_not_fit_into_the_cache_is_read_where_it_lies(s3, bucket, on_store, tmp_path):
    local, remote = on_store
    half = sum(entry.bytes for entry in remote.files) // 2
    cached = dataclasses.replace(remote, copies=DiskCache(tmp_path / "copies", half))
    assert read_all(cached) == read_all(local)
    kept = list((tmp_path / "copies").glob("*.parquet"))
    assert 0 < sum(path.stat().st_size for path in kept) <= half and not list((tmp_path / "copies").glob("*.part"))
    since = s3.mark()
    assert read_all(cached) == read_all(local)
    fetched = {path for method, path in s3.requests(since) if method == "GET" and path.endswith(".parquet")}
    assert len(fetched) == len(ROWS) - len(kept)
