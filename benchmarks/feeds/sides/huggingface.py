"""Hugging Face datasets over a column a value: shuffled by an index, batches as numpy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np

from benchmarks.feeds import consume

BATCH = 1024


def main() -> None:
    _, data, out, _ = consume.arguments()
    datasets.disable_progress_bars()
    files = [str(path) for path in sorted((data / "columns").glob("*.parquet"))]
    found = datasets.Dataset.from_parquet(files, cache_dir=str(out / "cache"))
    names = [name for name in found.column_names if name != "label"]

    def epoch(number: int) -> Iterator[tuple[Any, Any]]:
        for batch in found.shuffle(seed=number).with_format("numpy").iter(BATCH):
            yield np.stack([batch[name] for name in names], axis=1), batch["label"]

    consume.consume(epoch, out, epochs=2, datasets=datasets.__version__)


if __name__ == "__main__":
    main()
