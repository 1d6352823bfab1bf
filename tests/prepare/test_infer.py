"""What raw files suggest for a recipe: the text is YAML, it is valid where it is pasted, and each guess says what was seen."""

from __future__ import annotations

import csv
import gzip
import io
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.errors import ConfigError, DataError, LonghaulError
from pipeline.prepare import bundled
from pipeline.prepare.infer import infer
from tests.conftest import pipeline

ROWS = [
    {"id": f"k{number}", "size": number / 7, "count": number % 30, "shop": ("Köln", "Bonn", "Ulm")[number % 3], "sold": number % 2 == 0}
    for number in range(60)
]


def write_text(path: Path, lines: list[str], encoding: str = "utf-8") -> Path:
    content = ("\n".join(lines) + "\n").encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def iris_csv(folder: Path) -> tuple[Path, str]:
    bundled.write_iris(folder)
    return folder / "iris.csv", "species"


def parquet_file(folder: Path) -> tuple[Path, str]:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet")
    return folder / "rows.parquet", "sold"


def orc_file(folder: Path) -> tuple[Path, str]:
    orc.write_table(pa.Table.from_pylist(ROWS), folder / "rows.orc")
    return folder / "rows.orc", "sold"


def json_lines(folder: Path) -> tuple[Path, str]:
    return write_text(folder / "rows.jsonl", [json.dumps(row) for row in ROWS]), "sold"


def latin_csv(folder: Path) -> tuple[Path, str]:
    lines = [";".join("?" if value in (3, 5) else str(value) for value in row.values()) for row in ROWS]
    return write_text(folder / "rows.csv", [";".join(ROWS[0]), *lines], "latin-1"), "sold"


def suggested(path: Path | str, **arguments) -> dict:
    return yaml.safe_load(infer(str(path), **arguments))


def columns_of(tmp_path: Path, lines: list[str], **arguments) -> dict:
    return suggested(write_text(tmp_path / "raw.csv", lines), **arguments)["columns"]


def line_of(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"  {name}:"))


def test_columns_whose_names_no_recipe_may_use_are_not_read(tmp_path):
    rows = (f"k{number},{number % 7},{number / 7},{number % 9},1,2,{'ab'[number % 2]}" for number in range(40))
    lines = ["id,sample_id,weight,features,_x,a`b,income", *rows]
    found = columns_of(tmp_path, lines, label="income")
    assert {name: column.get("role") for name, column in found.items()} == {
        **{"id": "key", "sample_id": "ignore", "weight": None, "features": None}, "income": "label",
    }  # fmt: skip
    assert columns_of(tmp_path, lines, label="weight")["weight"]["role"] == "label"


@pytest.mark.parametrize("make", [iris_csv, parquet_file, json_lines, orc_file, latin_csv])
def test_what_is_suggested_is_a_valid_recipe_once_it_has_a_name_and_a_model(tmp_path, make):
    source, label = make(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: tried\n{infer(str(source), label=label)}model: {{name: mlp}}\nregister: {{name: tried}}\n")
    checked = config.load(recipe)
    assert checked.label == label and checked.source.path == str(source)
    assert checked.names("number") == (["size", "count"] if label == "sold" else [name for name in checked.columns if name != "species"])


@pytest.mark.parametrize("make", [parquet_file, json_lines, orc_file, latin_csv])
def test_the_same_rows_suggest_the_same_columns_whatever_they_are_stored_in(tmp_path, make):
    source, label = make(tmp_path)
    assert suggested(source, label=label)["columns"] == {
        "id": {"kind": "category", "role": "key"},
        "size": {"kind": "number"},
        "count": {"kind": "number"},
        "shop": {"kind": "category"},
        "sold": {"kind": "category", "role": "label"},
    }


def test_separator_encoding_and_marks_of_missing_values_are_found(tmp_path):
    text = infer(str(latin_csv(tmp_path)[0]), label="sold")
    source = {"format": "csv", "path": str(tmp_path / "rows.csv"), "separator": ";", "encoding": "latin-1", "null_values": ["", "?"]}
    assert yaml.safe_load(text)["source"] == source
    assert "4 nulls, 28 different" in line_of(text, "count") and "'Köln' 20" in line_of(text, "shop")


@pytest.mark.parametrize("separator", list(",;|\t"))
def test_each_separator_is_found_also_beside_decimal_commas_and_in_a_file_of_one_column(tmp_path, separator):
    lines = [separator.join(row) for row in (["a", "b", "c"], *(["x, y", f"{number},5", "z"] for number in range(20)))]
    if separator != ",":
        found = suggested(write_text(tmp_path / "raw.csv", lines))
        assert found["source"]["separator"] == separator and list(found["columns"]) == ["a", "b", "c"]
    assert suggested(write_text(tmp_path / "one.csv", ["only", "1", "2"]))["source"]["separator"] == ","
    assert list(suggested(tmp_path / "one.csv", separator="tab")["columns"]) == ["only"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_belong_to_no_name(tmp_path, encoding):
    found = suggested(write_text(tmp_path / "raw.csv", ["größe,b", "1,2", "3,4"], encoding))
    assert list(found["columns"]) == ["größe", "b"]
    assert found["source"].get("encoding") == ("utf-16" if encoding == "utf-16" else None)


def test_marks_of_missing_values_are_counted_and_do_not_make_numbers_text(tmp_path):
    cells = ["1.5", "", "NA", "?", "null", "2.5", "NaN"]
    text = infer(str(write_text(tmp_path / "raw.csv", ["x,y", *(f"{cell},{number}" for number, cell in enumerate(cells))])))
    assert yaml.safe_load(text)["source"]["null_values"] == ["", "?", "NA", "null", "NaN"]
    assert line_of(text, "x").startswith("  x: {kind: number}") and "5 nulls, 2 different; 1.5 to 2.5" in line_of(text, "x")


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("id", ["3", "1", "2"], {"kind": "category", "role": "key"}),
        ("user_id", ["3", "1", "2"], {"kind": "category", "role": "key"}),
        ("customerID", ["3", "1", "2"], {"kind": "category", "role": "key"}),
        ("user_id", ["3", "1", "3"], {"kind": "category", "role": "meta"}),
        ("user_id", ["3", "", "2"], {"kind": "category", "role": "meta"}),
        ("humid", ["3", "1", "2"], {"kind": "number"}),
        ("day", ["2026-01-03", "2026-01-04", "2026-02-01"], {"kind": "time", "role": "meta"}),
        ("day", ["2026-01-03T10:00:00Z", "2026-01-04 11:30", "2026-02-01"], {"kind": "time", "role": "meta"}),
        ("day", ["2026-13-03", "2026-01-04", "2026-02-01"], {"kind": "category"}),
        ("at", ["1767400000", "1767400001", "1767400002"], {"kind": "number"}),
        ("zip", ["01234", "50667", "00001"], {"kind": "category"}),
        ("price", ["1,5", "2,5", "3,5"], {"kind": "category"}),
        ("same", ["7", "7", "7"], {"kind": "number", "role": "ignore"}),
        ("none", ["", "NA", ""], {"kind": "category", "role": "ignore"}),
        ("sci", ["1e5", "-.5", "+3."], {"kind": "number"}),
        ("java", ["5d", "6d", "7d"], {"kind": "category"}),
        ("huge", ["1e999", "2e999", "3e999"], {"kind": "category"}),
    ],
)
def test_kind_and_role_follow_from_what_the_cells_hold(tmp_path, name, cells, expected):
    path = tmp_path / "raw.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[name, "other"], *([cell, f"o{number}"] for number, cell in enumerate(cells))])
    assert suggested(path)["columns"][name] == expected


def test_one_column_is_the_key_and_other_unique_ones_are_left_out(tmp_path):
    columns = columns_of(tmp_path, ["id,order_id,x", *(f"a{number},b{number},{number}" for number in range(5))])
    assert [columns[name]["role"] for name in ("id", "order_id")] == ["key", "ignore"]


def test_a_few_cells_that_are_no_number_are_told_and_many_make_the_column_text(tmp_path):
    lines = ["few,many", *(f"{'abc' if number < 2 else number},{'abc' if number % 9 == 0 else number}" for number in range(60))]
    text = infer(str(write_text(tmp_path / "raw.csv", lines)))
    assert "{kind: number}" in line_of(text, "few") and "2 no number, e.g. 'abc': such rows go to quarantine" in line_of(text, "few")
    assert "{kind: category}" in line_of(text, "many")


def test_columns_that_need_a_decision_say_so(tmp_path):
    lines = ["word,price,zip,user_id", *(f'w{number},"{number},5",0{number},{number % 7}' for number in range(100))]
    text = infer(str(write_text(tmp_path / "raw.csv", lines)))
    assert "100 different; e.g. 'w0', 'w1', 'w2'; many values: encode: {word: vocabulary} or {word: hash}, or role: ignore" in text
    assert "numbers with a decimal comma" in line_of(text, "price") and "leading zeros" in line_of(text, "zip")
    assert "split: {by: group, column: user_id}" in line_of(text, "user_id")


@pytest.mark.parametrize(
    ("cells", "task", "kind"),
    [
        ([f"{number / 7:.3f}" for number in range(50)], "regression", "number"),
        ([str(number) for number in range(50)], "regression", "number"),
        (["0.5", "1.5"] * 25, "regression", "number"),
        ([str(number % 10) for number in range(50)], None, "category"),
        (["yes", "no"] * 25, None, "category"),
    ],
    ids=["fractions", "many numbers", "two fractions", "ten digits", "words"],
)
def test_a_label_of_many_numbers_is_a_regression_and_one_of_few_is_classes(tmp_path, cells, task, kind):
    path = write_text(tmp_path / "raw.csv", ["x,y", *(f"{number},{cell}" for number, cell in enumerate(cells))])
    found = suggested(path, label="y")
    assert found.get("task") == task and found["columns"]["y"] == {"kind": kind, "role": "label"}


def test_a_label_with_a_few_texts_that_are_no_number_is_still_one_of_numbers(tmp_path):
    path = write_text(tmp_path / "raw.csv", ["x,y", *(f"{number},{'abc' if number == 7 else number / 7}" for number in range(50))])
    text = infer(str(path), label="y")
    assert "{kind: number, role: label}" in line_of(text, "y") and "1 no number, e.g. 'abc'" in line_of(text, "y")


def test_without_a_label_the_text_says_to_choose_one_and_the_recipe_is_refused(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    text = infer(str(iris_csv(tmp_path)[0]))
    recipe.write_text(f"name: tried\n{text}model: {{name: mlp}}\nregister: {{name: tried}}\n")
    assert "# CHOOSE THE LABEL" in text
    with pytest.raises(ConfigError, match="expected 1 column with role: label, received 0"):
        config.load(recipe)


def test_only_the_first_rows_are_looked_at_and_the_text_says_how_many(tmp_path):
    path = write_text(tmp_path / "raw.csv", ["x,y", "1,2", "3,4", "abc,5"])
    assert infer(str(path), limit=2).startswith(f"# What the first 2 rows of '{path}'")
    assert suggested(path, limit=2)["columns"]["x"] == {"kind": "number"}
    assert infer(str(path), limit=3).startswith(f"# What all 3 rows of '{path}'")
    assert suggested(path)["columns"]["x"] == {"kind": "category"}


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_lines_that_are_no_rows_are_counted_not_guessed_from(tmp_path, suffix):
    good = ["x,y", "1,2", "3,4"] if suffix == "csv" else ['{"x": 1, "y": 2}', '{"x": 3, "y": 4}']
    bad = ["5", "6,7,8"] if suffix == "csv" else ['{"x": 5', "[6, 7]"]
    path = write_text(tmp_path / f"raw.{suffix}", [*good, *bad])
    text = infer(str(path))
    assert "# 2 lines are no rows" in text and "2 different; 1 to 3" in line_of(text, "x")


def test_json_lines_may_miss_keys_and_change_types(tmp_path):
    rows = [{"a": 1}, {"a": "2", "b": None}, {"a": 3.5, "b": True, "c": [1]}, {"a": None, "b": False, "c": {"d": 1}}]
    text = infer(str(write_text(tmp_path / "raw.jsonl", [json.dumps(row) for row in rows])))
    assert yaml.safe_load(text)["columns"] == {"a": {"kind": "number"}, "b": {"kind": "category"}}
    assert "1 nulls, 3 different; 1 to 3.5" in text and "2 nulls, 2 different" in text
    assert "# left out: 'c': lists or objects" in text


def test_stored_types_decide_where_there_are_some(tmp_path):
    table = pa.table(
        {
            "money": pa.array([Decimal("1.50"), Decimal("2.25"), None]),
            "day": pa.array([date(2026, 1, 3), date(2026, 1, 4), None]),
            "at": pa.array([datetime(2026, 1, 3), datetime(2026, 1, 4), datetime(2026, 1, 5)], pa.timestamp("ns", "UTC")),
            "text": ["1", "2", "x"],
            "word": pa.array(["a", "b", "a"]).dictionary_encode(),
            "flag": [True, False, None],
            "ratio": [1.0, float("nan"), 2.0],
            "tags": [["a"], [], None],
            "blob": [b"1", b"2", b"3"],
            "_private": [1, 2, 3],
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    text = infer(str(tmp_path / "rows.parquet"))
    columns = yaml.safe_load(text)["columns"]
    kinds = {"money": "number", "day": "time", "at": "time", "text": "category", "word": "category", "flag": "category", "ratio": "number"}
    assert {name: column["kind"] for name, column in columns.items()} == kinds
    assert "1 no number, e.g. nan: such rows go to quarantine" in line_of(text, "ratio")
    assert [name for name in ("tags", "blob", "_private") if f"# left out: {name!r}" in text] == ["tags", "blob", "_private"]


def test_a_folder_gives_columns_by_its_names_and_its_hidden_files_are_passed_over(tmp_path):
    for day in ("2026-01-03", "2026-01-04"):
        (tmp_path / "raw" / f"day={day}").mkdir(parents=True)
        write_text(tmp_path / "raw" / f"day={day}" / "part.csv.gz", ["x,y", "1,2", "3,4"])
    write_text(tmp_path / "raw" / "_SUCCESS", [""])
    text = infer(str(tmp_path / "raw"))
    assert list(yaml.safe_load(text)["columns"]) == ["x", "y", "day"]
    assert "from the folders' names" in line_of(text, "day") and "What all 4 rows" in text


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1, max_size=6, unique=True))
def test_every_name_survives_yaml(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "raw.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, ["1"] * len(names), ["2"] * len(names)])
    assert list(suggested(path, separator=",")["columns"] or ()) == [name for name in names if not name.startswith("_") and "`" not in name]


@given(st.lists(st.text(), min_size=2, max_size=8))
def test_no_cell_can_break_out_of_its_comment(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("cells") / "raw.jsonl"
    path.write_text("\n".join(json.dumps({"a": cell, "b": "x\u2028y: {kind: image}\n"}) for cell in cells))
    found = suggested(path)
    assert set(found) == {"source", "columns"} and list(found["columns"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "arguments", "kind", "says"),
    [
        ("missing.csv", None, {}, ConfigError, "no such file or folder"),
        ("s3a://bucket/raw.csv", None, {}, ConfigError, "expected a local file"),
        ("raw.dat", b"x,y\n1,2\n", {}, ConfigError, r"Say which to read: --format csv\|jsonl\|parquet\|orc"),
        ("raw.csv", b"x,y\n1,2\n", {"format": "cvs"}, ConfigError, "--format cvs: expected one of csv, .* Did you mean 'csv'"),
        ("raw.csv", b"x,y\n1,2\n", {"separator": ";;"}, ConfigError, "expected one character"),
        ("raw.csv", b"x,y\n1,2\n", {"label": "z"}, ConfigError, r"--label z: not one of the columns \['x', 'y'\]"),
        ("raw.csv", b"x,y\n1,2026-01-03\n", {"label": "y"}, ConfigError, "--label y: holds times"),
        ("raw.csv", b"", {}, DataError, "No input rows"),
        ("raw.csv", b"x,y\n", {}, DataError, "expected a line with as many fields as its header, found none"),
        ("raw.csv", b"x,x\n1,2\n", {}, DataError, "expected a first line of different, non-empty column names separated by ','"),
        ("raw.csv", b"x,\n1,2\n", {}, DataError, "raw.csv: expected a first line of different, non-empty"),
        ("raw.csv", b"PAR1....", {}, DataError, "is a Parquet file"),
        ("raw.csv.gz", b"\x1f\x8bnot gzip", {}, DataError, "raw.csv.gz: cannot be read"),
        ("raw.parquet", b"PAR1 cut off", {}, DataError, "raw.parquet: cannot be read"),
        ("raw.orc", b"not orc at all", {}, DataError, "raw.orc: cannot be read"),
        ("raw.json", b'[{"x": 1},\n{"x": 2}]\n', {}, DataError, r"jq -c '\.\[\]'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_its_name_and_a_remedy(tmp_path, name, content, arguments, kind, says):
    path = name if "://" in name else str(tmp_path / name)
    if content is not None:
        Path(path).write_bytes(content)
    with pytest.raises(LonghaulError, match=says) as caught:
        infer(path, **arguments)
    assert type(caught.value) is kind


def test_files_with_other_columns_are_refused(tmp_path):
    write_text(tmp_path / "a.csv", ["x,y", "1,2"])
    write_text(tmp_path / "b.csv", ["y,x", "1,2"])
    with pytest.raises(DataError, match=r"b.csv: expected the first file's names separated by ',', received \['y', 'x'\]"):
        infer(str(tmp_path / "*.csv"))


def test_the_command_prints_yaml_alone_and_ends_with_the_code_of_what_happened(tmp_path):
    source, label = json_lines(tmp_path)
    done = pipeline("schema", "infer", source, "--label", label, root=tmp_path)
    assert done.code == 0 and done.err == ""
    assert list(yaml.safe_load(io.StringIO(done.out))) == ["source", "columns"]
    wrong = pipeline("schema", "infer", tmp_path / "missing.csv", root=tmp_path)
    assert wrong.code == 2 and wrong.out == "" and "no such file or folder" in wrong.err
