"""A published result laid on a store: its files first, its manifest last, by a put that fails if another one was there before."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pipeline import storage
from pipeline.attempt import Found, read_published
from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import Manifest, verify_sizes
from pipeline.paths import MANIFEST, Remote


def find(stage_folder: Remote, key: str) -> Found | None:
    """A result with this key whose files are all there, by their sizes; whoever reads it verifies their digests."""
    current = read_published(stage_folder)
    return Found(current, stage_folder) if current is not None and current.key == key and is_whole(current, stage_folder) else None


def publish(found: Found, stage_folder: Remote, tell: Callable[[str], None]) -> Found:
    """Lay a result that is published on this machine on a store as well.

    A copy that was killed leaves files that no manifest names; the next one writes the same names. What a replaced manifest named stays,
    since a training elsewhere may be reading it.

    Args:
        found: a result under the root.
        stage_folder: where its manifest will be.
        tell: hears how much is uploaded, before it is.

    Returns:
        What the store has now: this result, or an equal request's that another process laid there meanwhile.

    Raises:
        ConfigError: the store cannot put on a condition (HDFS).
        InfrastructureError: it failed, or something else was published meanwhile; that stays.
    """
    manifest, target = found.manifest, stage_folder / MANIFEST
    seen = storage.version_of(target)
    current = read_published(stage_folder)
    if current is not None and current.digest == manifest.digest and is_whole(current, stage_folder):
        return Found(current, stage_folder)
    source = of_another_run(manifest, stage_folder) or found.local_files
    doing = f"uploading {num_bytes(manifest) / 1e6:,.1f} MB" if source == found.local_files else f"copying {source}"
    tell(f"{doing} to {stage_folder}, {len(manifest.files)} files")
    storage.put_files(source, stage_folder / manifest.attempt, [entry.path for entry in manifest.files])
    if storage.put_if_unchanged(target, manifest.model_dump_json(indent=1).encode(), seen):
        return Found(manifest, stage_folder)
    current = read_published(stage_folder)
    if current is not None and current.key == manifest.key:
        return Found(current, stage_folder)
    raise InfrastructureError(
        f"{stage_folder} was published by another process ({current.attempt if current else 'removed'}) while {manifest.attempt} was "
        "uploaded. This one is stale and publishes nothing there. Run the stage again to see what is there."
    )


def of_another_run(manifest: Manifest, stage_folder: Remote) -> Remote | None:
    """The same files in another run of the recipe on this store, newest first by its name."""
    for run in sorted(storage.folders(stage_folder.parent.parent), key=str, reverse=True):
        folder = run / stage_folder.name
        with suppress(DataError):
            other = read_published(folder) if folder != stage_folder else None
            if other is not None and other.content_digest == manifest.content_digest and is_whole(other, folder):
                return folder / other.attempt
    return None


def num_bytes(manifest: Manifest) -> int:
    return sum(entry.bytes for entry in manifest.files)


def is_whole(manifest: Manifest, stage_folder: Remote) -> bool:
    try:
        verify_sizes(manifest, stage_folder)
    except DataError:
        return False
    return True
