"""Images: staged as packed pixels, uint8; the model's first layer normalises with the statistics of train pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.kinds import decode_image
from pipeline.prepare.kinds.base import ContentFit, Decoded
from pipeline.schema import Tensor
from pipeline.sections.data import Column
from pipeline.sections.media import ImageOptions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.config import Recipe
    from pipeline.prepare.tally import Tally


class Images:
    """Of (height, width, channels) as the column's `shape` says."""

    staged: Literal["binary", "string"] = "binary"

    def row_bytes(self, column: Column) -> int:
        return math.prod(shape_of(column))

    def decode(self, content: bytes, column: Column, name: str = "") -> Decoded:
        return Decoded(decode_image.decode(content, shape_of(column), options_of(column), name).tobytes())

    def count(self, values: pa.ChunkedArray, column: Column) -> list[list[int]]:
        """For each channel: pixels, their sum, the sum of their squares."""
        totals = [[0, 0, 0] for _ in range(shape_of(column)[2])]
        for packed in values.to_pylist():
            pixels = np.frombuffer(packed, np.uint8).reshape(-1, len(totals)).astype(np.int64)
            for channel, total in enumerate(totals):
                one = pixels[:, channel]
                total[0] += len(one)
                total[1] += int(one.sum())
                total[2] += int(np.square(one).sum())
        return totals

    def fit(self, spark: SparkSession, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
        """No Spark job."""
        name = recipe.content or ""
        mean = tuple(total / rows for rows, total, _ in tally.totals)
        spread = [(rows * squares - total * total) / (rows * rows) for rows, total, squares in tally.totals]
        std = tuple(math.sqrt(variance) or 1.0 for variance in spread)
        column = recipe.columns[name]
        store = options_of(column).store
        encoding = None if store == "pixels" else store
        return ContentFit(Tensor(name=name, dtype="uint8", shape=shape_of(column), mean=mean, std=std, encoding=encoding))

    def pack(self, values: pa.ChunkedArray, fitted: ContentFit) -> pa.Array:
        if fitted.tensor.encoding is None:
            return values.combine_chunks()
        store = fitted.tensor.encoding
        return pa.array([decode_image.encode(self.unpack(value, fitted), store) for value in values.to_pylist()], pa.binary())

    def unpack(self, value: Any, fitted: ContentFit) -> NDArray[Any]:
        return np.frombuffer(value, np.uint8).reshape(fitted.tensor.shape)

    def repack(self, values: NDArray[Any], fitted: ContentFit) -> bytes:
        return values.tobytes()


def options_of(column: Column) -> ImageOptions:
    return column.image or decode_image.DEFAULTS


def shape_of(column: Column) -> tuple[int, int, int]:
    return column.shape or (0, 0, 1)
