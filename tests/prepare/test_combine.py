"""Statistics of several prepare results are those of all their rows; what cannot be put together says so, and what to do."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pyarrow as pa
import pytest

from pipeline.console import Console
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import Manifest, describe_files
from pipeline.prepare.combine import STATISTICS, as_record, combine, print_table
from pipeline.prepare.sketch import category_sketch, number_sketch, to_json
from pipeline.prepare.summary import summarise
from tests.conftest import pipeline


def rows_of(seed, count=3000):
    """Two columns of `count` rows, some without a value."""
    draw = np.random.default_rng(seed)
    ages = np.where(draw.random(count) < 0.1, np.nan, draw.lognormal(3, 1, count))
    return ages, [None if number % 50 == 0 else f"job {number % 7}" for number in draw.integers(0, 5000, count).tolist()]


def sketches_of(ages, jobs):
    return {"age": number_sketch(np.asarray(ages)), "job": category_sketch(pa.array(jobs, pa.string()))}


def publish(run, sketches, stage="prepare", content=None):
    """A finished stage folder in a run folder, with the statistics of `sketches`."""
    folder = run / stage
    files = folder / "attempt-0/files"
    files.mkdir(parents=True)
    if content is None:
        content = json.dumps({name: to_json(sketch) for name, sketch in sketches.items()})
    (files / STATISTICS).write_bytes(gzip.compress(content.encode(), mtime=0))
    manifest = Manifest(
        stage=stage,
        recipe="census",
        run_id=run.name,
        key=run.name,
        attempt="attempt-0/files",
        started_at="2026-01-03T00:00:00+00:00",
        seconds=1.0,
        files=describe_files(files),
        facts={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return run


def test_the_figures_of_several_results_are_those_of_all_their_rows(tmp_path):
    parts = [rows_of(seed) for seed in range(3)]
    runs = [publish(tmp_path / f"run-{index}", sketches_of(*part)) for index, part in enumerate(parts)]
    whole = sketches_of(np.concatenate([ages for ages, _ in parts]), [job for _, jobs in parts for job in jobs])
    assert combine(runs).columns == {name: summarise(sketch) for name, sketch in whole.items()}
    assert combine(runs[::-1]).columns == combine([runs[1] / "prepare", runs[0], runs[2]]).columns == combine(runs).columns


def test_one_result_is_itself(tmp_path):
    sketches = sketches_of(*rows_of(0))
    assert combine([publish(tmp_path / "run", sketches)]).columns == {name: summarise(sketch) for name, sketch in sketches.items()}


def test_what_is_no_prepare_result_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"elsewhere is not a folder. Give run folders, such as runs/RECIPE/RUN_ID"):
        combine([tmp_path / "elsewhere"])
    with pytest.raises(ConfigError, match=f"{tmp_path} has no prepare result.*`pipeline prepare RECIPE` makes one"):
        combine([tmp_path])
    run = publish(tmp_path / "run", sketches_of(*rows_of(0)), stage="train")
    with pytest.raises(ConfigError, match=f"{run}/train is a result of train, not of prepare. Give {run}/prepare"):
        combine([run / "train"])


def test_the_same_result_is_not_counted_twice(tmp_path):
    run = publish(tmp_path / "run", sketches_of(*rows_of(0)))
    with pytest.raises(ConfigError, match="are the same result: its rows would count twice. Leave one out."):
        combine([run, run / "prepare"])


def test_other_columns_or_kinds_are_refused(tmp_path):
    ages, jobs = rows_of(0)
    first = publish(tmp_path / "first", sketches_of(ages, jobs))
    text = category_sketch(pa.array(jobs, pa.string()))
    second = publish(tmp_path / "second", {"age": text, "town": text})
    expected = (
        f"{second}/prepare and {first}/prepare cannot be put together: the former has no column job, a column town more, age of another"
    )
    with pytest.raises(DataError, match=expected):
        combine([first, second])


def test_damaged_missing_and_foreign_statistics_are_refused(tmp_path):
    run = publish(tmp_path / "run", sketches_of(*rows_of(0)))
    (run / "prepare/attempt-0/files" / STATISTICS).write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"has 7 bytes, its manifest says \d+. Re-run the prepare stage"):
        combine([run])
    foreign = publish(tmp_path / "foreign", {}, content='{"age": {"kind": "number", "count": 3}}')
    with pytest.raises(DataError, match=r"does not hold column statistics of this version \(KeyError.*Prepare it again"):
        combine([foreign])
    old = publish(tmp_path / "old", {})
    manifest = json.loads((old / "prepare/manifest.json").read_text())
    (old / "prepare/manifest.json").write_text(json.dumps({**manifest, "files": []}))
    with pytest.raises(DataError, match=f"has no {STATISTICS}: an earlier version made it. Prepare it again"):
        combine([old])


def test_the_table_shows_every_column_and_obeys_nothing_in_the_data(tmp_path):
    hostile = "\x1b[31m[red]:smile:"
    sketches = {**sketches_of(*rows_of(0)), hostile: category_sketch(pa.array([hostile, None]))}
    console = Console(None)
    print_table(console.rich, combine([publish(tmp_path / "run", sketches)]))
    text = console.rich.file.getvalue()
    assert text.splitlines()[0].split() == "column values missing distinct mean std min 25 % median 75 % max most frequent".split()
    assert "\x1b" not in text and "\ufffd[31m[red]:smile:" in text and "50.0%" in text


def test_the_command_prints_a_table_or_one_line_for_programs(tmp_path):
    runs = [publish(tmp_path / f"run-{index}", sketches_of(*rows_of(index))) for index in range(2)]
    people, programs = pipeline("statistics", *runs, root=tmp_path), pipeline("statistics", *runs, "--json", root=tmp_path)
    assert people.code == 0 and people.out.startswith("column") and "age" in people.out
    assert programs.code == 0 and programs.err == people.out
    assert json.loads(programs.out) == as_record(combine(runs))


def test_the_command_ends_with_the_code_of_what_is_wrong(tmp_path):
    refused = pipeline("statistics", tmp_path, root=tmp_path)
    assert refused.code == 2 and refused.out == "" and refused.err.startswith(f"recipe error: {tmp_path} has no prepare result")
