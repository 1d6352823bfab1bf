"""What a Python worker of Spark spends between two tasks."""

from __future__ import annotations

import gc
import importlib
import sys
import zipfile
import zipimport
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.prepare import tasks


@pytest.fixture
def packed_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive with a module, as pyspark.zip is one on a worker's path; imported from."""
    archive = tmp_path / "library.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packed_library/__init__.py", "")
        file.writestr("packed_library/later.py", "VALUE = 7")
    monkeypatch.syspath_prepend(str(archive))
    importlib.import_module("packed_library")
    yield archive
    for name in [name for name in sys.modules if name.startswith("packed_library")]:
        del sys.modules[name]


def test_a_settled_worker_reads_no_archive_before_its_next_task_and_still_imports_from_it(packed_module, monkeypatch):
    read, reads = zipimport._read_directory, []
    monkeypatch.setattr(zipimport, "_read_directory", lambda archive: reads.append(archive) or read(archive))
    importlib.invalidate_caches()  # as PySpark does before a task
    assert str(packed_module) in reads
    reads.clear()
    tasks.settle()
    importlib.invalidate_caches()
    assert str(packed_module) not in reads
    assert importlib.import_module("packed_library.later").VALUE == 7


def test_a_settled_worker_collects_no_modules_and_freezes_again_only_when_some_were_loaded(packed_module, monkeypatch):
    monkeypatch.setitem(tasks._settled, "modules", 0)
    frozen = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(len(sys.modules)))
    tasks.settle()
    tasks.settle()
    assert len(frozen) == 1
    importlib.import_module("packed_library.later")
    tasks.settle()
    assert len(frozen) == 2


def test_a_function_in_a_worker_gives_what_it_gives_without(monkeypatch):
    settled = []
    monkeypatch.setattr(tasks, "settle", lambda: settled.append(True))
    assert list(tasks.in_worker(lambda batches: (2 * batch for batch in batches))([1, 2])) == [2, 4]
    assert settled == [True]
