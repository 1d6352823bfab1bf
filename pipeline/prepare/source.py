"""Which raw files a recipe reads, and the digest that tells changed files from old ones. No Spark."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Source
from pipeline.errors import DataError
from pipeline.manifest import digest_of
from pipeline.prepare import bundled

SUFFIXES = {"csv": (".csv", ".csv.gz", ".tsv", ".txt"), "parquet": (".parquet",), "images": ()}


@dataclass(frozen=True)
class RawFiles:
    """The listing of a source, as absolute paths; links are not followed into other names."""

    base: Path  # the folder that row keys are relative to
    is_folder: bool  # all of `base` is the source
    files: tuple[Path, ...]
    empty: tuple[Path, ...]  # those of `files` without a byte, which Spark passes over without a word
    num_bytes: int
    digest: str  # of every file's path, size and modification time


def list_files(source: Source, root: Path) -> RawFiles:
    """Every raw file of a source: the file itself, all of a folder, or what a glob matches. Hidden files are left out.

    Raises:
        DataError: there is none, or all are empty.
    """
    path = bundled.materialize(source.bundled, root) if source.bundled else Path(source.path)
    if path.is_file():
        base, files = path.parent, [path]
    elif path.is_dir():
        base, files = path, [file for file in sorted(path.rglob("*")) if file.is_file() and is_wanted(file, path, source)]
    else:
        base, files = glob_base(source.path), [file for file in map(Path, sorted(glob.glob(source.path, recursive=True))) if file.is_file()]
    stats = [(file, file.stat()) for file in files]
    num_bytes = sum(stat.st_size for _, stat in stats)
    if not num_bytes:
        expected = f" ending in {', '.join(SUFFIXES[source.format])}" if SUFFIXES[source.format] and path.is_dir() else ""
        raise DataError(
            f"No input rows: source.path {source.path} holds {len(files)} files{expected}, 0 bytes in all. Nothing was read or published."
        )
    listing = [[file.relative_to(base).as_posix(), stat.st_size, stat.st_mtime_ns] for file, stat in stats]
    empty = tuple(file.absolute() for file, stat in stats if not stat.st_size)
    return RawFiles(base.absolute(), path.is_dir(), tuple(file.absolute() for file in files), empty, num_bytes, digest_of(listing))


def is_wanted(file: Path, folder: Path, source: Source) -> bool:
    suffixes = SUFFIXES[source.format]
    is_hidden = any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    return not is_hidden and (not suffixes or file.name.lower().endswith(suffixes))


def glob_base(pattern: str) -> Path:
    """The longest leading folder of a pattern without a wildcard."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    return Path(*parts[:fixed]) if fixed else Path()
