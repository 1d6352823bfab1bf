"""Row groups out of prepared Parquet, in the order asked for. The only petastorm importer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.attempt import Found
from pipeline.errors import DataError
from pipeline.manifest import FileEntry
from pipeline.schema import LABEL, WEIGHT, SplitName, Task, Tensor, files_of, prepared

LabelDtype = Literal["int64", "float32"]

LABEL_DTYPES: dict[Task, LabelDtype] = {"classification": "int64", "regression": "float32"}  # a class index; a scaled number


@dataclass(frozen=True)
class Rows:
    """Decoded rows: `tensor` (R, *shape), `label` (R,) int64 or float32, `weight` (R,) float32."""

    tensor: NDArray[Any]
    label: NDArray[Any]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: NDArray[np.int64] | slice) -> Rows:
        return Rows(self.tensor[index], self.label[index], self.weight[index])


@dataclass(frozen=True)
class SplitReader:
    """The files of one split. Built from a verified manifest, so sizes and digests already hold."""

    folder: Path
    files: tuple[FileEntry, ...]
    tensor: Tensor
    label_dtype: LabelDtype = "int64"

    @classmethod
    def open(cls, found: Found, split: SplitName) -> SplitReader:
        facts = prepared(found.manifest)
        return cls(found.files, tuple(files_of(found.manifest, split)), facts.tensor, LABEL_DTYPES[facts.task])

    @property
    def rows_per_file(self) -> tuple[int, ...]:
        return tuple(entry.rows or 0 for entry in self.files)

    def read(self, order: Sequence[int]) -> Iterator[Rows]:
        """Whole files, one after another; a file may be asked for more than once.

        Args:
            order: indices into `files`.

        Raises:
            DataError: a file is unreadable, has other rows than the manifest says, a null, or a tensor of another size.
        """
        if not order:
            return
        paths = [self.folder / self.files[index].path for index in order]
        refuse_pickled_schema({path.parent for path in paths})
        batches = self._row_groups(paths)
        for index, path in zip(order, paths, strict=True):
            batch = next(batches, None)
            expected, received = self.files[index].rows, 0 if batch is None else len(getattr(batch, LABEL))
            if received != expected:
                raise DataError(f"{path}: read {received} rows, its manifest says {expected}. The epoch is not whole; run prepare again.")
            yield self._decode(batch, path)

    def _row_groups(self, paths: Sequence[Path]) -> Iterator[Any]:
        # One worker thread: it reads ahead of the consumer, and only one keeps the order. Petastorm's process pool hangs when
        # a worker dies, and its disk cache fails its own tests on this pyarrow.
        from petastorm import make_batch_reader

        # Petastorm uses what pyarrow 14 calls deprecated, from its own thread: only a filter for the process reaches it.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"petastorm\.")
        try:
            reader = make_batch_reader(
                [path.absolute().as_uri() for path in paths],
                schema_fields=[f"^{name}$" for name in (self.tensor.name, LABEL, WEIGHT)],
                reader_pool_type="thread",
                workers_count=1,
                results_queue_size=2,
                shuffle_row_groups=False,
                num_epochs=1,
            )
        except Exception as error:  # whatever a damaged footer makes pyarrow raise
            raise DataError(f"Cannot open prepared data in {paths[0].parent}: {error}. Run prepare again with --force.") from error
        return iterate_and_stop(reader, paths[0].parent)

    def _decode(self, batch: Any, path: Path) -> Rows:
        label, weight = getattr(batch, LABEL), getattr(batch, WEIGHT)
        if label.dtype != self.label_dtype or weight.dtype != np.float32:
            expected, received = f"{LABEL} {self.label_dtype} and {WEIGHT} float32 without nulls", f"{label.dtype} and {weight.dtype}"
            raise DataError(f"{path}: expected {expected}, received {received}.")
        if not np.isfinite(label).all():  # a null among floats arrives as NaN
            raise DataError(f"{path}: {LABEL} holds a null or a number that is not finite. Expected none. Run prepare again with --force.")
        try:
            packed = b"".join(getattr(batch, self.tensor.name))
        except TypeError:
            expected = f"Expected {self.tensor.row_bytes} bytes in every row."
            raise DataError(f"{path}: column {self.tensor.name} holds nulls. {expected}") from None
        if len(packed) != len(label) * self.tensor.row_bytes:
            raise DataError(
                f"{path}: column {self.tensor.name} holds {len(packed)} bytes in {len(label)} rows. "
                f"Expected {self.tensor.row_bytes} each, for {self.tensor.dtype} of shape {list(self.tensor.shape)}."
            )
        tensor = np.frombuffer(packed, self.tensor.dtype).reshape(len(label), *self.tensor.shape)
        return Rows(tensor, label, weight)


def iterate_and_stop(reader: Any, folder: Path) -> Iterator[Any]:
    """The reader's batches; its thread ends with the iteration, however that ends."""
    try:
        yield from reader
    except DataError:
        raise
    except Exception as error:  # pyarrow's own tree, raised in Petastorm's worker
        raise DataError(f"Cannot read prepared data in {folder}: {error}. Run prepare again with --force.") from error
    finally:
        reader.stop()
        reader.join()


def refuse_pickled_schema(folders: set[Path]) -> None:
    """Petastorm would unpickle a schema from such a file (petastorm#741); prepared data never has one."""
    for folder in folders:
        for name in ("_common_metadata", "_metadata"):
            if (folder / name).exists():
                raise DataError(f"{folder / name} may hold a pickled schema and is not opened. Prepared data never has one: remove it.")
