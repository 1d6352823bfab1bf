"""Audio: staged as int16 or float32 samples, one channel, all of one length."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.kinds import decode_audio
from pipeline.prepare.kinds.base import ContentFit, Decoded
from pipeline.schema import Tensor
from pipeline.sections.data import Column
from pipeline.sections.media import AudioOptions

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.config import Recipe
    from pipeline.prepare.tally import Tally

SCALE = 32768  # of int16, as libsndfile has it: what was 16 bits comes back to the bit


class Sounds:
    """Of `audio.seconds` at `audio.sample_rate`."""

    staged: Literal["binary", "string"] = "binary"

    def row_bytes(self, column: Column) -> int:
        return options_of(column).num_samples * np.dtype(options_of(column).store).itemsize

    def decode(self, content: bytes, column: Column, name: str = "") -> Decoded:
        options = options_of(column)
        return Decoded(stored(decode_audio.decode(content, options, name), options.store).tobytes())

    def count(self, values: pa.ChunkedArray, column: Column) -> list[list[int]]:
        """Samples, their sum and the sum of their squares, in steps of int16."""
        total = [0, 0, 0]
        for packed in values.to_pylist():
            steps = stored(as_floats(packed, options_of(column).store), "int16").astype(np.int64)
            total = [total[0] + len(steps), total[1] + int(steps.sum()), total[2] + int(np.square(steps).sum())]
        return [total]

    def fit(self, spark: SparkSession, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
        """No Spark job. Mean and deviation are in the unit that is stored."""
        name = recipe.content or ""
        options = options_of(recipe.columns[name])
        count, total, squares = tally.totals[0]
        unit = 1 if options.store == "int16" else SCALE
        std = math.sqrt((count * squares - total * total) / (count * count)) / unit
        moments = {"mean": (total / count / unit,), "std": (std or 1.0,)}
        return ContentFit(Tensor(name=name, dtype=options.store, shape=(options.num_samples,), sample_rate=options.sample_rate, **moments))

    def pack(self, values: pa.ChunkedArray, fitted: ContentFit) -> pa.Array:
        return values.combine_chunks()

    def unpack(self, value: Any, fitted: ContentFit) -> NDArray[Any]:
        """(samples,) float32 from -1 to 1."""
        return as_floats(value, fitted.tensor.dtype)

    def repack(self, values: NDArray[Any], fitted: ContentFit) -> bytes:
        return stored(values, fitted.tensor.dtype).tobytes()


def options_of(column: Column) -> AudioOptions:
    if column.audio is None:
        raise TypeError("a column of kind audio has no section audio")
    return column.audio


def stored(samples: NDArray[Any], store: str) -> NDArray[Any]:
    if store == "int16":
        return np.asarray(np.clip(np.rint(samples * SCALE), -SCALE, SCALE - 1), np.int16)
    return np.asarray(np.clip(samples, -1.0, 1.0), np.float32)


def as_floats(packed: bytes, store: str) -> NDArray[np.float32]:
    values = np.frombuffer(packed, store)
    return np.asarray(values / np.float32(SCALE) if store == "int16" else values, np.float32)
