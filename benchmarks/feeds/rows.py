"""The input: seeded rows, written once in every layout that a side reads. A row's label is its number, so that sums tell which rows came.

packed/data/train/part-NNNNN.parquet   as prepare writes them: one binary column, label, weight; one row group a file
columns/part-NNNNN.parquet             a float column each, as Petastorm's recipe and Hugging Face datasets read them (table only)
tfrecord/part-NNNNN.tfrecord           an Example a row, the tensor as bytes
petastorm/                             Petastorm's own format, NdarrayCodec (images only; written by Spark)
rows.npz is not kept: in-memory sides read packed/ into arrays before their time starts
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.feed.reader import SplitReader
from pipeline.manifest import FileEntry, sha256_of_file
from pipeline.schema import Tensor

TENSOR = "features"


@dataclass(frozen=True)
class Kind:
    """What a row is and how rows are batched."""

    name: str
    tensor: Tensor
    batch: int
    lanes: int
    num_files: int
    has_columns: bool = False
    has_records: bool = True
    has_codec: bool = False


TABLE = Kind("table", Tensor(name=TENSOR, dtype="float32", shape=(32,)), 1024, 8, 8, has_columns=True)
IMAGES = Kind("images", Tensor(name=TENSOR, dtype="uint8", shape=(64, 64, 3)), 256, 8, 8, has_codec=True)
MANY_FILES = Kind("files", Tensor(name=TENSOR, dtype="float32", shape=(32,)), 1024, 8, 1000, has_records=False)
KINDS = {kind.name: kind for kind in (TABLE, IMAGES, MANY_FILES)}


def make(kind: Kind, cache: Path, rows: int, say: Callable[[str], None]) -> Path:
    """The folder of so many rows; made if it is not there."""
    folder = cache / f"{kind.name}-{rows}"
    if (folder / "files.json").exists():
        return folder
    say(f"making {rows:,} rows of {kind.name}")
    bounds = [number * rows // kind.num_files for number in range(kind.num_files + 1)]
    entries = []
    for number, (begin, end) in enumerate(zip(bounds, bounds[1:], strict=False)):
        values = tensors(kind, number, end - begin)
        ids = np.arange(begin, end)
        path = folder / "packed" / "data" / "train" / f"part-{number:05d}.parquet"
        write(pa.table({TENSOR: packed(values), "label": ids, "weight": np.ones(len(ids), np.float32)}), path)
        entries.append({"path": f"data/train/{path.name}", "bytes": path.stat().st_size, "sha256": sha256_of_file(path), "rows": len(ids)})
        if kind.has_columns:
            columns = {f"x{index}": np.ascontiguousarray(values[:, index]) for index in range(values.shape[1])}
            write(pa.table({**columns, "label": ids}), folder / "columns" / f"part-{number:05d}.parquet")
        if kind.has_records:
            write_records(values, ids, folder / "tfrecord" / f"part-{number:05d}.tfrecord")
    if kind.has_codec:
        write_codec(kind, folder)
    (folder / "files.json").write_text(json.dumps(entries))
    return folder


def tensors(kind: Kind, number: int, count: int) -> NDArray[Any]:
    random = np.random.default_rng([11, number])
    if kind.tensor.dtype == "uint8":
        return random.integers(0, 256, (count, *kind.tensor.shape), dtype=np.uint8)
    return random.standard_normal((count, *kind.tensor.shape), dtype=np.float32)


def packed(values: NDArray[Any]) -> pa.Array:
    size = values[0].nbytes
    offsets = np.arange(len(values) + 1, dtype=np.int32) * size
    return pa.Array.from_buffers(pa.binary(), len(values), [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(values))])


def write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=table.num_rows, compression="snappy", use_dictionary=False, write_statistics=["label"])


def write_records(values: NDArray[Any], ids: NDArray[np.int64], path: Path) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for value, number in zip(values, ids.tolist(), strict=True):
            feature = {
                TENSOR: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def write_codec(kind: Kind, folder: Path) -> None:
    """The rows of packed/ as Petastorm's documentation writes tensors: a schema with a codec, through Spark, row groups of 32 MB."""
    command = [sys.executable, "-m", "benchmarks.feeds.write_codec", kind.name, str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def reader(kind: Kind, folder: Path) -> SplitReader:
    """Our own feed's view of packed/."""
    entries = tuple(FileEntry.model_validate(entry) for entry in json.loads((folder / "files.json").read_text()))
    return SplitReader(folder / "packed", entries, kind.tensor)


def in_memory(kind: Kind, folder: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(R, *shape) tensors and (R,) labels."""
    parts = list(reader(kind, folder).read(range(kind.num_files)))
    return np.concatenate([part.tensor for part in parts]), np.concatenate([part.label for part in parts])
