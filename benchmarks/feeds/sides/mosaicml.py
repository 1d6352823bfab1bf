"""MosaicML Streaming over shards of its own format, a sample a row, shuffled by its default algorithm, batches by torch's DataLoader.

It writes its shards first, which is not in its rate. Its package imports torchvision for ready-made data sets of images; the build of
torchvision that goes with torch for CPUs is not on PyPI, and nothing here uses it, so it gets an empty one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import transformers.tokenization_utils_base  # noqa: F401  # looks whether torchvision is there, before the stand-in is

from benchmarks.feeds import consume

FORMATS = {"table": ("float32", (32,), 1024), "images": ("uint8", (64, 64, 3), 256)}  # dtype, shape, batch: as in rows.py
TENSOR = "features"


def stand_in(name: str, **names: Any) -> None:
    sys.modules[name] = ModuleType(name)
    vars(sys.modules[name]).update(names)


stand_in("torchvision")
stand_in("torchvision.datasets", VisionDataset=object)
stand_in("torchvision.transforms")
stand_in("torchvision.transforms.functional", to_tensor=None)

from streaming import MDSWriter, StreamingDataLoader, StreamingDataset, __version__  # noqa: E402  # after what it imports


def main() -> None:
    kind, data, out, cores = consume.arguments()
    dtype, shape, batch = FORMATS[kind]
    shards = out / "mds"
    write(data, shards, dtype, shape)
    rows = StreamingDataset(local=str(shards), shuffle=True, batch_size=batch)
    loader = StreamingDataLoader(rows, batch_size=batch, num_workers=cores, persistent_workers=True)

    def epoch(_: int) -> Iterator[tuple[Any, Any]]:
        for found in loader:
            yield found[TENSOR], found["label"]

    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    consume.consume(epoch, out, epochs=2, is_alone=False, streaming=__version__)


def write(data: Path, shards: Path, dtype: str, shape: tuple[int, ...]) -> None:
    """The rows of packed/, each a sample."""
    columns = {TENSOR: f"ndarray:{dtype}:{','.join(map(str, shape))}", "label": "int"}
    with MDSWriter(out=str(shards), columns=columns) as writer:
        for path in sorted((data / "packed" / "data" / "train").glob("*.parquet")):
            table = pq.read_table(path, columns=[TENSOR, "label"])
            for packed, label in zip(table.column(TENSOR), table.column("label").to_pylist(), strict=True):
                writer.write({TENSOR: np.frombuffer(packed.as_buffer(), dtype).reshape(shape), "label": label})


if __name__ == "__main__":
    main()
