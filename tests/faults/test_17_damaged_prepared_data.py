"""Prepared data that was damaged after it was published: exit 3 with the file's name, before any rank starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.manifest import Manifest
from pipeline.paths import Run
from pipeline.schema import files_of
from tests.conftest import FinishedRun, pipeline

pytestmark = [pytest.mark.e2e, pytest.mark.slow]  # the checks themselves are tested in tests/feed and tests/test_attempt.py


def truncate_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def corrupt_page_header(path: Path) -> None:
    overwrite(path, pq.ParquetFile(path).metadata.row_group(0).column(0).data_page_offset, b"\xff" * 8)


def flip_bit(path: Path) -> None:
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    place = column.data_page_offset + column.total_compressed_size - 3
    overwrite(path, place, bytes([path.read_bytes()[place] ^ 1]))


def overwrite(path: Path, begin: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[begin : begin + len(content)] = content
    path.write_bytes(data)


def rename(path: Path) -> None:
    path.rename(path.with_name("part-99999.parquet"))


@pytest.fixture
def copied(iris_run: FinishedRun, tmp_path: Path) -> tuple[Run, Path]:
    """The run with a copy of its prepared data, and the last file of its train rows."""
    run = Run(tmp_path, iris_run.run.recipe, iris_run.run.run_id)
    shutil.copytree(iris_run.run.stage("prepare"), run.stage("prepare"))
    manifest = Manifest.model_validate_json((run.stage("prepare") / "manifest.json").read_text())
    return run, run.stage("prepare") / manifest.attempt / files_of(manifest, "train")[-1].path


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate_footer, "bytes, its manifest says"),
        (corrupt_page_header, "has SHA-256"),
        (flip_bit, "has SHA-256"),
        (Path.unlink, "is in the manifest but not there"),
        (rename, "is in the manifest but not there"),
    ],
    ids=["17 truncated footer", "18 corrupt page header", "19 flipped bit", "20 removed", "20 renamed"],
)
def test_damage_is_found_before_a_rank_starts(iris_run, copied, damage, says):
    run, path = copied
    damage(path)
    command = pipeline("train", iris_run.path, root=run.root)
    assert command.code == 3 and str(path) in command.err and says in command.err, command.err
    assert not run.stage("train").exists()


def test_a_file_that_was_added_is_no_part_of_the_data(iris_run, copied):
    run, path = copied
    shutil.copy(path, path.with_name("part-99999.parquet"))
    before, after = (pipeline("plan", iris_run.path, "--json", root=root) for root in (iris_run.root, run.root))
    assert after.code == 0 and after.out == before.out
