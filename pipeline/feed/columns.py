"""A row group's Arrow columns as numpy arrays, without a Python object for each row; what is not as the manifest says is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.schema import LABEL, WEIGHT, Tensor

LabelDtype = Literal["int64", "float32"]

PICKLED_SCHEMA = b"dataset-toolkit.unischema"  # prefix of the footer's key under which Petastorm keeps a pickle


@dataclass(frozen=True)
class Rows:
    """Decoded rows: `tensor` (R, *shape) or (R,) encoded files, `label` (R,) int64 or float32 or (R, K) float32, `weight` (R,) float32."""

    tensor: NDArray[Any]
    label: NDArray[Any]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: NDArray[np.int64] | slice) -> Rows:
        """Some of the rows: a copy in the order of an index, a view of a slice."""
        if isinstance(index, slice):
            return Rows(self.tensor[index], self.label[index], self.weight[index])
        return Rows(*(np.take(array, index, axis=0) for array in self.arrays))  # 4 times as fast as array[index]

    @property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        return self.tensor, self.label, self.weight

    @property
    def num_bytes(self) -> int:
        return self.tensor.nbytes + self.label.nbytes + self.weight.nbytes


def decode(table: pa.Table, tensor: Tensor, label_dtype: LabelDtype, place: str, label_shape: tuple[int, ...] = ()) -> Rows:
    """The columns of one file.

    Args:
        table: as read.
        tensor: what its packed column holds.
        label_dtype: what its label is.
        place: the file, for messages.
        label_shape: of one label; one with dimensions is packed like a tensor and comes out as K numbers, as models answer.

    Raises:
        DataError: a column is missing, has another type, holds a null or a number that is not finite, or rows of another size.
    """
    refuse_pickled_key(table.schema.metadata, place)
    label = vectors(table, label_shape, place) if label_shape else numbers(table, LABEL, label_dtype, place)
    weight = numbers(table, WEIGHT, "float32", place)
    values = packed(table, tensor, place)
    return Rows(values.to_numpy(zero_copy_only=False) if tensor.encoding else unpack(values, tensor, place), label, weight)


def packed(table: pa.Table, tensor: Tensor, place: str) -> pa.Array:
    """A column of bytes without nulls."""
    packed = column_of(table, tensor.name, place)
    if packed.null_count:
        expected = "an image file" if tensor.encoding else f"{tensor.row_bytes} bytes"
        raise DataError(f"{place}: column {tensor.name} holds nulls. Expected {expected} in every row.")
    if not (pa.types.is_binary(packed.type) or pa.types.is_large_binary(packed.type) or pa.types.is_fixed_size_binary(packed.type)):
        raise DataError(f"{place}: column {tensor.name} is {packed.type}. Expected binary. Run prepare again with --force.")
    return packed


def vectors(table: pa.Table, shape: tuple[int, ...], place: str) -> NDArray[np.float32]:
    """(R, K) labels of several numbers each, row-major."""
    tensor = Tensor(name=LABEL, dtype="float32", shape=shape)
    values = unpack(packed(table, tensor, place), tensor, place).reshape(table.num_rows, -1)
    if not np.isfinite(values).all():
        raise DataError(f"{place}: {LABEL} holds a number that is not finite. Expected none. Run prepare again with --force.")
    return values


def refuse_pickled_key(metadata: dict[bytes, bytes] | None, place: str) -> None:
    """Petastorm would unpickle a schema from such a key (petastorm#741); prepared data never has one."""
    if any(key.startswith(PICKLED_SCHEMA) for key in metadata or {}):
        raise DataError(f"{place}: its footer may hold a pickled schema, which prepared data never has. Run prepare again with --force.")


def column_of(table: pa.Table, name: str, place: str) -> pa.Array:
    if name not in table.column_names:
        raise DataError(f"{place}: expected a column {name}, found {table.column_names}. Run prepare again with --force.")
    chunks: Sequence[pa.Array] = table.column(name).chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks) if chunks else pa.array([], table.column(name).type)


def numbers(table: pa.Table, name: str, dtype: str, place: str) -> NDArray[Any]:
    """(R,) a scalar column that is exactly of this type; a view of Arrow's memory."""
    column = column_of(table, name, place)
    if column.type != pa.from_numpy_dtype(dtype) or column.null_count:
        received = f"{column.type} with {column.null_count} nulls" if column.null_count else column.type
        raise DataError(f"{place}: expected {name} of {dtype} without nulls, received {received}. Run prepare again with --force.")
    values: NDArray[Any] = column.to_numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{place}: {name} holds a number that is not finite. Expected none. Run prepare again with --force.")
    return values


def unpack(column: pa.Array, tensor: Tensor, place: str) -> NDArray[Any]:
    """(R, *shape) over the bytes as Arrow holds them; nothing is copied."""
    size, first = tensor.row_bytes, 0
    if pa.types.is_fixed_size_binary(column.type):
        is_whole, first = column.type.byte_width == size, column.offset * size
        received = len(column) * column.type.byte_width
    else:
        dtype = np.int64 if pa.types.is_large_binary(column.type) else np.int32
        offsets = np.frombuffer(column.buffers()[1], dtype)[column.offset : column.offset + len(column) + 1] if len(column) else np.zeros(1)
        is_whole, first = bool((np.diff(offsets) == size).all()), int(offsets[0])
        received = int(offsets[-1]) - first
    if not is_whole:
        raise DataError(
            f"{place}: column {tensor.name} holds {received} bytes in {len(column)} rows. "
            f"Expected {size} each, for {tensor.dtype} of shape {list(tensor.shape)}."
        )
    content = column.buffers()[-1]
    values = np.frombuffer(content, np.uint8, len(column) * size, first) if len(column) * size else np.empty(0, np.uint8)
    return values.view(tensor.dtype).reshape(len(column), *tensor.shape)
