"""Raw files: which are listed, and what is read of them. Mostly without the rest of the stage."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import config
from pipeline.config import Recipe
from pipeline.errors import ConfigError, DataError
from pipeline.prepare.columns import CONTENT, RAW, REASON
from pipeline.prepare.session import translated
from pipeline.prepare.source import RawFiles, list_files, list_remote
from pipeline.prepare.tables import read_table
from pipeline.sections.data import Source
from pipeline.stage import Outcome
from tests.conftest import TABLE as RECIPE
from tests.prepare.conftest import rows, write_csv

pytestmark = pytest.mark.spark

NUMBER, TEXT, LABEL = {"kind": "number"}, {"kind": "category"}, {"kind": "category", "role": "label"}
TABLE = {"x": NUMBER, "colour": TEXT, "day": TEXT, "label": LABEL}
ACCENTS = ["x,colour,label", "1,bleu clair,a", "2,vert foncé,b"]
WriteRecipe = Callable[..., Recipe]
Read = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def recipe_of(tmp_path) -> WriteRecipe:
    """A recipe for files of one format, the ending's if none is given; further arguments are keys of `source`."""

    def get(path: Path, columns: dict[str, Any] | None = None, clean: dict[str, Any] | None = None, **source: Any) -> Recipe:
        ending = path.suffix.lstrip(".")
        settings = {"format": ending if ending in ("jsonl", "parquet", "orc") else "csv", "path": str(path), **source}
        columns = columns or {"x": NUMBER, "colour": TEXT, "label": LABEL}
        recipe = {**RECIPE, "source": settings, "columns": columns, "clean": clean or {}}
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        return config.load(tmp_path / "recipe.yaml")

    return get


@pytest.fixture
def read(spark, recipe_of, tmp_path) -> Read:
    """Every row of some files as the stage reads it: declared columns, and what makes it unreadable."""

    def get(path: Path, columns: dict[str, Any] | None = None, **source: Any) -> list[dict[str, Any]]:
        recipe = recipe_of(path, columns, **source)
        with translated():
            return [row.asDict() for row in read_table(spark, recipe, list_files(recipe.source, tmp_path)).collect()]

    return get


def values(found: list[dict[str, Any]], *names: str) -> list[Any]:
    """Readable rows' values, sorted; of one column alone, not in tuples."""
    chosen = [tuple(row[name] for name in names) for row in found if row[REASON] is None]
    return sorted((row[0] if len(names) == 1 else row for row in chosen), key=repr)


def reasons(found: list[dict[str, Any]]) -> list[str]:
    return sorted(row[REASON] for row in found if row[REASON] is not None)


def data_digests(outcome: Outcome) -> dict[str, str]:
    return {entry.path: entry.sha256 for entry in outcome.manifest.files if entry.path.startswith("data/")}


def sample_rows(count: int = 80) -> list[dict[str, Any]]:
    days = ("2026-01-01", "2026-01-02")
    colours = ("red", "dark blue", "a, b", 'c "d"', None)
    return [
        {"x": index / 8 if index % 9 else None, "colour": colours[index % 5], "day": days[index % 2], "label": "ab"[index % 3 > 0]}
        for index in range(count)
    ]


def write(path: Path, table: list[dict[str, Any]], compress: Callable[[bytes], bytes] = bytes) -> Path:
    """Rows in the format of the path's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in table] for name in table[0]}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".orc":
        orc.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(columns))
        writer.writeheader()
        writer.writerows(table)
        path.write_bytes(compress(text.getvalue().encode()))
    return path


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


# The same rows


def test_the_same_rows_give_the_same_prepared_files_in_every_format(prepare, recipe_of, tmp_path):
    table = sample_rows()
    sources = [write(tmp_path / f"raw.{ending}", table) for ending in ("csv", "jsonl", "parquet", "orc")]
    sources.append(write(tmp_path / "raw.csv.gz", table, gzip.compress))
    found = {path.name: data_digests(prepare(recipe_of(path, TABLE), f"manual-{index}")) for index, path in enumerate(sources)}
    for index in range(3):
        write(tmp_path / "many" / f"{index}.csv", table[index::3])
    found["many"] = data_digests(prepare(recipe_of(tmp_path / "many" / "*.csv", TABLE), "manual-many"))
    for day in {row["day"] for row in table}:
        write(tmp_path / "by day" / f"day={day}" / "part.csv", [without(row, "day") for row in table if row["day"] == day])
    found["by day"] = data_digests(prepare(recipe_of(tmp_path / "by day", TABLE, format="csv"), "manual-day"))
    assert found["raw.csv"] and {name for name, digests in found.items() if digests != found["raw.csv"]} == set()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "orc"])
def test_the_order_of_columns_and_columns_that_nobody_declared_do_not_matter(read, tmp_path, ending):
    table = sample_rows(20)
    other = [{"extra": [index], **dict(reversed(row.items())), "more": "é"} for index, row in enumerate(table)]
    plain, mixed = read(write(tmp_path / f"a.{ending}", table), TABLE), read(write(tmp_path / f"b.{ending}", other), TABLE)
    assert len(plain) == 20 and values(plain, *TABLE, *CONTENT) == values(mixed, *TABLE, *CONTENT)


def test_folders_give_columns_also_where_the_files_have_one_of_that_name(read, tmp_path):
    write(tmp_path / "raw" / "day=2026-01-01" / "a.csv", [{"x": 1, "colour": "red", "day": "wrong", "label": "a"}])
    write(tmp_path / "raw" / "day=01" / "a.csv", [{"x": 2, "colour": "red", "day": "wrong", "label": "a"}])
    assert values(read(tmp_path / "raw", TABLE, format="csv"), "x", "day") == [(1.0, "2026-01-01"), (2.0, "01")]


# Lines


def test_a_line_of_json_that_is_not_one_object_is_unreadable(read, tmp_path):
    broken = ["[]", "null", "5", '"text"', "[1]", '[{"x": 1}, {"x": 2}]', '{"x": 1', '{"x": 1} more', '{"x": 1}{"x": 2}', '{"x": 1},']
    broken += ['{"x": 1}]', '{"x": 1}}', '{"x": [1, {"y": nul}]}']
    (tmp_path / "raw.jsonl").write_text("\n".join(['{"x": 7, "colour": "red", "label": "a"}\r', "", "  ", *broken]) + "\n")
    found = read(tmp_path / "raw.jsonl")
    assert values(found, "x", "colour") == [(7.0, "red")]
    assert reasons(found) == ["the line is not a JSON object"] * len(broken)
    assert all(any(json.dumps(line)[1:-1] in row[RAW] for row in found if row[REASON]) for line in broken)


def test_a_nested_value_of_json_is_text_and_a_word_is_no_number(read, tmp_path):
    lines = ['{"x": 1, "colour": {"a": [1, null]}, "label": true}', '{"x": "abc", "label": "a"}', '{"x": " 2 ", "label": 7, "colour": ""}']
    lines += ['{"x": NaN, "label": "a"}', '{"label": "b", "X": 9}']
    (tmp_path / "raw.jsonl").write_text("\n".join(lines))
    found = read(tmp_path / "raw.jsonl")
    assert values(found, "x", "colour", "label") == [(1.0, '{"a":[1,null]}', "true"), (2.0, None, "7"), (None, None, "b")]
    assert reasons(found) == ['x: "NaN" is not a finite number', "x: abc is not a finite number"]


def test_csv_is_read_as_other_programs_write_it(read, tmp_path):
    texts = ["plain", "a, b", 'he said "no"', "back\\slash", 'ends with \\"', "semi;colon", "'single'", "#hash"]
    found = read(write(tmp_path / "raw.csv", [{"x": 1, "colour": text, "label": "a"} for text in texts]))
    assert values(found, "colour") == sorted(texts, key=repr)
    (tmp_path / "raw.tsv").write_text('x\t"colour"\tlabel\r\n1\tred, blue\ta\r\n\r\n')
    assert values(read(tmp_path / "raw.tsv", separator="\t"), "colour") == ["red, blue"]


def test_a_line_break_inside_quotes_does_not_make_two_rows_out_of_one(read, tmp_path):
    source = write_csv(tmp_path / "raw.csv", ["1,red,a", '2,blue,"a', '3,b,c"', "4,red"], "x,colour,label")
    found = read(source)
    assert values(found, "x") == [1.0]
    opened, ragged = "the line opens a quotation mark that it does not close", "the line has more or fewer fields than the header"
    assert reasons(found) == [ragged, opened, opened]


@pytest.mark.parametrize("settings", [{}, {"null_values": ["", "?", "n/a"]}, {"null_values": ["?"]}], ids=["default", "several", "one"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_null_values_are_missing_and_other_texts_are_not(read, tmp_path, ending, settings):
    table = [{"x": x, "colour": colour, "label": "a"} for x, colour in (("1", "red"), ("?", "n/a"), ("2", "?"))]
    found = read(write(tmp_path / f"raw.{ending}", table), **settings)
    missing = settings.get("null_values", [""])
    assert values(found, "colour") == sorted(
        [None if row["colour"] in missing else row["colour"] for row in table if row["x"] != "?" or "?" in missing], key=repr
    )
    assert reasons(found) == ([] if "?" in missing else ["x: ? is not a finite number"])


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl"])
def test_accents_are_read_right_in_every_encoding(read, tmp_path, ending, encoding):
    csv_lines = ["x,colour,café,label", "1,bleu,é,a", "2,vert foncé,Œ" if encoding != "latin-1" else "2,vert foncé,ß", "3,ü,ö,b"]
    csv_lines[2] += ",b"
    rows_of = list(csv.DictReader(csv_lines))
    text = "\r\n".join(csv_lines if ending != "jsonl" else [json.dumps(row, ensure_ascii=False) for row in rows_of]) + "\r\n"
    content = text.encode(encoding) if encoding != "utf-16-be" else b"\xfe\xff" + text.encode(encoding)
    (tmp_path / f"raw.{ending}").write_bytes(gzip.compress(content) if ending == "csv.gz" else content)
    declared = {"x": NUMBER, "colour": TEXT, "café": TEXT, "label": LABEL}
    found = read(tmp_path / f"raw.{ending}", declared, encoding={"utf-8-sig": "utf-8", "utf-16-be": "utf-16"}.get(encoding, encoding))
    assert reasons(found) == []
    assert values(found, "colour", "café") == sorted(((row["colour"], row["café"]) for row in rows_of), key=repr)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_bytes_that_are_not_of_the_encoding_make_a_row_unreadable(read, tmp_path, ending):
    lines = ACCENTS if ending == "csv" else [json.dumps(row, ensure_ascii=False) for row in csv.DictReader(ACCENTS)]
    (tmp_path / f"raw.{ending}").write_bytes("\n".join(lines).encode("latin-1"))
    found = read(tmp_path / f"raw.{ending}")
    assert values(found, "colour") == ["bleu clair"] and reasons(found) == ["colour: is not utf-8 text"]


def test_a_file_that_is_not_utf_16_is_refused(read, tmp_path):
    (tmp_path / "raw.jsonl").write_bytes(b"\xff\xfe" + '{"x": 1, "label": "a"}'.encode("utf-16-le") + b"\x00\xd8")
    with pytest.raises(DataError, match="Spark cannot read the source: .*UTF-16"):
        read(tmp_path / "raw.jsonl", encoding="utf-16")
    write_csv(tmp_path / "raw.csv", ["1,red,a"], "x,colour,label")
    with pytest.raises(DataError, match="has no column x, colour, label"):
        read(tmp_path / "raw.csv", encoding="utf-16")


def test_parquet_texts_that_are_not_utf_8_make_a_row_unreadable(prepare, recipe_of, tmp_path):
    good = pa.table({"x": [number / 3 for number in range(60)], "colour": ["red"] * 60, "label": ["a", "b"] * 30})
    damaged = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    for index, (colour, label) in enumerate([(damaged, pa.array(["a"])), (pa.array(["red"]), damaged)]):
        pq.write_table(pa.table({"x": [1.0], "colour": colour, "label": label}), tmp_path / f"bad-{index}.parquet")
    pq.write_table(good, tmp_path / "good.parquet")
    outcome = prepare(recipe_of(tmp_path / "*.parquet", clean={"max_dropped": 0.1}))
    assert sorted(rows(outcome, "quarantine")["reason"].to_pylist()) == ["colour: is not utf-8 text", "label: is not utf-8 text"]


# Files that differ


@pytest.mark.parametrize("ending", ["parquet", "orc"])
def test_a_file_without_a_declared_column_is_refused_and_named(read, tmp_path, ending):
    table = sample_rows(8)
    write(tmp_path / f"a.{ending}", table)
    write(tmp_path / f"b.{ending}", [without(row, "colour") for row in table])
    with pytest.raises(DataError, match=rf"b.{ending} has no column colour. It has: x, day, label. Correct `columns`, or the file"):
        read(tmp_path / f"*.{ending}")


@pytest.mark.parametrize("ending", ["parquet", "orc"])
def test_files_with_other_types_are_read_by_their_own(read, tmp_path, ending):
    """Spark takes one file's types for all: ORC would read 1.5 as 1 and a text as nothing."""
    stored = {
        "whole": pa.array([1, 2]),
        "small": pa.array([3, None], pa.int32()),
        "real": pa.array([1.5, 2.5]),
        "text": pa.array(["7", "abc"]),
    }
    if ending == "parquet":
        stored["none"] = pa.nulls(2)
    for name, column in stored.items():
        table = pa.table({"x": column, "colour": column, "label": ["a", "b"]})
        pq.write_table(table, tmp_path / f"{name}.parquet") if ending == "parquet" else orc.write_table(table, tmp_path / f"{name}.orc")
    found = read(tmp_path / f"*.{ending}")
    nothing = [None] * (3 if ending == "parquet" else 1)
    assert values(found, "x") == sorted([1.0, 2.0, 3.0, 1.5, 2.5, 7.0, *nothing], key=repr)
    assert values(found, "colour") == sorted(["1", "2", "3", "1.5", "2.5", "7", *nothing], key=repr)
    assert reasons(found) == ["x: abc is not a finite number"]


def test_csv_files_with_other_headers_are_refused_and_named(read, tmp_path):
    write_csv(tmp_path / "a.csv", ["1,red,a"], "x,colour,label")
    write_csv(tmp_path / "b.csv", ["1,red,a"], '"x", colour,label')
    assert values(read(tmp_path / "*.csv"), "x") == [1.0, 1.0]
    write_csv(tmp_path / "c.csv", ["red,1,a"], "colour,x,label")
    with pytest.raises(DataError, match=r"c.csv has the columns colour, x, label; .*a.csv has x, colour, label. Expected the same header"):
        read(tmp_path / "*.csv")


def test_empty_files_of_text_are_passed_over_and_others_refused(read, tmp_path):
    (tmp_path / "a.csv").write_text("")
    write_csv(tmp_path / "b.csv", ["1,red,a"], "x,colour,label")
    assert values(read(tmp_path / "*.csv"), "x") == [1.0]
    (tmp_path / "a.parquet").write_text("")
    write(tmp_path / "b.parquet", sample_rows(4))
    with pytest.raises(DataError, match="a.parquet is not a parquet file: it is empty"):
        read(tmp_path / "*.parquet")


def test_numbers_that_tensors_cannot_hold_are_unreadable_and_minus_zero_is_zero(read, tmp_path):
    numbers = [1.0, 0.0, -0.0, None, float("nan"), float("inf"), -float("inf"), 3.5e38, -3.5e38, 3.4e38]
    found = read(write(tmp_path / "raw.parquet", [{"x": number, "colour": "red", "label": "a"} for number in numbers]))
    assert values(found, "x") == sorted([1.0, 0.0, 0.0, None, 3.4e38], key=repr)
    assert "-0.0" not in repr(found) and len({row[CONTENT[0]] for row in found if row["x"] == 0}) == 1
    assert reasons(found) == [f"x: {text} is not a finite number" for text in ("-3.5E38", "-Infinity", "3.5E38", "Infinity", "NaN")]
    texts = ["1e3", "+.5", "-0", "1e39", "5d", "5F", "0x1p3", "1_000", "1,5", "Infinity"]
    found = read(write(tmp_path / "raw.csv", [{"x": text, "colour": "red", "label": "a"} for text in texts]))
    assert values(found, "x") == [0.0, 0.5, 1000.0]
    assert len(reasons(found)) == 7


# Times


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("form", "texts", "broken"),
    [
        (
            None,
            {
                "2026-01-03": moment("2026-01-03"),
                "2026-01-03T10:20:30": moment("2026-01-03T10:20:30"),
                "2026-01-03 10:20:30.25": moment("2026-01-03T10:20:30.250000"),
                "2026-01-03T10:20:30Z": moment("2026-01-03T10:20:30"),
                "2026-01-03T10:20:30+02:00": moment("2026-01-03T08:20:30"),
            },
            ["yesterday", "03/01/2026", "2026-02-30", "12:30", "T12:30", "1767434430", "now", "99999-01-01"],
        ),
        ("epoch_s", {"1767434430": 1767434430.0, "-1.5": -1.5}, ["2026-01-03", "nan", "inf", "5d", "1767434430000"]),
        ("epoch_ms", {"1767434430500": 1767434430.5, "0": 0.0}, ["1e300", "x"]),
        ("dd/MM/yyyy HH:mm", {"03/01/2026 10:20": moment("2026-01-03T10:20")}, ["2026-01-03", "31/02/2026 10:20"]),
    ],
    ids=["ISO 8601", "epoch_s", "epoch_ms", "pattern"],
)
def test_times_are_seconds_since_1970_and_what_is_no_time_is_unreadable(read, tmp_path, form, texts, broken):
    columns = {"x": NUMBER, "seen": {"kind": "time", "role": "meta", **({"format": form} if form else {})}, "label": LABEL}
    table = [{"x": 1, "seen": text, "label": "a"} for text in (*texts, "", *broken)]
    found = read(write(tmp_path / "raw.csv", table), columns)
    assert values(found, "seen") == sorted([*texts.values(), None], key=repr)
    expected = f"as {form}" if form else "(ISO 8601)"
    assert reasons(found) == sorted(f"seen: {text} is not a time {expected}" for text in broken)


def test_stored_times_are_read_whatever_their_unit_and_zone(read, tmp_path):
    columns = {"x": NUMBER, "seen": {"kind": "time", "role": "meta"}, "label": LABEL}
    noon = datetime(2026, 1, 3, 12)
    types = {
        "ns": pa.timestamp("ns"),
        "us": pa.timestamp("us"),
        "ms": pa.timestamp("ms", "UTC"),
        "zone": pa.timestamp("us", "Europe/Berlin"),
    }
    for name, type_ in types.items():
        seen = pa.array([noon, None], type_) if name != "zone" else pa.array([noon.replace(tzinfo=UTC), None], type_)
        pq.write_table(
            pa.table({"x": [1.0, 2.0], "seen": seen, "label": ["a", "b"], "unread": pa.array([noon] * 2)}), tmp_path / f"{name}.parquet"
        )
    pq.write_table(pa.table({"x": [1.0], "seen": [date(2026, 1, 3)], "label": ["a"]}), tmp_path / "day.parquet")
    pq.write_table(pa.table({"x": [1.0], "seen": ["2026-01-03T13:00:00+01:00"], "label": ["a"]}), tmp_path / "text.parquet")
    found = read(tmp_path / "*.parquet", columns)
    assert values(found, "seen") == [moment("2026-01-03")] + [moment("2026-01-03T12:00:00")] * 5 + [None] * 4


def test_a_time_without_a_unit_and_a_pattern_that_is_none_are_refused(read, tmp_path):
    source = write(tmp_path / "raw.parquet", [{"x": 1.0, "seen": 1767434430, "label": "a"}])
    seen = {"kind": "time", "role": "meta"}
    with pytest.raises(DataError, match="column seen is stored as bigint, which is no time by itself. Set columns.seen.format: epoch_s"):
        read(source, {"x": NUMBER, "seen": seen, "label": LABEL})
    with pytest.raises(ConfigError, match=r"columns.seen.format: 'foo bar' is not a pattern of times: .*Write one such as dd/MM/yyyy"):
        read(source, {"x": NUMBER, "seen": {**seen, "format": "foo bar"}, "label": LABEL})


# Listing


def test_names_are_taken_as_they_are_and_hidden_ones_left_out(read, tmp_path):
    for name in ("a[1]{2}*.csv", "b %20c.csv", "_hidden.csv", ".hidden.csv"):
        write_csv(tmp_path / "raw [0]" / name, [f"{len(name)},red,a"], "x,colour,label")
    assert len(values(read(tmp_path / "raw [0]", format="csv"), "x")) == 2
    assert len(values(read(tmp_path / "raw*" / "*.csv"), "x")) == 2
    with pytest.raises(DataError, match=r"holds 0 files.*Files whose names begin with . or _ are left out"):
        read(tmp_path / "raw [0]" / "_hidden.csv")
    write_csv(tmp_path / "raw [0]" / "10:20.csv", ["1,red,a"], "x,colour,label")
    with pytest.raises(DataError, match="10:20.csv: Hadoop, through which Spark reads files, knows no names with a colon"):
        read(tmp_path / "raw [0]", format="csv")


def paths_of(found: RawFiles) -> list[str]:
    return sorted(uri.removeprefix("file:") for uri in found.uris)


@pytest.mark.parametrize("place", ["", "/*/*.csv", "/day=01/a b.csv", "/day=0[12]/*"], ids=["folder", "glob", "file", "brackets"])
def test_a_url_lists_and_reads_what_a_path_does(spark, recipe_of, tmp_path, place):
    folder = tmp_path / "raw files"
    for index, name in enumerate(
        ("day=01/a b.csv", "day=01/c.CSV", "day=02/d[1].csv", "day=02/_no.csv", "day=02/.no.csv", "day=02/notes.md")
    ):
        write_csv(folder / name, [f"{index},rouge foncé,a"], "x,colour,label")
    (folder / "day=02" / "empty.csv").touch()
    recipe = recipe_of(
        Path(f"{folder}{place}"), {**TABLE, "day": {**TABLE["day"], "role": "feature" if "day=01" not in place else "ignore"}}, format="csv"
    )
    local, remote = list_files(recipe.source, tmp_path), list_remote(spark, recipe.source, f"file://{folder}{place}")
    assert paths_of(remote) == sorted(set(paths_of(local)) - set(map(str, local.empty))) and remote.files == ()
    assert (remote.num_bytes, remote.is_folder, remote.partition_columns) == (local.num_bytes, local.is_folder, local.partition_columns)
    assert remote.base_uri.removeprefix("file:") == local.base_uri
    here, there = (
        values([row.asDict() for row in read_table(spark, recipe, found).collect()], "x", "colour", *CONTENT) for found in (local, remote)
    )
    assert here == there and here


def test_remote_files_are_looked_into_like_local_ones(spark, recipe_of, tmp_path):
    for name, x in {"a": pa.array([1, 2]), "b": pa.array(["3", "abc"])}.items():
        pq.write_table(pa.table({"x": x, "colour": ["red", "blue"], "label": ["a", "b"]}), tmp_path / f"{name}.parquet")
    recipe = recipe_of(tmp_path / "*.parquet")
    found = read_table(spark, recipe, list_remote(spark, recipe.source, f"file://{tmp_path}/*.parquet")).collect()
    assert values([row.asDict() for row in found], "x") == [1.0, 2.0, 3.0]
    pq.write_table(pa.table({"x": [1], "label": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="c.parquet has no column colour. It has: x, label"):
        read_table(spark, recipe, list_remote(spark, recipe.source, f"file://{tmp_path}/*.parquet"))
    (tmp_path / "raw.csv").write_bytes("x,colour,étiquette\n1,foncé,a\n".encode("latin-1"))
    csv_recipe = recipe_of(tmp_path / "raw.csv", {"x": NUMBER, "colour": TEXT, "étiquette": LABEL}, encoding="latin-1")
    found = read_table(spark, csv_recipe, list_remote(spark, csv_recipe.source, f"file://{tmp_path}/raw.csv")).collect()
    assert values([row.asDict() for row in found], "x", "colour") == [(1.0, "foncé")]


def test_a_url_without_files_is_refused(spark, tmp_path):
    (tmp_path / "notes.md").write_text("no table")
    with pytest.raises(DataError, match=r"holds 0 files ending in .csv, .* 0 bytes in all"):
        list_remote(spark, Source(format="csv", path="s3a://bucket"), f"file://{tmp_path}")
