"""Copies on a disk: checked, within their limit, shared by processes, safe whenever one of them is killed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.config import Recipe
from pipeline.disk_cache import DiskCache, verify_and_keep
from pipeline.errors import DataError
from pipeline.manifest import FileEntry, Manifest
from pipeline.sections.feed import Feed
from tests.conftest import PROJECT


@pytest.fixture
def source(tmp_path):
    """Name, content -> a file and what a manifest says of it."""

    def write(name: str, content: bytes):
        path = tmp_path / name
        path.write_bytes(content)
        return path, FileEntry(path=f"data/{name}", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    return write


def held(cache, path, entry) -> bytes | None:
    copy = cache.hold(path, entry)
    if copy is None:
        return None
    try:
        return copy.path.read_bytes()
    finally:
        copy.close()


def test_a_copy_is_made_once_and_serves_when_its_source_has_gone(source, tmp_path):
    path, entry = source("a", b"rows")
    cache = DiskCache(tmp_path / "copies", 100)
    assert held(cache, path, entry) == b"rows"
    path.unlink()
    assert held(cache, path, entry) == held(DiskCache(tmp_path / "copies", 100), path, entry) == b"rows"


def test_a_source_of_other_content_is_refused_and_leaves_nothing(source, tmp_path):
    path, entry = source("a", b"rows")
    path.write_bytes(b"rowz")
    with pytest.raises(DataError, match="its manifest says 4 of"):
        DiskCache(tmp_path / "copies", 100).hold(path, entry)
    assert [file.name for file in (tmp_path / "copies").iterdir()] == [".lock"]


def test_a_damaged_copy_is_fetched_again(source, tmp_path):
    path, entry = source("a", b"rows")
    held(DiskCache(tmp_path / "copies", 100), path, entry)
    (copy,) = (tmp_path / "copies").glob("*.parquet")
    copy.write_bytes(b"r0ws")
    assert held(DiskCache(tmp_path / "copies", 100), path, entry) == b"rows"


def test_copies_of_earlier_runs_make_room_oldest_first_and_those_of_this_one_stay(source, tmp_path):
    files = [source(name, name.encode() * 40) for name in "abcdef"]
    earlier = DiskCache(tmp_path / "copies", 100)
    assert held(earlier, *files[0]) and held(earlier, *files[1])
    for age, (_, entry) in zip((90, 60), files, strict=False):
        os.utime(tmp_path / "copies" / f"{entry.sha256}.parquet", (time.time() - age,) * 2)
    now = DiskCache(tmp_path / "copies", 100)
    names = lambda: {path.stem for path in (tmp_path / "copies").glob("*.parquet")}  # noqa: E731
    assert held(now, *files[2]) and names() == {files[1][1].sha256, files[2][1].sha256}
    assert held(now, *files[3]) and names() == {files[2][1].sha256, files[3][1].sha256}
    assert held(now, *files[4]) is None and names() == {files[2][1].sha256, files[3][1].sha256}
    assert sum(path.stat().st_size for path in (tmp_path / "copies").iterdir()) <= 100


def test_a_copy_that_is_being_read_is_not_removed(source, tmp_path):
    first, second = source("a", b"a" * 80), source("b", b"b" * 80)
    copy = DiskCache(tmp_path / "copies", 100).hold(*first)
    os.utime(copy.path, (time.time() - 60,) * 2)
    later = DiskCache(tmp_path / "copies", 100)
    assert later.hold(*second) is None
    copy.close()
    assert held(later, *second) == b"b" * 80


FETCH = """
import sys
from pathlib import Path
from pipeline import disk_cache
from pipeline.manifest import FileEntry
chunks = disk_cache.storage.chunks
def slow(where):
    for chunk in chunks(where):
        yield chunk[: len(chunk) // 2]
        print("half", flush=True)
        sys.stdin.read()
disk_cache.storage.chunks = slow
disk_cache.DiskCache(Path(sys.argv[1]), 1 << 20).hold(Path(sys.argv[2]), FileEntry.model_validate_json(sys.argv[3]))
"""


def test_a_fetch_that_is_killed_leaves_no_copy_and_no_lock(source, tmp_path):
    path, entry = source("a", b"rows" * 100)
    command = [sys.executable, "-c", FETCH, str(tmp_path / "copies"), str(path), entry.model_dump_json()]
    cache, found = DiskCache(tmp_path / "copies", 1 << 20), []
    waiting = threading.Thread(target=lambda: found.append(held(cache, path, entry)))
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as fetching:
        assert fetching.stdout.readline() == b"half\n"
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not list((tmp_path / "copies").glob("*.parquet"))  # it waits for who is fetching
        fetching.send_signal(signal.SIGKILL)
    waiting.join(60)
    assert found == [b"rows" * 100]
    assert not list((tmp_path / "copies").glob("*.part"))


def test_verifying_keeps_what_it_reads_and_finds_what_is_damaged(tmp_path):
    folder = tmp_path / "prepare" / "attempt-1"
    entries = []
    for name, content in (("data/train/a", b"rows"), ("statistics", b"numbers")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        entries.append(FileEntry(path=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()))
    facts = {"stage": "prepare", "recipe": "demo", "run_id": "manual-1", "started_at": "now", "seconds": 1.0, "facts": {}}
    manifest = Manifest(key="k", attempt="attempt-1", files=tuple(entries), **facts)
    cache = DiskCache(tmp_path / "copies", 1 << 20)
    verify_and_keep(manifest, tmp_path / "prepare", cache)
    assert [path.read_bytes() for path in (tmp_path / "copies").glob("*.parquet")] == [b"rows"]
    (folder / "statistics").write_bytes(b"numbres")
    with pytest.raises(DataError, match="statistics has SHA-256"):
        verify_and_keep(manifest, tmp_path / "prepare", cache)


def test_a_recipe_says_where_and_how_much(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert DiskCache.of(Feed()) is None
    cache = DiskCache.of(Feed(cache="disk", cache_mb=7))
    assert (cache.folder, cache.limit_bytes) == (tmp_path / "longhaul" / "prepared", 7 << 20)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert DiskCache.of(Feed(cache="disk", cache_folder=tmp_path / "mine")).folder == tmp_path / "mine"
    assert "cache_folder" in Recipe.model_json_schema()["$defs"]["Feed"]["properties"]
