"""The first rows of table files, read without Spark: the part of `infer.py` that opens files.

CSV and JSON lines are read with Python's own parsers: pyarrow's guess types before anyone has looked, and refuse a file
where the guess from its first block fails. Parquet and ORC are read with pyarrow.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO, cast
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq

from pipeline.errors import DataError
from pipeline.prepare.source import glob_base

Format = Literal["csv", "jsonl", "parquet", "orc"]
Kind = Literal["number", "category", "time"]
Cell = str | int | float | None
Row = Mapping[str, Any] | None  # by column; None for a line that is no row

SEPARATORS = ",;|\t"
SNIFFED = 65_536  # characters that the separator is looked for in
NESTED = "lists or objects"


@dataclass(frozen=True)
class Sample:
    """The first rows of a table, by column."""

    cells: Mapping[str, Sequence[Cell]]  # None: the source has no value there
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of columns whose stored type says it; the others hold text
    unusable: Mapping[str, str] = field(default_factory=dict)  # columns that a recipe cannot declare, and what they hold
    folders: Mapping[str, Sequence[Cell]] = field(default_factory=dict)  # `day` of day=2026-01-03: a value for each file
    num_rows: int = 0
    is_whole: bool = True  # there is no further row
    num_broken: int = 0  # lines that are no row: more or fewer fields than the header, or not a JSON object
    separator: str = ","
    encoding: str = "utf-8"


def read_sample(path: str, files: Sequence[Path], format: Format, separator: str | None, limit: int) -> Sample:
    """The first rows of a source.

    Args:
        path: the source as the recipe names it; for messages, and for columns that its folders' names give.
        files: its files, in order.
        format: of all files.
        separator: of CSV; None: found in the beginning of the first file.
        limit: rows to read at most, >= 1.

    Raises:
        DataError: a file cannot be read as what it should be, or there is no row at all.
    """
    filled = [file for file in files if file.stat().st_size]
    sample = read_text(filled, format, separator, limit) if format in ("csv", "jsonl") else read_arrow(filled, format, limit)
    if not sample.num_rows:
        row = {"csv": "a line with as many fields as its header", "jsonl": "a line that is a JSON object"}.get(format, "a row")
        hint = " One JSON array is not JSON lines; jq -c '.[]' makes it so." if format == "jsonl" else ""
        raise DataError(f"{path}: expected {row}, found none.{hint} Name a source that has rows, or its format with --format.")
    return replace(sample, folders=folder_columns(path, files))


def read_text(files: Sequence[Path], format: Format, separator: str | None, limit: int) -> Sample:
    """CSV or JSON lines, in the first encoding that what is read fits; latin-1 fits everything."""
    for encoding in encodings_of(files[0]):
        try:
            if format == "jsonl":
                return by_column(list(islice(json_rows(files, encoding), limit + 1)), limit, encoding=encoding)
            found = separator or find_separator(files[0], encoding)
            rows = list(islice(csv_rows(files, encoding, found), limit + 1))
            return by_column(rows, limit, separator=found, encoding=encoding)
        except UnicodeError:
            continue
    raise DataError(f"{files[0]}: is not text in UTF-8, UTF-16 or latin-1. Convert it, or name its format with --format.")


def encodings_of(path: Path) -> tuple[str, ...]:
    with opened(path, "latin-1") as text:
        start = text.read(4)
    if start.startswith(("PAR1", "ORC")):
        raise DataError(f"{path}: is a {'Parquet' if start == 'PAR1' else 'ORC'} file. Name the format with --format.")
    return ("utf-16",) if start.startswith(("\xff\xfe", "\xfe\xff")) else ("utf-8", "latin-1")


@contextmanager
def opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """A text file, plain or gzip, without its byte-order mark.

    Raises:
        DataError: what went wrong inside the block, but for UnicodeError: another encoding may fit.
    """
    name = "utf-8-sig" if encoding == "utf-8" else encoding
    try:
        with gzip.open(path, "rt", encoding=name, newline="") if path.suffix == ".gz" else path.open(encoding=name, newline="") as text:
            yield cast(TextIO, text)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> DataError:
    reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
    return DataError(f"{path}: cannot be read: {reason}. Replace or remove the file, or name its format with --format.")


def find_separator(path: Path, encoding: str) -> str:
    with opened(path, encoding) as text:
        start = text.read(SNIFFED)
    try:
        return csv.Sniffer().sniff(start, SEPARATORS).delimiter
    except csv.Error:  # one column, or lines of different length
        return max(SEPARATORS, key=start.partition("\n")[0].count)


def csv_rows(files: Sequence[Path], encoding: str, separator: str) -> Iterator[Row]:
    """Every line after the headers, cells without the white space around them.

    Raises:
        DataError: a header without different, non-empty names, or another one than the first file's.
    """
    names: list[str] = []
    for path in files:
        with opened(path, encoding) as text:
            lines = csv.reader(text, delimiter=separator)
            header = [name.strip() for name in next(lines, [])]
            names = names or header
            if header != names or "" in header or len(set(header)) < len(header) or not "".join(header).isprintable():
                expected = "the first file's names" if header != names else "a first line of different, non-empty column names"
                raise DataError(
                    f"{path}: expected {expected} separated by {separator!r}, received {header}. Correct the line, or use --separator."
                )
            for line in lines:
                if line:
                    yield dict(zip(names, map(str.strip, line), strict=True)) if len(line) == len(names) else None


def json_rows(files: Sequence[Path], encoding: str) -> Iterator[Row]:
    """Every line; None for one that is not a JSON object."""
    for path in files:
        with opened(path, encoding) as text:
            for line in filter(str.strip, text):
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                yield row if isinstance(row, dict) else None


def by_column(lines: Sequence[Row], limit: int, *, encoding: str, separator: str = ",") -> Sample:
    rows = [row for row in lines[:limit] if row is not None]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    unusable = {name: NESTED for name, cells in columns.items() if any(isinstance(cell, list | dict) for cell in cells)}
    return Sample(
        cells={name: list(map(as_text, cells)) for name, cells in columns.items() if name not in unusable},
        unusable=unusable,
        num_rows=len(rows),
        is_whole=len(lines) <= limit,
        num_broken=len(lines[:limit]) - len(rows),
        separator=separator,
        encoding=encoding,
    )


def as_text(cell: Any) -> str | None:
    """A JSON value as the text that stands in the file."""
    return cell.strip() if isinstance(cell, str) else None if cell is None else json.dumps(cell)


def read_arrow(files: Sequence[Path], format: Format, limit: int) -> Sample:
    """Parquet or ORC.

    Raises:
        DataError: a file is damaged, or stores a column as another type than those before it.
    """
    tables: list[pa.Table] = []
    for path in files:
        try:
            tables = [pa.concat_tables([*tables, first_rows(path, format, limit + 1)], promote_options="default")]
        except (OSError, pa.ArrowException) as error:
            raise unreadable(path, error) from error
        if tables[0].num_rows > limit:
            break
    table = tables[0]
    stored = {name: as_cells(column.slice(0, limit)) for name, column in zip(table.column_names, table.columns, strict=True)}
    return Sample(
        cells={name: found[1] for name, found in stored.items() if found},
        kinds={name: found[0] for name, found in stored.items() if found and found[0]},
        unusable={name: f"values of type {table.schema.field(name).type}" for name, found in stored.items() if not found},
        num_rows=min(table.num_rows, limit),
        is_whole=table.num_rows <= limit,
    )


def first_rows(path: Path, format: Format, limit: int) -> pa.Table:
    """At least `limit` rows, or all; whole batches (Parquet) or stripes (ORC)."""
    if format == "parquet":
        with pq.ParquetFile(path) as file:
            schema, batches = file.schema_arrow, list(islice(file.iter_batches(batch_size=limit), 2))
    else:
        stripes = orc.ORCFile(path)
        schema, batches = stripes.schema, []
        while sum(batch.num_rows for batch in batches) < limit and len(batches) < stripes.nstripes:
            batches.append(stripes.read_stripe(len(batches)))
    return pa.Table.from_batches(batches, schema)


def as_cells(column: pa.ChunkedArray) -> tuple[Kind | None, list[Cell]] | None:
    """(kind, cells) of a stored column; no kind for text, which anything may stand in, and None for what a recipe cannot declare."""
    stored = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    column = column.cast(stored)
    is_text = pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_null(stored)
    if is_text or pa.types.is_boolean(stored):
        return (None if is_text else "category"), column.cast(pa.string()).to_pylist()
    if pa.types.is_integer(stored) or pa.types.is_floating(stored):
        return "number", column.to_pylist()
    if pa.types.is_decimal(stored):
        return "number", column.cast(pa.float64()).to_pylist()
    if pa.types.is_timestamp(stored) or pa.types.is_date(stored):
        return "time", column.cast(pa.string()).to_pylist()
    return None


def folder_columns(path: str, files: Sequence[Path]) -> dict[str, list[Cell]]:
    """Columns that folders give, `day` of `day=2026-01-03/part.csv`: the value for each file, if every file has one."""
    base = glob_base(path).absolute()
    folders = [file.relative_to(base).parts[:-1] if file.is_relative_to(base) else () for file in files]
    named = [dict(part.split("=", 1) for part in parts if "=" in part) for parts in folders]
    return {name: [as_folder(values[name]) for values in named] for name in named[0] if all(name in values for values in named)}


def as_folder(value: str) -> Cell:
    return None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
