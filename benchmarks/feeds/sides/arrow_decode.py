"""The limit: pyarrow decodes the same files and nobody batches them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.feeds import consume, rows
from pipeline.feed.columns import decode


def main() -> None:
    kind, data, out, cores = consume.arguments()
    tensor = rows.KINDS[kind].tensor
    paths = sorted((data / "packed" / "data" / "train").glob("*.parquet"))

    def epoch(_: int) -> Iterator[tuple[Any, Any]]:
        for path in paths:
            found = decode(pq.ParquetFile(path).read(use_threads=cores > 1), tensor, "int64", path.name)
            yield found.tensor, found.label

    consume.consume(epoch, out, pyarrow=pa.__version__)


if __name__ == "__main__":
    main()
