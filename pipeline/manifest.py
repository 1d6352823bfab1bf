"""What a stage wrote, with digests, and the check of it. Readers trust a manifest, never a listing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import storage
from pipeline.errors import DataError
from pipeline.paths import Place, Remote

READERS = 8  # files of a store that are read at a time


class Record(BaseModel):
    """Base of everything that is stored as JSON: frozen, and a field we do not know is a file we do not understand."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileEntry(Record):
    """One file of an attempt. `path` is relative to the attempt's folder, with forward slashes."""

    path: str
    bytes: int
    sha256: str
    rows: int | None = None


class Input(Record):
    """A stage that this one read: the digest of its manifest, and where it was found."""

    stage: str
    run_id: str
    digest: str


class Manifest(Record):
    """The contract between stages: `manifest.json` in a stage's folder."""

    format: int = 1
    stage: str
    recipe: str
    run_id: str
    key: str  # digest of everything that decides the result: config sections, inputs, code that a recipe names
    attempt: str  # name of the folder beside the manifest that holds the files
    started_at: str  # UTC, ISO 8601
    seconds: float  # monotonic duration of the attempt
    inputs: dict[str, Input] = {}
    files: tuple[FileEntry, ...]
    facts: dict[str, Any]  # the stage's own record: row counts, schema, metrics …
    software: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """Identity of the result: what was asked and what came out, without times and places."""
        return digest_of({"stage": self.stage, "key": self.key, "files": self._listing(), "facts": self.facts})

    @property
    def content_digest(self) -> str:
        """Digest of the files alone: equal for equal content, whoever wrote it and on which cluster."""
        return digest_of(self._listing())

    def _listing(self) -> list[list[Any]]:
        return sorted([entry.path, entry.bytes, entry.sha256, entry.rows] for entry in self.files)


def digest_of(value: Any) -> str:
    """SHA-256 of the canonical JSON of `value`: sorted keys, no spaces, no NaN."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of_file(path: Place) -> str:
    digest = hashlib.sha256()
    for chunk in storage.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def describe_files(folder: Path, rows: Mapping[str, int] | None = None) -> tuple[FileEntry, ...]:
    """An entry for every file below `folder`; names starting with a dot or underscore are not results and are refused."""
    entries = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith((".", "_")):
            raise DataError(f"{path} is a leftover of a writer, not a result. The attempt is not published.")
        entries.append(FileEntry(path=name, bytes=path.stat().st_size, sha256=sha256_of_file(path), rows=(rows or {}).get(name)))
    return tuple(entries)


def read_manifest(path: Place) -> Manifest | None:
    """The manifest at `path`, or None where there is none.

    Raises:
        DataError: there is a file but it is not a manifest of this format.
    """
    try:
        text = storage.read_bytes(path).decode()
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            f"{path} is not a manifest of this version: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}. "
            "Re-run the stage with --force to write it again."
        ) from error


def verify(manifest: Manifest, stage_folder: Place) -> None:
    """Check that every file of a manifest is there, with its size and digest.

    Args:
        manifest: as read from `stage_folder`.
        stage_folder: the folder that holds the manifest and its attempt.

    Raises:
        DataError: a file is missing or differs. The message names the first one, expected and received.
        InfrastructureError: a store does not give it.
    """
    check_each(manifest, stage_folder, verify_file)


def verify_sizes(manifest: Manifest, stage_folder: Place) -> None:
    """As `verify`, without reading the files."""
    check_each(manifest, stage_folder, verify_size)


def check_each(manifest: Manifest, stage_folder: Place, check: Callable[[Place, FileEntry, str], None]) -> None:
    folder = stage_folder / manifest.attempt
    if not isinstance(folder, Remote):
        for entry in manifest.files:
            check(folder / entry.path, entry, manifest.stage)
        return
    with ThreadPoolExecutor(READERS) as pool:  # a store answers many at once faster than one after another
        for _ in pool.map(lambda entry: check(folder / entry.path, entry, manifest.stage), manifest.files):
            pass


def verify_file(path: Place, entry: FileEntry, stage: str) -> None:
    verify_size(path, entry, stage)
    digest = sha256_of_file(path)
    if digest != entry.sha256:
        raise DataError(f"{path} has SHA-256 {digest[:16]}…, its manifest says {entry.sha256[:16]}…. {remedy(stage)}")


def verify_size(path: Place, entry: FileEntry, stage: str) -> None:
    try:
        size = storage.size_of(path)
    except FileNotFoundError:
        raise DataError(f"{path} is in the manifest but not there. {remedy(stage)}") from None
    if size != entry.bytes:
        raise DataError(f"{path} has {size} bytes, its manifest says {entry.bytes}. {remedy(stage)}")


def remedy(stage: str) -> str:
    return f"Re-run the {stage} stage (pipeline {stage} RECIPE --force), or restore the file."
