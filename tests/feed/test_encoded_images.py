"""Images that stay files until TensorFlow decodes them: the pixels are those that Pillow decodes, in training and in evaluation."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.feed.dataset import split_dataset, training_dataset
from pipeline.feed.plan import Plan
from pipeline.schema import Tensor

pytestmark = pytest.mark.tf

ROWS = [30, 22, 44]
HEIGHT, WIDTH = 24, 17  # no multiple of a JPEG block


def picture(number: int, channels: int) -> np.ndarray:
    """Gradients with an edge, and noise in every third."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    layers = [
        (rows * random.integers(1, 9) + columns * random.integers(1, 9) + 40 * (columns > number % WIDTH)) % 256 for _ in range(channels)
    ]
    pixels = np.stack(layers, axis=-1)
    return (random.integers(0, 256, pixels.shape) if number % 3 == 0 else pixels).astype(np.uint8)


def encode(pixels: np.ndarray, encoding: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(file, encoding, quality=90)
    return file.getvalue()


def decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).reshape(HEIGHT, WIDTH, -1)


@pytest.fixture
def encoded(write_split):
    """Encoding, channels -> the reader of a split of image files, and what Pillow makes of each row."""

    def make(encoding: str, channels: int):
        reader, first, decoded = write_split(ROWS), 0, []
        for entry in reader.files:
            path = reader.folder / entry.path
            contents = [encode(picture(first + row, channels), encoding) for row in range(entry.rows)]
            decoded += [decode(content) for content in contents]
            table = pq.read_table(path)
            pq.write_table(table.set_column(table.column_names.index("features"), "features", pa.array(contents, pa.binary())), path)
            first += entry.rows
        tensor = Tensor(name="features", dtype="uint8", shape=(HEIGHT, WIDTH, channels), encoding=encoding)
        return dataclasses.replace(reader, tensor=tensor), np.stack(decoded)

    return make


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("encoding", ["png", "jpeg"])
def test_pixels_are_those_of_pillow_on_one_and_two_ranks_and_in_evaluation(encoded, encoding, channels):
    reader, expected = encoded(encoding, channels)
    plan = Plan(reader.rows_per_file, 16, 4, 17)
    for size in (1, 2):
        seen = []
        for rank in range(size):
            for tensor, label, _ in training_dataset(reader, plan, rank=rank, size=size):
                assert tensor.dtype == "uint8" and tensor.shape[1:] == (HEIGHT, WIDTH, channels)
                assert np.array_equal(tensor.numpy(), expected[label.numpy()])
                seen += label.numpy().tolist()
        assert len(seen) == len(set(seen)) == plan.num_steps * 16
    for size in (1, 2):
        shares = [[part.numpy() for part, _, _ in split_dataset(reader, 10, rank=rank, size=size)] for rank in range(size)]
        evaluated = np.concatenate([part for share in shares for part in share])
        assert np.array_equal(evaluated, expected)


def test_an_image_of_another_size_than_the_manifest_says_is_an_error(encoded):
    reader, _ = encoded("png", 3)
    taller = dataclasses.replace(reader, tensor=reader.tensor.model_copy(update={"shape": (HEIGHT + 1, WIDTH, 3)}))
    with pytest.raises(Exception, match="(?i)shape"):
        list(training_dataset(taller, Plan(reader.rows_per_file, 16, 4, 17)))


def test_a_file_that_is_no_image_is_an_error(encoded):
    reader, _ = encoded("png", 3)
    path = reader.folder / reader.files[1].path
    table = pq.read_table(path)
    contents = table["features"].to_pylist()
    contents[5] = contents[5][:20]
    pq.write_table(table.set_column(table.column_names.index("features"), "features", pa.array(contents, pa.binary())), path)
    with pytest.raises(Exception, match="(?i)png|image"):
        list(training_dataset(reader, Plan(reader.rows_per_file, 16, 4, 17)))
