"""What Petastorm opens files through: on this disk, on a store, or as a copy of one."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow.filesystem import FileSystem

from pipeline import storage
from pipeline.disk_cache import DiskCache
from pipeline.manifest import READERS, FileEntry
from pipeline.paths import Place


@dataclass(frozen=True)
class Source:
    """A file of prepared data, where it lies and what it should be."""

    place: Place
    entry: FileEntry

    @property
    def url(self) -> str:
        """For Petastorm, which asks `PetastormFiles` for its path."""
        return f"file:///{self.entry.path}"


class PetastormFiles(FileSystem):  # type: ignore[misc]  # pyarrow publishes no types
    """A file system of a few files, known by their paths in the manifest.

    Petastorm 0.12.1 passes arguments that only pyarrow's older dataset takes, and pyarrow 14 takes that one for file systems of this
    class alone: one of fsspec, handed over as it is, is refused ("Keyword 'validate_schema' is not yet supported").
    """

    def __init__(self, sources: Iterable[Source], copies: DiskCache | None) -> None:
        self._sources = {f"/{source.entry.path}": source for source in sources}
        self._local: dict[str, Path] = {}
        self._held = self._hold(copies) if copies else ExitStack()

    def _hold(self, copies: DiskCache) -> ExitStack:
        """Copies of all files that there is room for, fetched side by side."""

        def hold(path: str) -> None:
            source = self._sources[path]
            if (copy := copies.hold(source.place, source.entry)) is not None:
                held.callback(copy.close)
                self._local[path] = copy.path

        with ExitStack() as held, ThreadPoolExecutor(READERS) as pool:
            list(pool.map(hold, self._sources))
            return held.pop_all()

    def close(self) -> None:
        """Copies may be removed from now on."""
        self._held.close()

    def isfile(self, path: str) -> bool:
        return path in self._sources  # the manifest says so; if it is gone, opening tells

    def isdir(self, path: str) -> bool:
        return False

    def open(self, path: str, mode: str = "rb") -> IO[bytes] | Any:
        place = self._local.get(path, self._sources[path].place)
        if isinstance(place, Path):  # Arrow reads into memory of its own; Petastorm's own way takes a new Python object for each read
            return pa.OSFile(str(place), "rb")
        return storage.open_file(place)
