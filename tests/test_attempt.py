"""Attempts, publishing and reuse, with real files and real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import attempt as attempts
from pipeline.attempt import OWNER, begin, find, publish, read_published
from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import Manifest, describe_files, verify
from pipeline.paths import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path, "demo", "manual-1")


def manifest_of(attempt: attempts.Attempt, key: str = "k", **facts: object) -> Manifest:
    files = describe_files(attempt.files)
    return Manifest(
        stage="prepare", recipe="demo", run_id="manual-1", key=key, attempt=attempt.published_name,
        started_at=attempt.started_at, seconds=attempt.seconds, files=files, facts=facts,
    )  # fmt: skip


def finish(run: Run, text: str = "rows", key: str = "k") -> Manifest:
    attempt = begin(run.stage("prepare"))
    (attempt.files / "part.txt").write_text(text)
    return publish(attempt, manifest_of(attempt, key))


def test_a_published_result_is_found_by_its_key_and_no_other(run):
    manifest = finish(run)
    found = find(run, "prepare", "k")
    assert found is not None and found.manifest == manifest and (found.files / "part.txt").read_text() == "rows"
    assert find(run, "prepare", "other") is None


def test_an_attempt_that_was_not_published_is_not_found(run):
    attempt = begin(run.stage("prepare"))
    (attempt.files / "part.txt").write_text("rows")
    assert find(run, "prepare", "k") is None


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_text("rowz"), r"has SHA-256 .*, its manifest says"),
        (lambda path: path.write_text("row"), "has 3 bytes, its manifest says 4"),
        (lambda path: path.unlink(), "is in the manifest but not there"),
    ],
    ids=["bit flip", "truncated", "removed"],
)
def test_damage_to_a_published_file_is_named_and_not_reused(run, damage, says):
    manifest = finish(run)
    damage(run.stage("prepare") / manifest.attempt / "part.txt")
    with pytest.raises(DataError, match=f"part.txt {says}.*--force"):
        find(run, "prepare", "k")


def test_damage_in_another_run_only_means_that_it_is_not_reused(run, tmp_path):
    manifest = finish(run)
    (run.stage("prepare") / manifest.attempt / "part.txt").write_text("rowz")
    assert find(Run(tmp_path, "demo", "manual-2"), "prepare", "k") is None


def test_a_manifest_that_is_not_one_is_a_data_error(run):
    finish(run)
    (run.stage("prepare") / "manifest.json").write_text('{"format": 1, "stage": "prepare"}')
    with pytest.raises(DataError, match=r"is not a manifest of this version.*--force"):
        find(run, "prepare", "k")


def test_an_attempt_that_woke_up_too_late_publishes_nothing(run):
    zombie = begin(run.stage("prepare"))
    (zombie.files / "part.txt").write_text("old")
    finish(run, "new", key="k2")
    with pytest.raises(InfrastructureError, match="was published by another process"):
        publish(zombie, manifest_of(zombie))
    current = read_published(run.stage("prepare"))
    assert current is not None and current.key == "k2"
    verify(current, run.stage("prepare"))


def test_two_attempts_at_the_same_work_publish_once(run):
    first, second = begin(run.stage("prepare")), begin(run.stage("prepare"))
    for attempt in (first, second):
        (attempt.files / "part.txt").write_text("rows")
    published = publish(first, manifest_of(first))
    assert publish(second, manifest_of(second)) == published
    assert not second.folder.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.attempt import begin
attempt = begin(Path(sys.argv[1]))
(attempt.files / "part.txt").write_text("half")
print(attempt.name, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_attempt_leaves_the_old_result_and_is_collected_by_the_next(run):
    old = finish(run)
    done = subprocess.run([sys.executable, "-c", KILLED, str(run.stage("prepare"))], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    orphan = run.stage("prepare") / done.stdout.strip()
    assert orphan.is_dir() and read_published(run.stage("prepare")) == old
    begin(run.stage("prepare"))
    assert not orphan.exists()


def test_an_attempt_of_a_living_process_or_another_host_is_left_alone(run):
    mine = begin(run.stage("prepare"))
    other = begin(run.stage("prepare"))
    (other.folder / OWNER).write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": "0"}))
    begin(run.stage("prepare"))
    assert mine.folder.is_dir() and other.folder.is_dir()


def test_a_folder_that_cannot_be_written_is_an_infrastructure_error(tmp_path):
    (tmp_path / "demo").write_text("a file where a folder should be")
    with pytest.raises(InfrastructureError, match="Cannot write under .*--root"):
        begin(tmp_path / "demo" / "prepare")


def test_a_leftover_of_a_writer_is_never_published(run):
    attempt = begin(run.stage("prepare"))
    (attempt.files / ".part.crc").write_text("")
    with pytest.raises(DataError, match="leftover"):
        manifest_of(attempt)


RACE = """
import sys
from pathlib import Path
from pipeline.attempt import begin, publish
from pipeline.manifest import Manifest, describe_files
folder, key = Path(sys.argv[1]), sys.argv[2]
attempt = begin(folder)
(attempt.files / "part.txt").write_text(key)
about = dict(stage="prepare", recipe="demo", run_id="r", key=key, started_at="", seconds=0, facts={})
manifest = Manifest(**about, attempt=attempt.published_name, files=describe_files(attempt.files))
print("ready", flush=True)
sys.stdin.readline()
try:
    publish(attempt, manifest)
    print("published")
except Exception as error:
    print(type(error).__name__)
"""


def test_of_many_processes_that_publish_at_once_one_wins_and_nothing_is_mixed(run):
    command = [sys.executable, "-c", RACE, str(run.stage("prepare"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    racers = [subprocess.Popen([*command, f"key{index}"], **pipes) for index in range(6)]
    assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 6  # all have begun before any publishes
    for racer in racers:
        racer.stdin.write("\n")
    said = [racer.communicate(timeout=60)[0].strip() for racer in racers]
    assert sorted(said) == ["InfrastructureError"] * 5 + ["published"]
    manifest = read_published(run.stage("prepare"))
    assert manifest is not None and manifest.key == f"key{said.index('published')}"
    verify(manifest, run.stage("prepare"))


def test_a_process_is_told_from_a_later_one_with_its_number():
    assert attempts.process_start(os.getpid()) is not None
    assert attempts.process_start(2**22 + 1) is None
