"""Row groups out of prepared Parquet, in the order asked for. The only petastorm importer."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.attempt import Found
from pipeline.errors import DataError
from pipeline.feed.columns import LabelDtype, Rows, decode
from pipeline.manifest import FileEntry
from pipeline.progress import NOW
from pipeline.schema import LABEL, WEIGHT, SplitName, Task, Tensor, files_of, prepared

LABEL_DTYPES: dict[Task, LabelDtype] = {"classification": "int64", "regression": "float32"}  # a class index; a scaled number

GROUP = 8  # files that one Petastorm reader opens: it looks at every footer before it gives a row, about 2 ms each


@dataclass(frozen=True)
class SplitReader:
    """The files of one split. Built from a verified manifest, so sizes and digests already hold."""

    folder: Path
    files: tuple[FileEntry, ...]
    tensor: Tensor
    label_dtype: LabelDtype = "int64"
    label_shape: tuple[int, ...] = ()  # of one label; with dimensions it is read as K numbers

    @classmethod
    def open(cls, found: Found, split: SplitName) -> SplitReader:
        facts = prepared(found.manifest)
        return cls(found.files, tuple(files_of(found.manifest, split)), facts.tensor, LABEL_DTYPES[facts.task], facts.label_shape)

    @property
    def rows_per_file(self) -> tuple[int, ...]:
        return tuple(entry.rows or 0 for entry in self.files)

    def read(self, order: Sequence[int], *, queued: int = 2) -> Iterator[Rows]:
        """Whole files, one after another; a file may be asked for more than once.

        Args:
            order: indices into `files`; each has at least a row.
            queued: decoded files that each of at most two Petastorm readers keeps ready, >= 1.

        Raises:
            DataError: a file is unreadable, has other rows than the manifest says, a null, another type, or a tensor of another size.
        """
        paths = [self.folder / self.files[index].path for index in order]
        refuse_pickled_schema({path.parent for path in paths})
        columns = (self.tensor.name, LABEL, WEIGHT)
        tables = read_tables(paths, columns, queued)
        try:
            for index, path in zip(order, paths, strict=True):
                NOW.file = path.name
                table = next(tables, None)
                expected, received = self.files[index].rows, 0 if table is None else table.num_rows
                if table is None or received != expected:
                    raise DataError(
                        f"{path}: read {received} rows, its manifest says {expected}. The epoch is not whole; run prepare again."
                    )
                yield decode(table, self.tensor, self.label_dtype, str(path), self.label_shape)
            if next(tables, None) is not None:
                raise DataError(
                    f"{paths[-1]}: has more row groups than one. Expected {self.files[order[-1]].rows} rows. Run prepare again."
                )
        finally:
            tables.close()


def read_tables(paths: Sequence[Path], columns: Sequence[str], queued: int) -> Generator[pa.Table, None, None]:
    """Every row group of the files, in order; while one reader's files are read the next one opens."""
    groups = [paths[begin : begin + GROUP] for begin in range(0, len(paths), GROUP)]
    with ThreadPoolExecutor(1, thread_name_prefix="feed-open") as opener:
        opening: Future[Any] | None = None
        try:
            for number, group in enumerate(groups):
                reader = opening.result() if opening else open_petastorm(group, columns, queued)
                opening = opener.submit(open_petastorm, groups[number + 1], columns, queued) if number + 1 < len(groups) else None
                yield from iterate_and_stop(reader, group[0].parent)
        finally:
            if opening is not None:  # given up half-way
                with suppress(DataError):
                    stop(opening.result())


def open_petastorm(paths: Sequence[Path], columns: Sequence[str], queued: int) -> Any:
    # One worker thread: it reads ahead of the consumer, and only one keeps the order. Petastorm's process pool hangs when
    # a worker dies, and its disk cache fails its own tests on this pyarrow.
    from petastorm import make_batch_reader

    # Petastorm uses what pyarrow 14 calls deprecated, from its own thread: only a filter for the process reaches it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    try:
        reader = make_batch_reader(
            [path.absolute().as_uri() for path in paths],
            schema_fields=[f"^{name}$" for name in columns],
            reader_pool_type="thread",
            workers_count=1,
            results_queue_size=queued,
            shuffle_row_groups=False,
            num_epochs=1,
        )
    except Exception as error:  # whatever a damaged footer makes pyarrow raise
        raise DataError(f"Cannot open prepared data in {paths[0].parent}: {error}. Run prepare again with --force.") from error
    # Petastorm's own way out makes a Python object of every value; row groups leave it as the Arrow tables that they are.
    reader._results_queue_reader = WholeTables()
    return reader


class WholeTables:
    """Takes the place of Petastorm's ArrowReaderWorkerResultsQueueReader: 3 to 4 times as fast on 128-byte rows."""

    batched_output = True

    def read_next(self, pool: Any, _schema: Any, _ngram: Any) -> pa.Table:
        from petastorm.workers_pool import EmptyResultError

        try:
            return pool.get_results()
        except EmptyResultError:
            raise StopIteration from None


def iterate_and_stop(reader: Any, folder: Path) -> Iterator[pa.Table]:
    """The reader's tables; its thread ends with the iteration, however that ends."""
    try:
        yield from reader
    except DataError:
        raise
    except Exception as error:  # pyarrow's own tree, raised in Petastorm's worker
        raise DataError(f"Cannot read prepared data in {folder}: {error}. Run prepare again with --force.") from error
    finally:
        stop(reader)


def stop(reader: Any) -> None:
    reader.stop()
    reader.join()


def refuse_pickled_schema(folders: set[Path]) -> None:
    """Petastorm would unpickle a schema from such a file (petastorm#741); prepared data never has one."""
    for folder in folders:
        for name in ("_common_metadata", "_metadata"):
            if (folder / name).exists():
                raise DataError(f"{folder / name} may hold a pickled schema and is not opened. Prepared data never has one: remove it.")
