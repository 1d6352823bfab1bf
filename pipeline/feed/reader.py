"""Row groups out of prepared Parquet, in the order asked for. The only petastorm importer."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline import storage
from pipeline.attempt import Found
from pipeline.disk_cache import DiskCache
from pipeline.errors import DataError, LonghaulError
from pipeline.feed.columns import LabelDtype, Rows, decode
from pipeline.feed.petastorm_files import PetastormFiles, Source
from pipeline.manifest import FileEntry
from pipeline.paths import Place
from pipeline.progress import NOW
from pipeline.schema import LABEL, WEIGHT, SplitName, Task, Tensor, files_of, prepared
from pipeline.sections.feed import Feed

# A class index, or 0 where there are no classes; a scaled number.
LABEL_DTYPES: dict[Task, LabelDtype] = {"classification": "int64", "regression": "float32", "autoencoder": "int64", "gan": "int64"}

POLL_S = 0.03  # between a waiting reader's looks at whether it is to end; Petastorm's own 1 ms take 3 % of a core all the time
GROUP = 8  # files that one Petastorm reader opens: it looks at every footer before it gives a row, about 2 ms each


@dataclass(frozen=True)
class SplitReader:
    """The files of one split. Built from a verified manifest, so sizes and digests already hold."""

    folder: Place
    files: tuple[FileEntry, ...]
    tensor: Tensor
    label_dtype: LabelDtype = "int64"
    label_shape: tuple[int, ...] = ()  # of one label; with dimensions it is read as K numbers
    copies: DiskCache | None = None  # files are read from there, if feed.cache is disk

    @classmethod
    def open(cls, found: Found, split: SplitName, settings: Feed | None = None) -> SplitReader:
        facts, files = prepared(found.manifest), tuple(files_of(found.manifest, split))
        copies = DiskCache.of(settings or Feed())
        return cls(found.files, files, facts.tensor, LABEL_DTYPES[facts.task], facts.label_shape, copies)

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
            InfrastructureError: the store that holds it, or the disk that holds its copy, failed.
        """
        sources = [Source(self.folder / self.files[index].path, self.files[index]) for index in order]
        refuse_pickled_schema({source.place.parent for source in sources})
        columns = (self.tensor.name, LABEL, WEIGHT)
        tables = read_tables(sources, columns, queued, self.copies)
        try:
            for source in sources:
                path = source.place
                NOW.file = path.name
                table = next(tables, None)
                expected, received = source.entry.rows, 0 if table is None else table.num_rows
                if table is None or received != expected:
                    raise DataError(
                        f"{path}: read {received} rows, its manifest says {expected}. The epoch is not whole; run prepare again."
                    )
                yield decode(table, self.tensor, self.label_dtype, str(path), self.label_shape)
            if next(tables, None) is not None:
                raise DataError(
                    f"{sources[-1].place}: has more row groups than one. Expected {sources[-1].entry.rows} rows. Run prepare again."
                )
        finally:
            tables.close()


def read_tables(
    sources: Sequence[Source], columns: Sequence[str], queued: int, copies: DiskCache | None = None
) -> Generator[pa.Table, None, None]:
    """Every row group of the files, in order; while one reader's files are read the next one opens, and fetches its copies."""
    groups = [sources[begin : begin + GROUP] for begin in range(0, len(sources), GROUP)]
    with ThreadPoolExecutor(1, thread_name_prefix="feed-open") as opener:
        opening: Future[Group] | None = None
        try:
            for number, group in enumerate(groups):
                opened = opening.result() if opening else open_group(group, columns, queued, copies)
                opening = opener.submit(open_group, groups[number + 1], columns, queued, copies) if number + 1 < len(groups) else None
                yield from opened.tables()
        finally:
            if opening is not None:  # given up half-way
                with suppress(LonghaulError):
                    opening.result().stop()


@dataclass(frozen=True)
class Group:
    """Files that are being read by one Petastorm reader."""

    folder: Place
    reader: Any
    files: PetastormFiles

    def tables(self) -> Iterator[pa.Table]:
        """The reader's tables; its thread ends with the iteration, however that ends."""
        is_over = False
        try:
            yield from self.reader
            is_over = True
        except LonghaulError:
            raise
        except Exception as error:  # pyarrow's own tree, or a store's, raised in Petastorm's worker
            raise explained(error, "read", self.folder) from error
        finally:
            self.stop(is_over=is_over)

    def stop(self, *, is_over: bool = False) -> None:
        """`is_over`: all was read, so its thread has nothing to do, and ends when it looks the next time."""
        self.reader.stop()
        if not is_over:
            self.reader.join()
        self.files.close()


def open_group(sources: Sequence[Source], columns: Sequence[str], queued: int, copies: DiskCache | None) -> Group:
    """A reader over files of one folder. Raises DataError, InfrastructureError."""
    folder = sources[0].place.parent
    try:
        files = PetastormFiles(sources, copies)
        try:
            return Group(folder, open_petastorm([source.url for source in sources], columns, queued, files), files)
        except BaseException:
            files.close()
            raise
    except LonghaulError:
        raise
    except Exception as error:  # whatever a damaged footer makes pyarrow raise
        raise explained(error, "open", folder) from error


def explained(error: Exception, doing: str, folder: Place) -> LonghaulError:
    failure = storage.failure_of(error, folder)
    return failure or DataError(f"Cannot {doing} prepared data in {folder}: {error}. Run prepare again with --force.")


def open_petastorm(urls: Sequence[str], columns: Sequence[str], queued: int, files: PetastormFiles) -> Any:
    # One worker thread: it reads ahead of the consumer, and only one keeps the order. Petastorm's process pool hangs when
    # a worker dies, and its disk cache fails its own tests on this pyarrow.
    from petastorm import make_batch_reader
    from petastorm.workers_pool import thread_pool

    thread_pool.IO_TIMEOUT_INTERVAL_S = POLL_S
    # Petastorm uses what pyarrow 14 calls deprecated, from its own thread: only a filter for the process reaches it.
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
    reader = make_batch_reader(
        list(urls),
        schema_fields=[f"^{name}$" for name in columns],
        reader_pool_type="thread",
        workers_count=1,
        results_queue_size=queued,
        shuffle_row_groups=False,
        num_epochs=1,
        filesystem=files,
    )
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


def refuse_pickled_schema(folders: set[Place]) -> None:
    """Petastorm would unpickle a schema from such a file (petastorm#741); prepared data never has one."""
    for folder in folders:
        for name in ("_common_metadata", "_metadata"):
            if storage.exists(folder / name):
                raise DataError(f"{folder / name} may hold a pickled schema and is not opened. Prepared data never has one: remove it.")
