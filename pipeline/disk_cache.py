"""Local copies of a store's files, shared by the processes of a host: each is fetched once, checked by its digest, and kept within a limit.

    <folder>/<sha256>.parquet    a whole copy; its name is its digest, so equal files of any run are one
    <folder>/<sha256>.part       one that is being fetched, or that a killed process left

Every lock is flock on the file itself and goes with its process: shared on a copy that is being read, exclusive on one that is fetched
or removed. A copy is renamed into its place when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import storage
from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import FileEntry, Manifest, check_each, sha256_of_file, verify_file
from pipeline.paths import Place
from pipeline.sections.feed import Feed


@dataclass(frozen=True)
class Copy:
    """A copy that nobody removes until it is closed."""

    path: Path
    descriptor: int

    def close(self) -> None:
        os.close(self.descriptor)


class DiskCache:
    """Copies in a folder. Any number of processes may use one at a time, and any of them may be killed.

    What was used since this object was made is not removed: where a training's files are more than the limit, as many as fit stay, and
    the rest is read where it lies, every time. A cache that drops the least recently used would hold none of them when it is needed.

    Args:
        folder: made if it is not there, for this user alone.
        limit_bytes: of all copies together.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self._began = time.time()
        self._checked: set[Path] = set()  # by this process
        with self._disk_errors():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @classmethod
    def of(cls, settings: Feed) -> DiskCache | None:
        """The recipe's, if it asks for one."""
        if settings.cache != "disk":
            return None
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(settings.cache_folder or home / "longhaul" / "prepared", settings.cache_mb << 20)

    def hold(self, source: Place, entry: FileEntry) -> Copy | None:
        """A checked copy of a file, fetched if it is not there; None if there is no room for it.

        Raises:
            DataError: the source has other content than `entry` says.
            FileNotFoundError: there is no source.
            InfrastructureError: the store or this disk failed.
        """
        path = self.folder / f"{entry.sha256}.parquet"
        with self._disk_errors():
            while True:
                if (copy := self._open(path, entry)) is not None:
                    return copy
                if not self._fetch(source, entry, path):
                    return None

    def _open(self, path: Path, entry: FileEntry) -> Copy | None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if is_at(descriptor, path) and self._is_good(path, entry):
            os.utime(descriptor)
            return Copy(path, descriptor)
        os.close(descriptor)
        return None

    def _is_good(self, path: Path, entry: FileEntry) -> bool:
        """Looked at once by every process; a damaged copy is removed."""
        if path not in self._checked:
            with suppress(FileNotFoundError):
                if path.stat().st_size != entry.bytes or sha256_of_file(path) != entry.sha256:
                    path.unlink()
            if not path.exists():
                return False
            self._checked.add(path)
        return True

    def _fetch(self, source: Place, entry: FileEntry, path: Path) -> bool:
        """Whether it is worth looking again: it was fetched, by this process or another. False if there is no room."""
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # whoever has it is fetching this file
            if not is_at(descriptor, part):
                return True
            try:
                if not self._reserve(descriptor, entry.bytes):
                    part.unlink()
                    return False
                copy_checked(source, descriptor, entry)
            except BaseException:
                part.unlink()
                raise
            part.rename(path)
            self._checked.add(path)
            return True
        finally:
            os.close(descriptor)

    def _reserve(self, descriptor: int, size: int) -> bool:
        """Take the room on the disk, so that others count it."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.ftruncate(descriptor, 0)
            if not self._make_room(size):
                return False
            if size:
                os.posix_fallocate(descriptor, 0, size)
            return True

    def _make_room(self, size: int) -> bool:
        files = {}
        for path in (path for pattern in ("*.parquet", "*.part") for path in self.folder.glob(pattern)):
            with suppress(FileNotFoundError):  # renamed or removed meanwhile
                files[path] = path.stat()
        total = sum(found.st_size for found in files.values())
        for path, found in sorted(files.items(), key=lambda item: item[1].st_mtime):
            if total + size <= self.limit_bytes or found.st_mtime >= self._began:
                break
            if remove_unused(path):
                total -= found.st_size
        return total + size <= self.limit_bytes

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise InfrastructureError(
                f"Cannot keep copies in {self.folder}: {error}. Free space, lower feed.cache_mb, or set feed.cache_folder to another "
                "local folder."
            ) from error


def copy_checked(source: Place, descriptor: int, entry: FileEntry) -> None:
    """Write a source's content. Raises DataError if it is not what `entry` says."""
    digest, size = hashlib.sha256(), 0
    for chunk in storage.chunks(source):
        digest.update(chunk)
        size += os.pwrite(descriptor, chunk, size)
    if size != entry.bytes or digest.hexdigest() != entry.sha256:
        raise DataError(
            f"{source} has {size} bytes of SHA-256 {digest.hexdigest()[:16]}…, its manifest says {entry.bytes} of {entry.sha256[:16]}…. "
            "Run the prepare stage again with --force, or restore the file."
        )


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def remove_unused(path: Path) -> bool:
    """Remove a copy, unless someone reads or fetches it; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def verify_and_keep(manifest: Manifest, stage_folder: Place, cache: DiskCache) -> None:
    """As `manifest.verify`, and what is read for it is kept for the feed: one fetch serves both. Raises DataError, InfrastructureError."""

    def check(path: Place, entry: FileEntry, stage: str) -> None:
        copy = None
        if entry.path.startswith("data/"):
            try:
                copy = cache.hold(path, entry)
            except FileNotFoundError:
                raise DataError(f"{path} is in the manifest but not there. Run the {stage} stage again, or restore the file.") from None
        copy.close() if copy else verify_file(path, entry, stage)

    check_each(manifest, stage_folder, check)
