"""IDX files: images in one, labels in another of the same name with `labels` for `images`; gzip too.

Layout: two zero bytes, a type (8: unsigned byte), the number of dimensions, each as a big-endian 32-bit count, then the values.
Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", section on file formats.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
import pyarrow as pa
from PIL import Image
from pyspark.sql import DataFrame, SparkSession

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.columns import KEY, RAW, REASON
from pipeline.prepare.decoding import Row, batched
from pipeline.prepare.files import with_hashes
from pipeline.prepare.kinds.decode_image import resize
from pipeline.prepare.source import RawFiles
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.sections.data import Column
from pipeline.sections.media import ImageOptions

UNSIGNED_BYTE = 8
TASK_BYTES = 16 << 20  # of pixels that one task reads of a file that is not packed; a packed one is read from its beginning by one task


@dataclass(frozen=True)
class Pair:
    """Images and labels that belong together; `rows` [start, stop) of them."""

    images: str
    labels: str
    shape: tuple[int, int, int]  # of one image in the file
    start: int
    stop: int


def read_idx(spark: SparkSession, recipe: Recipe, source: RawFiles) -> DataFrame:
    """One row an image; its key is the file's name and the image's number, its label the other file's number as text. Lazy, but headers.

    Raises:
        DataError: a file is no IDX file of unsigned bytes, has no partner, or another count than its partner.
    """
    content = recipe.content or ""
    pairs = [part for images, labels in partners(source.files) for part in parts(images, labels)]
    names = [content, recipe.label, REASON, RAW, KEY]
    schema = f"`{content}` binary, `{recipe.label}` string, {REASON} string, {RAW} string, {KEY} string"
    rows = spark.range(0, len(pairs), 1, len(pairs)).mapInArrow(
        in_worker(reader(pairs, source.base_uri, recipe.columns[content], names)), schema
    )
    return with_hashes(rows, [content, recipe.label])


def partners(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Raises DataError for images without labels, and for no images."""
    images = [file for file in files if "images" in file.name]
    if not images:
        raise DataError(f"Expected IDX files with `images` in their names. Found: {', '.join(file.name for file in files)}")
    found = []
    for file in images:
        plain = file.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
        labels = next((path for name in (plain, f"{plain}.gz") if (path := file.with_name(name)).is_file()), None)
        if labels is None:
            raise DataError(f"{file}: its labels are not there; expected {file.with_name(plain)}, packed with gzip or not")
        found.append((file, labels))
    return found


def parts(images: Path, labels: Path) -> list[Pair]:
    count, *shape = dimensions(images)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise DataError(f"{images}: expected images of height and width, and 1 or 3 channels; received dimensions {[count, *shape]}")
    known = dimensions(labels)
    if known != [count]:
        raise DataError(f"{images} holds {count} images, {labels} dimensions {known} of labels; expected [{count}]")
    height, width, channels = (*shape, 1)[:3]
    step = count if images.name.endswith(".gz") else max(1, TASK_BYTES // math.prod((height, width, channels)))
    edges = [*range(0, count, max(step, 1)), count]
    return [Pair(str(images), str(labels), (height, width, channels), start, stop) for start, stop in zip(edges, edges[1:], strict=False)]


def dimensions(path: Path) -> list[int]:
    """Raises DataError for what is no IDX file of unsigned bytes."""
    try:
        with opened(str(path)) as file:
            begin = file.read(4)
            if len(begin) < 4 or begin[:3] != bytes((0, 0, UNSIGNED_BYTE)):
                raise DataError(f"{path} is no IDX file of unsigned bytes: it begins with {begin.hex(' ')}, expected 00 00 08")
            counts = file.read(4 * begin[3])
            return list(struct.unpack(f">{begin[3]}I", counts))
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is no readable IDX file: {error}") from error


def opened(path: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.endswith(".gz") else open(path, "rb")


def reader(pairs: Sequence[Pair], base: str, column: Column, names: list[str]) -> ArrowFunction:
    def read(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        numbers = [number for batch in batches for number in batch.column(0).to_pylist()]
        yield from batched((row for number in numbers for row in rows_of(pairs[number], base, column)), column, names)

    return read


def rows_of(pair: Pair, base: str, column: Column) -> Iterator[Row]:
    """What a file lacks at its end becomes rows with that reason, so that counts add up."""
    key, size = pair.images.removeprefix(base).lstrip("/"), math.prod(pair.shape)
    with opened(pair.labels) as labels, opened(pair.images) as images:
        texts = read_at(labels, 8 + pair.start, pair.stop - pair.start)
        skip(images, 4 + 4 * (3 if pair.shape[2] == 1 and not is_deep(pair.images) else 4) + pair.start * size)
        for number in range(pair.start, pair.stop):
            pixels = read_some(images, size)
            name = f"{key}/{number:0{len(str(pair.stop))}d}"
            label = str(texts[number - pair.start]) if number - pair.start < len(texts) else None
            if len(pixels) < size or label is None:
                missing = "pixels" if len(pixels) < size else "label"
                yield None, label, f"truncated: the file ends before the {missing} of image {number}", name, name
            else:
                yield brought_to(pixels, pair.shape, column), label, None, name, name


def is_deep(path: str) -> bool:
    """Whether the header has a fourth dimension."""
    with opened(path) as file:
        return file.read(4)[3] == 4


def skip(file: IO[bytes], place: int) -> None:
    try:
        file.seek(place)
    except (OSError, EOFError, zlib.error):
        return  # what follows cannot be read either


def read_at(file: IO[bytes], place: int, count: int) -> bytes:
    skip(file, place)
    return read_some(file, count)


def read_some(file: IO[bytes], count: int) -> bytes:
    """As many bytes as there are, of a damaged gzip file too."""
    try:
        return file.read(count)
    except (OSError, EOFError, zlib.error):
        return b""


def brought_to(pixels: bytes, shape: tuple[int, int, int], column: Column) -> bytes:
    """Packed pixels of the column's shape; those of the same shape as they are."""
    wanted = column.shape or shape
    if shape == wanted:
        return pixels
    values = np.frombuffer(pixels, np.uint8).reshape(shape)
    image = Image.fromarray(values[:, :, 0] if shape[2] == 1 else values).convert("L" if wanted[2] == 1 else "RGB")
    return np.asarray(resize(image, (wanted[1], wanted[0]), column.image or ImageOptions()), np.uint8).tobytes()
