"""Which raw files a recipe reads, and the digest that tells changed files from old ones. Local files need no Spark."""

from __future__ import annotations

import glob
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import DataError
from pipeline.manifest import digest_of
from pipeline.prepare import bundled
from pipeline.sections.data import Source

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SUFFIXES = {
    "csv": (".csv", ".csv.gz", ".tsv", ".txt"),
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson", ".json"),
    "parquet": (".parquet",),
    "orc": (".orc",),
    "images": (),
    "audio": (),
    "idx": (),
    "text": (),
}
GLOB = "*?[{"
HIDDEN = (".", "_")  # how names begin that Spark passes over


@dataclass(frozen=True)
class RawFiles:
    """The listing of a source, as absolute paths; links are not followed into other names."""

    base_uri: str  # the folder that row keys are relative to, a path or a URL
    is_folder: bool  # all of the base is the source
    files: tuple[Path, ...]  # of a local source
    uris: tuple[str, ...]  # every file as Spark is told to read it
    empty: tuple[Path, ...]  # those of `files` without a byte, which Spark passes over without a word
    num_bytes: int
    digest: str  # of every file's path, size and modification time
    partition_columns: tuple[str, ...] = ()  # `day` of folders named day=2026-01-03

    @property
    def is_local(self) -> bool:
        return bool(self.files)

    @property
    def is_partitioned(self) -> bool:
        return bool(self.partition_columns)


def list_files(source: Source, root: Path) -> RawFiles:
    """Every raw file of a local source: the file itself, all of a folder, or what a glob matches. Hidden files are left out.

    Raises:
        DataError: there is none, all are empty, or one has a name that Hadoop cannot read.
    """
    path = bundled.materialize(source.bundled, root) if source.bundled else Path(source.path)
    if path.is_file():
        base, files = path.parent, [path]
    elif path.is_dir():
        base, files = path, [file for file in sorted(path.rglob("*")) if file.is_file() and is_wanted(file, path, source)]
    else:
        base, files = glob_base(source.path), [file for file in map(Path, sorted(glob.glob(source.path, recursive=True))) if file.is_file()]
    stats = [(file, file.stat()) for file in files if not file.name.startswith(HIDDEN)]
    num_bytes = sum(stat.st_size for _, stat in stats)
    check_not_empty(source, len(stats), num_bytes)
    check_names([file for file, _ in stats])
    names = [file.relative_to(base).as_posix() for file, _ in stats]
    listing = [[name, stat.st_size, stat.st_mtime_ns] for name, (_, stat) in zip(names, stats, strict=True)]
    absolute = tuple(file.absolute() for file, _ in stats)
    return RawFiles(
        base_uri=str(base.absolute()),
        is_folder=path.is_dir(),
        files=absolute,
        uris=tuple(map(str, absolute)),
        empty=tuple(file.absolute() for file, stat in stats if not stat.st_size),
        num_bytes=num_bytes,
        digest=digest_of(listing),
        partition_columns=partition_columns(names),
    )


def list_remote(spark: SparkSession, source: Source, url: str) -> RawFiles:
    """The same of a URL, by Spark's own listing, which goes through Hadoop's file systems and runs on the cluster. One Spark job.

    Files without a byte are left out: Spark passes over them. A glob is Hadoop's: {a,b} is known to it, ** is not.

    Raises:
        DataError: there is no file, or all are empty.
    """
    reader = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    found = reader.load(url).select("path", "length", "modificationTime").orderBy("path").collect()
    wanted, is_glob = path_of(url).rstrip("/"), any(mark in url for mark in GLOB)
    is_folder = not is_glob and any(path_of(row["path"]) != wanted for row in found)
    rows = [row for row in found if is_listed(path_of(row["path"]), wanted, source, is_glob=is_glob, is_folder=is_folder)]
    num_bytes = sum(row["length"] for row in rows)
    check_not_empty(source, len(rows), num_bytes)
    uris = tuple(row["path"] for row in rows)
    base = uris[0].removesuffix(path_of(uris[0])) + (wanted if is_folder else fixed_part(wanted))  # as Spark writes scheme and host
    names = [uri.removeprefix(base).lstrip("/") for uri in uris]
    listing = [[name, row["length"], row["modificationTime"].isoformat()] for name, row in zip(names, rows, strict=True)]
    return RawFiles(base, is_folder, (), uris, (), num_bytes, digest_of(listing), partition_columns(names))


def is_listed(path: str, wanted: str, source: Source, *, is_glob: bool, is_folder: bool) -> bool:
    """Whether a file that Spark has found belongs to the source: it also looks into the folders that a glob matches."""
    if is_glob:
        return path.count("/") == wanted.count("/")
    return not is_folder or path.lower().endswith(SUFFIXES[source.format] or "")


def check_not_empty(source: Source, num_files: int, num_bytes: int) -> None:
    if not num_bytes:
        suffixes = SUFFIXES[source.format]
        expected = f" ending in {', '.join(suffixes)}" if suffixes and not num_files else ""
        raise DataError(
            f"No input rows: source.path {source.path} holds {num_files} files{expected}, 0 bytes in all. Nothing was read or published. "
            "Files whose names begin with . or _ are left out."
        )


def partition_columns(names: list[str]) -> tuple[str, ...]:
    """Columns that folder names give, `day` of `day=2026-01-03/part.csv`, if every file has the same ones."""
    found = {tuple(part.partition("=")[0] for part in name.split("/")[:-1] if "=" in part) for name in names}
    return found.pop() if len(found) == 1 else ()


def check_names(files: list[Path]) -> None:
    if wrong := next((file for file in files if ":" in file.name), None):
        raise DataError(f"{wrong}: Hadoop, through which Spark reads files, knows no names with a colon. Rename the file.")


def path_of(url: str) -> str:
    """`/folder/file` of `s3a://bucket/folder/file`, and of `file:/folder/file`."""
    return re.sub(r"^[A-Za-z][\w+.-]*:(//[^/]*)?", "", url)


def fixed_part(path: str) -> str:
    """The longest leading folder of a URL's path without a wildcard."""
    parts = path.split("/")
    fixed = next((index for index, part in enumerate(parts) if any(mark in part for mark in GLOB)), len(parts) - 1)
    return "/".join(parts[:fixed])


def escape_glob(path: str) -> str:
    """A path that Hadoop takes as it is."""
    return "".join(f"\\{character}" if character in "*?[]{}\\" else character for character in path)


def is_wanted(file: Path, folder: Path, source: Source) -> bool:
    suffixes = SUFFIXES[source.format]
    is_hidden = any(part.startswith(HIDDEN) for part in file.relative_to(folder).parts)
    return not is_hidden and (not suffixes or file.name.lower().endswith(suffixes))


def glob_base(pattern: str) -> Path:
    """The longest leading folder of a pattern without a wildcard."""
    parts = Path(pattern).parts
    fixed = next((index for index, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    return Path(*parts[:fixed]) if fixed else Path()
