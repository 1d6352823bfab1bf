"""What a side of P5 left on disk, in one shape for all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.bench import CheckFailed
from benchmarks.p5 import work
from pipeline.manifest import Manifest, read_manifest
from pipeline.schema import ColumnStatistics, Prepared, files_of, prepared


@dataclass(frozen=True)
class Produced:
    """All rows of all splits, in the order of the files."""

    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    splits: NDArray[np.int8]  # 0 train, 1 validation, 2 test
    numbers: dict[str, NDArray[np.float32]]  # standardised
    places: dict[str, NDArray[np.int64]]  # of categories: index or bucket; -1 where a vector is not one-hot
    statistics: dict[str, dict[str, Any]]  # as work.report describes
    seconds: dict[str, float]
    versions: dict[str, str]


Columns = dict[str, NDArray[Any]]


def read_peer(out: Path, names: Sequence[str]) -> Produced:
    """Args: out: the side's folder. names: number columns to read."""
    wanted = ["id", "label", *names, *work.CATEGORIES]
    parts = [
        (number, {name: np.asarray(table[name]) for name in wanted})
        for number, split in enumerate(work.TENTHS)
        for path in sorted((out / split).glob("*.parquet"))
        for table in [pq.read_table(path, columns=wanted, partitioning=None)]
    ]
    report = json.loads((out / "report.json").read_text())
    return join(parts, names, report["statistics"], report["seconds"], report["versions"])


def read_ours(stdout: str, names: Sequence[str]) -> Produced:
    """Args: stdout: of `pipeline prepare --json`. names: number columns to read."""
    folder = Path(json.loads(stdout.strip().splitlines()[-1])["folder"])
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        raise FileNotFoundError(folder / "manifest.json")
    facts = prepared(manifest)
    parts = [(number, columns) for number, columns in our_parts(folder, manifest, facts, names)]
    statistics = {name: as_reported(found) for name, found in facts.statistics.items()}
    return join(parts, names, statistics, {"prepare": manifest.seconds}, manifest.software)


def our_parts(folder: Path, manifest: Manifest, facts: Prepared, names: Sequence[str]) -> Iterator[tuple[int, Columns]]:
    position = {scaler.column: index for index, scaler in enumerate(facts.scalers)}
    start = len(position)
    spans = {}
    for encoder in facts.encoders:
        spans[encoder.column] = slice(start, start + encoder.width)
        start += encoder.width
    for number, split in enumerate(work.TENTHS):
        for entry in files_of(manifest, split):  # type: ignore[arg-type]
            table = pq.read_table(folder / manifest.attempt / entry.path, columns=["sample_id", "label", "features"], partitioning=None)
            vectors = unpack(table["features"], start)
            columns: Columns = {name: vectors[:, position[name]].copy() for name in names}
            columns |= {name: place_of(vectors[:, span]) for name, span in spans.items()}
            yield number, {"id": np.asarray(pc.cast(table["sample_id"], pa.int64())), "label": np.asarray(table["label"]), **columns}


def unpack(column: pa.ChunkedArray, width: int) -> NDArray[np.float32]:
    """(R, F) of a column of packed float32 rows.

    Raises:
        CheckFailed: a row is missing or of another length.
    """
    parts = [unpack_chunk(chunk, width) for chunk in column.chunks if len(chunk)]
    return np.concatenate(parts) if parts else np.empty((0, width), np.float32)


def unpack_chunk(chunk: pa.BinaryArray, width: int) -> NDArray[np.float32]:
    _, offsets_buffer, values = chunk.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32, len(chunk) + 1, 4 * chunk.offset)
    if chunk.null_count or (np.diff(offsets) != 4 * width).any():
        raise CheckFailed(f"expected vectors of {width} float32, received {np.unique(np.diff(offsets)) / 4} and {chunk.null_count} nulls")
    return np.frombuffer(values, "<f4", len(chunk) * width, offsets[0]).reshape(-1, width)


def place_of(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    is_one_hot = (vectors.sum(axis=1) == 1) & (vectors.max(axis=1) == 1)
    return np.where(is_one_hot, vectors.argmax(axis=1), -1)


def as_reported(found: ColumnStatistics) -> dict[str, Any]:
    facts = found.model_dump()
    histogram = facts.pop("histogram") or {"edges": [], "counts": []}
    return {**facts, **histogram, "quantiles": list(facts["quantiles"].values())}


def join(
    parts: Sequence[tuple[int, Columns]],
    names: Sequence[str],
    statistics: dict[str, dict[str, Any]],
    seconds: dict[str, float],
    versions: dict[str, str],
) -> Produced:
    def whole(name: str, dtype: type) -> NDArray[Any]:
        return np.concatenate([columns[name] for _, columns in parts]).astype(dtype, copy=False) if parts else np.empty(0, dtype)

    return Produced(
        ids=whole("id", np.int64),
        labels=whole("label", np.int64),
        splits=np.concatenate([np.full(len(columns["id"]), number, np.int8) for number, columns in parts] or [np.empty(0, np.int8)]),
        numbers={name: whole(name, np.float32) for name in names},
        places={name: whole(name, np.int64) for name in work.CATEGORIES},
        statistics=statistics,
        seconds=seconds,
        versions=versions,
    )
