"""How a stage's result comes to be: an attempt folder, a manifest written last, one atomic publish.

    <run>/<stage>/attempt-<token>/…     the files of one attempt; any number may exist, dead or alive
    <run>/<stage>/manifest.json         the published one: names the attempt whose files count

Publishing is the rename of `manifest.json`. It happens under a lock and only if what is published is still what the attempt saw
when it began (compare and swap), so a process that was given up for dead and wakes up cannot replace its successor's result.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import Manifest, read_manifest, verify
from pipeline.paths import MANIFEST, Place, Remote, Run, Stage

OWNER = ".owner.json"


@dataclass(frozen=True)
class Attempt:
    """One try at a stage. `replaces` is the digest of the manifest that was published when it began, or None."""

    stage_folder: Path
    name: str
    replaces: str | None
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    clock_start: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        return self.stage_folder / self.name

    @property
    def published_name(self) -> str:
        """What a manifest says in `attempt`: the files' folder, relative to the stage's."""
        return f"{self.name}/files"

    @property
    def files(self) -> Path:
        """Where the stage writes; everything below it is part of the result."""
        return self.stage_folder / self.published_name

    @property
    def log(self) -> Path:
        """Where libraries may be noisy; not part of the result."""
        return self.folder / "log"

    @property
    def work(self) -> Path:
        """Where a stage keeps what it needs until it is done; not part of the result."""
        return self.folder / "work"

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.clock_start, 3)


@dataclass(frozen=True)
class Found:
    """A published, intact result."""

    manifest: Manifest
    folder: Place  # the stage's folder

    @property
    def files(self) -> Place:
        return self.folder / self.manifest.attempt

    @property
    def local_files(self) -> Path:
        """Of a result under the root, as all but prepared data are."""
        if isinstance(self.files, Remote):
            raise TypeError(f"{self.files} is not on this machine")
        return self.files


def begin(stage_folder: Path) -> Attempt:
    """A new attempt's folder; attempts whose process is gone and that are not published are removed first."""
    try:
        stage_folder.mkdir(parents=True, exist_ok=True)
        published = read_published(stage_folder)
        collect_orphans(stage_folder, published)
        attempt = Attempt(stage_folder, f"attempt-{secrets.token_hex(6)}", published.digest if published else None)
        attempt.files.mkdir(parents=True)
        attempt.log.mkdir()
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}
        (attempt.folder / OWNER).write_text(json.dumps(owner))
    except OSError as error:
        raise InfrastructureError(
            f"Cannot write under {stage_folder}: {error}. Check permissions and free space, or choose another folder with --root."
        ) from error
    return attempt


def read_published(stage_folder: Place) -> Manifest | None:
    return read_manifest(stage_folder / MANIFEST)


def publish(attempt: Attempt, manifest: Manifest) -> Manifest:
    """Make an attempt the stage's result, atomically.

    Returns:
        What is published now: `manifest`, or an equal request's result that another process published meanwhile.

    Raises:
        InfrastructureError: something else was published since the attempt began; this one is stale and publishes nothing.
    """
    draft = attempt.folder / MANIFEST
    write_durably(draft, manifest.model_dump_json(indent=1))
    with locked(attempt.stage_folder):
        current = read_published(attempt.stage_folder)
        if (current.digest if current else None) == attempt.replaces:
            os.replace(draft, attempt.stage_folder / MANIFEST)
            sync_folder(attempt.stage_folder)
            return manifest
    if current is not None and current.key == manifest.key:
        discard(attempt)
        return current
    raise InfrastructureError(
        f"{attempt.stage_folder} was published by another process ({current.attempt if current else 'removed'}) while "
        f"{attempt.name} ran. This attempt is stale and publishes nothing. Run the stage again to see what is there."
    )


def discard(attempt: Attempt) -> None:
    shutil.rmtree(attempt.folder, ignore_errors=True)


def find(run: Run, stage: Stage, key: str) -> Found | None:
    """An intact result of this stage with this key: this run's own, else one of the recipe's other runs.

    Raises:
        DataError: this run's own result has the key but is damaged. Damage in another run only means that it is not reused.
    """
    own = find_in(run.stage(stage), key)
    if own is not None:
        return own
    for folder in sorted(run.folder.parent.glob(f"*/{stage}")):
        with suppress(DataError):
            if folder != run.stage(stage) and (other := find_in(folder, key)):
                return other
    return None


def find_in(stage_folder: Place, key: str) -> Found | None:
    manifest = read_published(stage_folder)
    if manifest is None or manifest.key != key:
        return None
    verify(manifest, stage_folder)
    return Found(manifest, stage_folder)


def collect_orphans(stage_folder: Path, published: Manifest | None) -> None:
    """Remove attempts of dead processes on this host; those of other hosts may be alive and stay."""
    for folder in stage_folder.glob("attempt-*"):
        if published is not None and published.attempt.startswith(f"{folder.name}/"):
            continue
        try:
            owner = json.loads((folder / OWNER).read_text())
        except (OSError, ValueError):
            continue
        is_ours = owner["host"] == socket.gethostname()
        if is_ours and process_start(owner["pid"]) != owner["started"]:
            shutil.rmtree(folder, ignore_errors=True)


def process_start(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None if there is none. Tells a live pid from a reused one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_durably(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
