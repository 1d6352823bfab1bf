"""Rows leave Spark in an order of their own, what is counted of them adds up in any order, and nothing of it stays behind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.attempt import read_published
from pipeline.errors import DataError, InfrastructureError
from pipeline.manifest import verify
from pipeline.prepare import job, sketching
from pipeline.prepare.columns import CONTENT, KEY, ORDER, RAW, REASON, RULE
from pipeline.prepare.layout import FilePlan
from pipeline.prepare.sketch import category_sketch, number_sketch
from pipeline.prepare.sketching import STATE, collect_merged, state_batch
from pipeline.prepare.staging import name_rows, read_staged
from pipeline.prepare.tally import Tally, load_tally, merge_tallies
from pipeline.prepare.task_files import begin_folder, take_files, write_arrow
from pipeline.prepare.value_sample import SAMPLE
from pipeline.prepare.write import write_aside
from pipeline.schema import SAMPLE_ID, SPLITS
from tests.prepare.conftest import many_rows, published, write_csv

# Order and names

SCHEMA = pa.schema(
    [(ORDER, pa.int64()), *((name, pa.int64()) for name in CONTENT), *((name, pa.string()) for name in (KEY, RULE, REASON, RAW))]
)
KEPT = (None, None, None)
DROPPED = st.tuples(
    st.sampled_from(["unreadable", "drop_nulls"]), st.sampled_from(["x: abc", "x: xyz"]), st.sampled_from(["{}", '{"x":1}'])
)
CONTENTS = st.tuples(st.integers(-2, 2), st.integers(-1, 1))
KEYS = {
    "a": (7, 0),
    "b": (7, 10),
    None: (3, 20),
}  # (ORDER, which two keys may share; what the key, a part of the content, adds to its hash)


@st.composite
def staged_rows(draw, has_key: bool) -> list[tuple]:
    rows = []
    for (high, low), fate in draw(st.lists(st.tuples(CONTENTS, st.one_of(st.just(KEPT), DROPPED)), min_size=1, max_size=25)):
        key = draw(st.sampled_from(["a", "b"] if fate == KEPT else ["a", "b", None])) if has_key else None
        order, more = KEYS[key] if has_key else (hash((high, low)), 0)
        rows.append((order, high + more, low, key, *fate))
    return rows


def as_table(rows: list[tuple]) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), SCHEMA, strict=True)], schema=SCHEMA
    )


def sort_rows(rows: pa.Table) -> pa.Table:
    named, order = name_rows(rows)
    return named.take(pa.array(order))


@given(st.booleans().flatmap(staged_rows), st.randoms())
def test_rows_come_to_the_same_order_and_names_whatever_order_they_arrive_in(rows, random):
    found = sort_rows(as_table(rows))
    shuffled = rows.copy()
    random.shuffle(shuffled)
    assert sort_rows(as_table(shuffled)).equals(found)
    assert Counter(zip(*(found[name].to_pylist() for name in SCHEMA.names), strict=True)) == Counter(rows)


@given(st.booleans().flatmap(staged_rows))
def test_rows_that_share_a_key_or_their_content_are_numbered_in_the_order_of_content(rows):
    found = sort_rows(as_table(rows)).to_pylist()
    assert [row[ORDER] for row in found] == sorted(row[ORDER] for row in found)
    groups: dict[str | None, list[dict]] = {}
    for row in found:
        stem = row[KEY] if any(row[KEY] for row in found) else f"{row[CONTENT[0]] % 2**64:016x}{row[CONTENT[1]] % 2**64:016x}"
        groups.setdefault(stem, []).append(row)
    for stem, members in groups.items():
        assert [row[SAMPLE_ID] for row in members] == [
            stem and (stem if index == 1 else f"{stem}~{index}") for index in range(1, len(members) + 1)
        ]
        assert [tuple(row[name] for name in CONTENT) for row in members] == sorted(tuple(row[name] for name in CONTENT) for row in members)


def test_a_dropped_row_does_not_change_the_name_of_a_kept_one_with_the_same_content():
    kept, dropped = (7, 1, 2, None, *KEPT), (7, 1, 2, None, "unreadable", "x: abc is not a finite number", "{}")
    for rows in ([kept, dropped], [dropped, kept]):
        found = sort_rows(as_table(rows)).to_pylist()
        assert [(row[SAMPLE_ID], row[RULE]) for row in found] == [(f"{1:016x}{2:016x}", None), (f"{1:016x}{2:016x}~2", "unreadable")]


# Tallies

COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)).map(Counter)
TIMES = st.tuples(st.floats(-1e9, 1e9), st.floats(0, 1e9)).map(lambda pair: (pair[0], sum(pair)))
NUMBERS = st.lists(st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)), max_size=20)
TEXTS = st.lists(st.sampled_from(["red", "blue", "ß", None]), max_size=20)


@st.composite
def tallies(draw) -> list[Tally]:
    """Of partitions, which have numbers of their own; some have no train row."""
    found = []
    for partition in range(draw(st.integers(1, 5))):
        tally = Tally(rows=draw(st.integers(0, 9)), dropped=draw(COUNTS), changed=draw(COUNTS), nulls=draw(COUNTS))
        tally.quarantined = {str(partition): draw(st.integers(0, 9))}
        for split in draw(st.lists(st.sampled_from(SPLITS), unique=True)):
            tally.labels[split], tally.staged[split], tally.times[split] = (
                draw(COUNTS),
                {str(partition): draw(st.integers(1, 9))},
                draw(TIMES),
            )
        if "train" in tally.staged:
            tally.sketches = {"x": number_sketch(np.array(draw(NUMBERS))), "colour": category_sketch(pa.array(draw(TEXTS), pa.string()))}
            tally.totals = [[draw(st.integers(0, 9)) for _ in range(3)] for _ in range(2)]
        found.append(tally)
    return found


@given(tallies(), st.randoms(), st.integers(0, 5))
def test_tallies_merge_to_the_same_bytes_in_any_order_and_in_any_groups(parts, random, cut):
    whole = merge_tallies([part.dump() for part in parts])
    random.shuffle(parts)
    states = [part.dump() for part in parts]
    assert merge_tallies(states) == whole
    groups = [group for group in (states[:cut], states[cut:]) if group]
    assert merge_tallies([merge_tallies(group) for group in groups]) == whole


@given(tallies())
def test_a_merged_tally_has_the_sums_of_its_parts(parts):
    whole = load_tally(merge_tallies([part.dump() for part in parts]))
    assert whole.rows == sum(part.rows for part in parts)
    assert +whole.dropped == reduce(Counter.__add__, (part.dropped for part in parts), Counter())
    for split in SPLITS:
        assert whole.kept(split) == sum(part.kept(split) for part in parts)
        times = [part.times[split] for part in parts if split in part.times]
        assert whole.times.get(split) == ((min(first for first, _ in times), max(last for _, last in times)) if times else None)
    channels = [part.totals for part in parts if part.totals]
    assert np.array_equal(np.array(whole.totals), np.sum(channels, axis=0) if channels else np.array([]))


def make_states(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for number in batch.column(0).to_pylist():
            values = np.random.default_rng(number).normal(size=2000).round(4)
            sketches = {"x": number_sketch(values), "text": category_sketch(pa.array(values.astype(str)))}
            yield state_batch(Tally(rows=2000, dropped=Counter({f"rule {number}": number}), sketches=sketches).dump())


@pytest.mark.spark
def test_many_partitions_are_merged_on_the_workers_to_the_same_tally(spark, monkeypatch):
    states = spark.range(0, 10, 1, 10).mapInArrow(make_states, STATE)
    at_once = collect_merged(states, 10, merge_tallies)
    monkeypatch.setattr(sketching, "FEW_PARTITIONS", 4)
    assert collect_merged(states, 10, merge_tallies) == at_once
    assert load_tally(at_once).rows == 20_000 and not load_tally(at_once).sketches["x"].is_complete


@pytest.mark.parametrize("count", [SAMPLE, SAMPLE + 1, 1100, 2000])
def test_there_are_never_more_distinct_values_than_rows(count):
    for seed in range(20):
        values = np.random.default_rng(seed).normal(size=count)
        for sketch in (number_sketch(values), category_sketch(pa.array(values.astype(str)))):
            assert 0.85 * count < sketch.distinct <= count


# What stays behind


def leftovers(root) -> list[str]:
    return [path.name for path in root.rglob("*") if path.name == "work" or path.name.startswith(".part-") or path.suffix == ".arrow"]


@pytest.mark.spark
def test_staged_rows_are_gone_after_success_and_a_failed_write_leaves_the_last_result(prepare, table_recipe, tmp_path, monkeypatch):
    recipe = table_recipe(write_csv(tmp_path / "raw.csv", many_rows()))
    first = prepare(recipe)
    assert leftovers(tmp_path) == []
    before = first.found.folder.joinpath("manifest.json").read_bytes()

    write_csv(tmp_path / "raw.csv", many_rows(90))
    plan = job.plan
    monkeypatch.setattr(job, "plan", lambda *arguments: [*plan(*arguments), FilePlan("test", 999, ((999, 0, 1),))])
    with pytest.raises(InfrastructureError, match="The Spark job failed"):
        prepare(recipe)
    assert leftovers(tmp_path) == [] and len(list(tmp_path.rglob("part-*.parquet"))) == sum(
        "part-" in entry.path for entry in first.manifest.files
    )
    assert first.found.folder.joinpath("manifest.json").read_bytes() == before
    verify(read_published(first.found.folder), first.found.folder)

    monkeypatch.setattr(job, "plan", plan)
    again = prepare(recipe)
    assert again.manifest.key != first.manifest.key and leftovers(tmp_path) == []
    assert json.loads(first.found.folder.joinpath("manifest.json").read_bytes())["key"] == again.manifest.key


@pytest.mark.spark
def test_staged_rows_are_gone_after_data_was_refused(prepare, table_recipe, tmp_path):
    with pytest.raises(DataError, match="would be dropped"):
        prepare(table_recipe(write_csv(tmp_path / "raw.csv", [*many_rows(), "abc,even"])))
    assert leftovers(tmp_path) == [] and published(tmp_path) == []


@dataclass(frozen=True)
class Twin:
    """One of two tasks over the same partition."""

    attempt: int

    def partitionId(self) -> int:  # noqa: N802  # Spark's names
        return 3

    def taskAttemptId(self) -> int:  # noqa: N802
        return self.attempt


def test_only_files_of_the_task_that_was_counted_are_taken(tmp_path):
    work, files, tallies = tmp_path / "work", tmp_path / "files", {}
    for attempt, num_rows in ((7, 5), (9, 2)):  # the second was killed, and its input ended early
        tallies[attempt] = Tally()
        folder = begin_folder(work, Twin(attempt), tallies[attempt])
        for path in ("train/00003.arrow", "quarantine/part-00003.parquet"):
            write_arrow(pa.table({"x": range(num_rows)}), folder / path)
    for name in tallies[7].writers.values():
        take_files(work / "tasks" / name, work, files)
    assert read_staged(work, "train", 3).num_rows == 5
    assert pa.ipc.open_file(files / "quarantine/part-00003.parquet").read_all().num_rows == 5
    assert [path for path in files.rglob("*") if path.is_file()] == [files / "quarantine/part-00003.parquet"]


def test_half_a_file_is_never_among_the_results_files(tmp_path):
    files, work = tmp_path / "files", tmp_path / "work"
    work.mkdir()

    def killed(draft):
        draft.write_bytes(b"half")
        raise SystemExit  # what Spark's workers get

    with pytest.raises(SystemExit):
        write_aside(files / "data/train/part-00000.parquet", work, 7, killed)
    assert [path.name for path in files.rglob("*") if path.is_file()] == []
    write_aside(files / "data/train/part-00000.parquet", work, 8, lambda draft: draft.write_bytes(b"whole"))
    assert (files / "data/train/part-00000.parquet").read_bytes() == b"whole"


@pytest.mark.spark
def test_the_draft_of_a_killed_task_is_no_part_of_the_result(prepare, table_recipe, tmp_path, monkeypatch):
    plan = job.plan

    def plan_after_a_kill(recipe, tally, packing):
        (next((tmp_path / "runs").rglob("attempt-*/work")) / ".part-00000.parquet.99").write_bytes(b"half")
        return plan(recipe, tally, packing)

    monkeypatch.setattr(job, "plan", plan_after_a_kill)
    outcome = prepare(table_recipe(write_csv(tmp_path / "raw.csv", many_rows())))
    assert not [path for path in outcome.found.files.rglob("*") if path.name.startswith(".")]
    assert leftovers(tmp_path) == []
