"""Raw contents -> staged values in Spark's Python workers: files, and columns of tables that hold contents or the paths of files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipeline.prepare.columns import RAW, REASON, RULE, col
from pipeline.prepare.kinds import KINDS, Undecodable
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.sections.data import Column

Row = tuple[bytes | str | None, ...]  # a staged value, then texts
BATCH_BYTES = 8 << 20  # of staged values that one batch hands back


def batched(rows: Iterable[Row], column: Column, names: list[str]) -> Iterator[pa.RecordBatch]:
    """Rows as batches of about BATCH_BYTES; each row is made when it is its turn."""
    first = pa.binary() if KINDS[column.kind].staged == "binary" else pa.string()
    types = [first, *[pa.string()] * (len(names) - 1)]
    held: list[Row] = []
    num_bytes = 0
    for row in rows:
        held.append(row)
        num_bytes += len(row[0] or b"") + 256
        if num_bytes >= BATCH_BYTES:
            yield as_batch(held, types, names)
            held, num_bytes = [], 0
    if held:
        yield as_batch(held, types, names)


def as_batch(rows: Sequence[Row], types: Sequence[pa.DataType], names: list[str]) -> pa.RecordBatch:
    columns = zip(*rows, strict=True)
    return pa.RecordBatch.from_arrays([pa.array(values, type) for values, type in zip(columns, types, strict=True)], names=names)


def read_limited(path: str, limit: int) -> bytes:
    """The file's content. Raises Undecodable for more than `limit` bytes, before any is read, and for what cannot be opened."""
    try:
        size = os.stat(path).st_size
        if size > limit:
            raise Undecodable(f"{size} bytes is more than max_file_mb: {limit >> 20}")
        return Path(path).read_bytes()
    except OSError as error:
        raise Undecodable(f"the file cannot be read: {error.strerror}") from error


def max_bytes(column: Column) -> int:
    options = column.audio if column.kind == "audio" else column.image
    return (options.max_file_mb if options else 256) << 20


def decode_column(rows: DataFrame, name: str, column: Column, *, base: str | None, limit: int) -> DataFrame:
    """Rows of a table with their raw content decoded; what cannot be is marked unreadable, with its reason. Lazy.

    Args:
        rows: of a table, `name` as it is stored: binary is the content itself, text the path of a file.
        name: of the column.
        column: of the recipe.
        base: the local folder that paths are relative to; None where they cannot be opened.
        limit: bytes of one file.
    """
    types = dict(rows.dtypes)
    others = [other for other in rows.columns if other != name]
    schema = ", ".join(f"`{other}` {KINDS[column.kind].staged if other == name else types[other]}" for other in rows.columns)
    read = column_decoder(name, column, base, limit, is_path=types[name] == "string")
    decoded = rows.mapInArrow(in_worker(read), schema)
    if RULE in others:
        shown = F.coalesce(F.col(RAW), F.to_json(F.struct(*(col(other) for other in others if not other.startswith("_")))))
        is_new = F.col(REASON).isNotNull() & F.col(RULE).isNull()
        decoded = decoded.withColumns(
            {RAW: F.when(is_new, shown).otherwise(F.col(RAW)), RULE: F.when(is_new, F.lit("unreadable")).otherwise(F.col(RULE))}
        )
    return decoded


def column_decoder(name: str, column: Column, base: str | None, limit: int, *, is_path: bool) -> ArrowFunction:
    kind = KINDS[column.kind]
    staged = pa.binary() if kind.staged == "binary" else pa.string()

    def decode_one(value: bytes | str | None) -> tuple[bytes | str | None, str | None]:
        try:
            if value is None:
                raise Undecodable("it is missing")
            if isinstance(value, str):
                return kind.decode(read_limited(inside(base, value), limit), column, value).value, None
            return kind.decode(value, column).value, None
        except Undecodable as error:
            return None, f"{name}: {error}"

    def decode(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            place, reason = batch.schema.get_field_index(name), batch.schema.get_field_index(REASON)
            reasons = batch.column(reason).to_pylist()
            begin, num_bytes = 0, 0
            values: list[bytes | str | None] = []
            for row, raw in enumerate(batch.column(place)):
                value, why = (None, None) if reasons[row] is not None else decode_one(raw.as_py())
                reasons[row] = reasons[row] or why
                values.append(value)
                num_bytes += len(value or b"")
                if num_bytes >= BATCH_BYTES or row + 1 == batch.num_rows:
                    part = batch.slice(begin, row + 1 - begin)
                    arrays = list(part.columns)
                    arrays[place] = pa.array(values, staged)
                    arrays[reason] = pa.array(reasons[begin : row + 1], pa.string())
                    yield pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
                    begin, num_bytes, values = row + 1, 0, []

    return decode


def inside(base: str | None, path: str) -> str:
    """The file that a table names. Raises Undecodable for one that is not below the table's folder."""
    if base is None:
        raise Undecodable("paths of files are read on local sources alone; keep the bytes in the table")
    pure = PurePosixPath(path)
    if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts or "://" in path:
        raise Undecodable(f"{path[:200]!r} is no path below the table's folder")
    found = os.path.realpath(os.path.join(base, path))
    if not found.startswith(os.path.realpath(base).rstrip("/") + "/"):
        raise Undecodable(f"{path[:200]!r} leads out of the table's folder")
    return found
