"""A prepared split on disk, written plainly: every row's label is its number, so that a test can follow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.feed.reader import SplitReader
from pipeline.manifest import FileEntry, sha256_of_file
from pipeline.schema import Tensor

WriteSplit = Callable[[Sequence[int]], SplitReader]


@pytest.fixture
def write_split(tmp_path: Path) -> WriteSplit:
    """Rows per file -> the reader of a split with files of that many rows; row n holds the vector (n, n, n, n)."""

    def write(rows_per_file: Sequence[int]) -> SplitReader:
        folder, first, entries = tmp_path / "data" / "train", 0, []
        folder.mkdir(parents=True)
        for index, count in enumerate(rows_per_file):
            numbers = np.arange(first, first + count)
            vectors = numbers.astype(np.float32)[:, None].repeat(4, axis=1)
            path = folder / f"part-{index:05d}.parquet"
            columns = {"sample_id": numbers.astype(str), "features": pa.array([vector.tobytes() for vector in vectors], pa.binary())}
            pq.write_table(pa.table({**columns, "label": numbers, "weight": np.ones(count, np.float32)}), path)
            entries.append(FileEntry(path=f"data/train/{path.name}", bytes=path.stat().st_size, sha256=sha256_of_file(path), rows=count))
            first += count
        return SplitReader(tmp_path, tuple(entries), Tensor(name="features", dtype="float32", shape=(4,)))

    return write
