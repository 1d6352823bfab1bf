"""Files that were read once and are kept: in memory, for data that fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.feed.columns import Rows
from pipeline.feed.reader import SplitReader
from pipeline.sections.feed import Feed


class FileCache:
    """Reads a split's files, each once if `feed.cache` is memory. One thread at a time."""

    def __init__(self, settings: Feed, reader: SplitReader) -> None:
        self._reader, self._kept, self._is_on = reader, dict[int, Rows](), settings.cache == "memory"

    def read(self, order: Sequence[int], *, queued: int) -> Iterator[Rows]:
        """As `SplitReader.read`."""
        missing = list(dict.fromkeys(index for index in order if index not in self._kept)) if self._is_on else list(order)
        files = self._reader.read(missing, queued=queued) if missing else iter(())
        for index in order:
            if index in self._kept:
                yield self._kept[index]
                continue
            rows = next(files)
            if self._is_on:
                self._kept[index] = rows
            yield rows
