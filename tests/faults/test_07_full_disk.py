"""The disk is full while data is prepared: exit 4 that says so, nothing published; with room again the same command ends well."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import yaml

from tests.conftest import PROJECT, pipeline
from tests.prepare.test_cluster import write_rows

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[str], None]]:
    """Makes `tmp_path / "runs"` a file system of so many bytes; called again, one of another size."""
    folder = tmp_path / "runs"
    folder.mkdir()

    def mount(size: str, *more: str) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", *more, "tmpfs", folder], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"this machine does not let root mount: {done.stderr.strip()}")

    with ExitStack() as stack:
        mount("700k")
        stack.callback(subprocess.run, ["umount", folder], check=True)
        yield lambda size: mount(size, "-o", "remount")


def test_a_disk_that_is_full_before_spark_starts_is_told(small_disk, tmp_path):
    done = pipeline("prepare", PROJECT / "conf" / "digits.yaml", root=tmp_path / "runs")
    assert done.code == 4 and "The disk is full" in done.err and "Traceback" not in done.err, done.err
    assert not list((tmp_path / "runs").rglob("manifest.json"))


def test_a_disk_that_fills_up_while_spark_writes_is_told_and_with_room_the_same_command_ends_well(small_disk, tmp_path):
    small_disk("6m")
    write_rows(tmp_path / "rows.parquet", 100_000)
    columns = {**{f"x{index}": {"kind": "number"} for index in range(10)}, "label": {"kind": "category", "role": "label"}}
    recipe = {
        "name": "rows",
        "source": {"format": "parquet", "path": str(tmp_path / "rows.parquet")},
        "columns": columns,
        "clean": {"max_dropped": 0.05, "rules": ["drop_duplicates"]},
        "model": {"name": "mlp"},
        "register": {"name": "rows"},
    }
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    full = pipeline("prepare", tmp_path / "rows.yaml", root=tmp_path / "runs")
    assert full.code == 4 and "The disk is full" in full.err and "Traceback" not in full.err, full.err
    assert not list((tmp_path / "runs").rglob("manifest.json"))
    small_disk("200m")
    again = pipeline("prepare", tmp_path / "rows.yaml", root=tmp_path / "runs")
    assert again.code == 0, again.err
