"""Which staged rows go into which file."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.prepare.layout import FilePlan, plan_files
from pipeline.schema import SPLITS
from tests.prepare.conftest import many_rows, rows, write_csv

PARTITIONS = st.dictionaries(st.integers(0, 200), st.integers(0, 40), max_size=8)
STAGED = st.dictionaries(st.sampled_from(SPLITS), PARTITIONS)
ROW_BYTES = st.fixed_dictionaries({split: st.integers(0, 5000) for split in SPLITS})


def plan(staged, row_bytes=None, file_bytes=1000, min_files=1) -> dict[str, list[FilePlan]]:
    plans = plan_files(staged, row_bytes=row_bytes or dict.fromkeys(SPLITS, 1), file_bytes=file_bytes, min_files=min_files)
    return {split: [file for file in plans if file.split == split] for split in SPLITS}


@given(STAGED, ROW_BYTES, st.integers(1, 20_000), st.integers(1, 20))
def test_every_staged_row_is_in_exactly_one_file_and_in_its_order(staged, row_bytes, file_bytes, min_files):
    for split, files in plan(staged, row_bytes, file_bytes, min_files).items():
        placed = [(partition, row) for file in files for partition, start, stop in file.parts for row in range(start, stop)]
        assert placed == [(partition, row) for partition, count in sorted(staged.get(split, {}).items()) for row in range(count)]
        assert [file.path for file in files] == [f"data/{split}/part-{index:05d}.parquet" for index in range(len(files))]


@given(STAGED, ROW_BYTES, st.integers(1, 20_000), st.integers(1, 20))
def test_files_of_a_split_are_even_and_none_is_larger_than_asked_by_more_than_a_row(staged, row_bytes, file_bytes, min_files):
    for split, files in plan(staged, row_bytes, file_bytes, min_files).items():
        total, sizes = sum(staged.get(split, {}).values()), [file.rows for file in files]
        assert len(files) >= min(min_files, total)
        assert max(sizes, default=0) - min(sizes, default=0) <= 1 and min(sizes, default=1) >= 1
        assert max(sizes, default=0) * row_bytes[split] < file_bytes + row_bytes[split] + 1


@given(STAGED, ROW_BYTES, st.integers(1, 20_000), st.integers(2, 20))
def test_there_are_no_more_files_than_size_or_number_ask_for(staged, row_bytes, file_bytes, min_files):
    for split, files in plan(staged, row_bytes, file_bytes, min_files).items():
        if len(files) > min_files:
            total = sum(file.rows for file in files)
            assert total * max(row_bytes[split], 1) > (len(files) - 1) * file_bytes


def test_a_file_goes_over_several_partitions_and_a_partition_over_several_files():
    (first, second) = plan({"train": {7: 2, 3: 4, 5: 0}}, min_files=2)["train"]
    assert first.parts == ((3, 0, 3),) and second.parts == ((3, 3, 4), (7, 0, 2))


@pytest.mark.spark
def test_prepared_files_are_even_and_of_the_size_asked_for(prepare, table_recipe, tmp_path):
    """A bucket is four bytes: 1,024 of them make 4 KiB a row, 256 rows a megabyte."""
    columns = {"x": {"kind": "number"}, "town": {"kind": "category"}, "label": {"kind": "category", "role": "label"}}
    source = write_csv(tmp_path / "raw.csv", [f"{number},{line}" for number, line in enumerate(many_rows(2000))], "x,town,label")
    encode = {"town": {"method": "hash", "buckets": 1023}}
    outcome = prepare(table_recipe(source, columns=columns, encode=encode, prepare={"file_mb": 1, "min_files": 3}))
    names = set()
    for split in SPLITS:
        files = [entry for entry in outcome.manifest.files if entry.path.startswith(f"data/{split}/")]
        total = sum(entry.rows for entry in files)
        assert len(files) == max(3, -(-total // 256))
        assert {entry.rows for entry in files} <= {total // len(files), -(-total // len(files))}
        assert [pq.read_metadata(outcome.found.files / entry.path).num_rows for entry in files] == [entry.rows for entry in files]
        names |= set(rows(outcome, f"data/{split}")["sample_id"].to_pylist())
    assert len(names) == 2000 and len([entry for entry in outcome.manifest.files if "data/train" in entry.path]) > 3


def test_a_file_that_one_column_of_bytes_cannot_hold_is_refused(table_recipe, tmp_path):
    source = write_csv(tmp_path / "raw.csv", many_rows())
    assert table_recipe(source, prepare={"file_mb": 2000}).prepare.file_mb == 2000
    with pytest.raises(ConfigError, match=r"file_mb.*2000"):
        table_recipe(source, prepare={"file_mb": 2001})
