"""Personal data: found, counted, acted upon before anything is written, and nowhere left; how well people hide."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import config
from pipeline.console import Console
from pipeline.errors import ConfigError, DataError
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.prepare.secrets import HashKey, identity
from pipeline.schema import SPLITS, prepared
from pipeline.stage import Request
from tests.prepare.conftest import published, rows

KEY = "an unguessable key of more than sixteen bytes"
VARIABLE = "LONGHAUL_TEST_HASH_KEY"
HEADER = "user,note,contact,comment,city,zip,age,seen,x,label"
SECRETS = {  # none of them may survive anywhere
    "user": "user-name-{}@example.org",
    "note": "note.{}@example.org",
    "contact": "contact.{}@example.org",
    "comment": "+49 30 90{}",
    "zip": "1{}",
    "broken": "broken.{}@example.org",
    "wrong": "wrong.{}@example.org",
}
COLUMNS = {
    "user": {"kind": "category", "role": "key"},
    "note": {"kind": "category"},
    "contact": {"kind": "category", "role": "sensitive"},
    "comment": {"kind": "category", "role": "meta"},
    "city": {"kind": "category", "role": "sensitive"},
    "zip": {"kind": "category", "role": "sensitive"},
    "age": {"kind": "number", "role": "sensitive"},
    "seen": {"kind": "time", "role": "meta"},
    "x": {"kind": "number"},
    "label": {"kind": "category", "role": "label"},
}
PRIVACY = {
    "columns": {
        "user": "hash",
        "note": "mask",
        "contact": "drop",
        "comment": "drop_rows",
        "city": {"generalise": {"values": {"Berlin": "east", "Rome": "south"}}},
        "zip": {"generalise": {"prefix": 2}},
        "age": {"generalise": {"step": 10}},
        "seen": {"generalise": {"to": "month"}},
    },
    "key_from": VARIABLE,
    "anonymity": {"columns": ["city", "age"], "sensitive": "zip", "min_k": 3, "min_l": 2},
}


def lines() -> list[str]:
    """80 rows of two classes; every tenth comment has a phone number, two rows cannot be read, one is dropped by a rule."""
    found = []
    for number in range(80):
        secret = {name: text.format(f"{number:05d}") for name, text in SECRETS.items()}
        comment = f"call {secret['comment']}" if number % 10 == 0 else "nothing to say"
        city = ("Berlin", "Rome", "Oslo")[number % 3]
        note = f"write to {secret['note']} or {secret['note']}, please" if number % 2 else "all is well"
        values = [
            secret["user"],
            f'"{note}"',
            secret["contact"],
            comment,
            city,
            secret["zip"],
            20 + number % 30,
            f"2026-0{1 + number % 3}-17",
            number / 7,
        ]
        found.append(",".join(map(str, [*values, "even" if number % 2 == 0 else "odd"])))
    found.append(f"{SECRETS['broken'].format(1)},too,few")
    cells = [f"user-name-x@example.org,fine,{SECRETS['wrong'].format(2)},ok,Rome,10001", SECRETS["wrong"].format(3), "2026-01-01,1.5,odd"]
    return [
        *found,
        ",".join(cells),
        f'late@example.org,"mail {SECRETS["note"].format("late")}",c@example.org,ok,Rome,10002,33,2026-02-02,9999,odd',
    ]


def write_recipe(folder: Path, privacy=PRIVACY, columns=COLUMNS, content: list[str] | None = None, **sections) -> config.Recipe:
    (folder / "people.csv").write_text("\n".join([HEADER, *(content or lines())]) + "\n")
    document = {
        "name": "people",
        "source": {"format": "csv", "path": str(folder / "people.csv")},
        "columns": columns,
        "privacy": privacy,
        "clean": {"max_dropped": 0.3, "rules": [{"keep_range": {"column": "x", "max": 100}}]},
        "audit": {"max_shared_content": 1.0},
        "model": {"name": "mlp"},
        "register": {"name": "people"},
        **sections,
    }
    (folder / "people.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return config.load(folder / "people.yaml")


@pytest.fixture(scope="module")
def people(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    patch = pytest.MonkeyPatch()
    patch.setenv(VARIABLE, KEY)
    recipe = write_recipe(folder)
    outcome = job.run(Request(recipe, Run(folder / "runs", "people", "manual-0"), Console(None)), spark)
    patch.undo()
    return outcome, folder / "runs"


def everything(root: Path) -> str:
    """All that is stored below a folder, unpacked."""
    texts = []
    for path in (path for path in sorted(root.rglob("*")) if path.is_file()):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts += [str(value) for column in table.columns for value in column.to_pylist()] + [str(table.schema.metadata)]
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        texts.append(content.decode("utf-8", "replace"))
    return "\n".join(texts)


@pytest.mark.spark
def test_no_planted_value_is_left_anywhere_below_the_run(people):
    outcome, root = people
    stored = everything(root)
    assert "all is well" in (root.parent / "people.csv").read_text() and "note=all is well" in stored
    assert "@example.org" not in stored and KEY not in stored and KEY.encode().hex() not in stored
    for number in range(80):
        for name in ("comment", "zip"):
            assert SECRETS[name].format(f"{number:05d}") not in stored, name


@pytest.mark.spark
def test_findings_are_counted_by_column_and_kind_and_what_was_done(people):
    facts = prepared(people[0].manifest).privacy
    assert {(one.column, one.kind): (one.count, one.action) for one in facts.found} == {
        ("user", "mail"): (83, "hash"),  # a line with too few fields was read as far as it goes
        ("note", "mail"): (81, "mask"),
        ("contact", "mail"): (82, "drop"),
        ("comment", "phone"): (8, "drop_rows"),
    }
    assert facts.actions["zip"] == "generalise"
    page = (people[0].found.files / "report.html").read_text()
    assert "Personal data" in page and "<td>comment</td>" in page and "k-anonymity" in page


@pytest.mark.spark
def test_values_are_hashed_masked_dropped_and_generalised(people):
    outcome, _ = people
    kept = [row for split in SPLITS for row in rows(outcome, f"data/{split}").to_pylist()]
    names = {
        hmac.new(KEY.encode(), SECRETS["user"].format(f"{number:05d}").encode(), hashlib.sha256).hexdigest(): number for number in range(80)
    }
    assert {names[row["sample_id"]] for row in kept} == {number for number in range(80) if number % 10}
    for row in kept:
        number = names[row["sample_id"]]
        assert row["city"] == ("east", "south", "(other)")[number % 3] and row["zip"] == "10" and row["contact"] is None
        assert float(row["age"]) == (20 + number % 30) // 10 * 10
    facts = prepared(outcome.manifest)
    months = {1767225600.0, 1769904000.0, 1772323200.0}  # the first of January, February and March 2026
    assert {float(value) for value, _ in facts.statistics["seen"].top} == months
    assert set(dict(facts.statistics["note"].top)) == {"all is well", "write to [mail] or [mail], please"}


@pytest.mark.spark
def test_quarantine_has_rows_as_they_are_after_the_rules(people):
    outcome, _ = people
    dropped = rows(outcome, "quarantine").to_pylist()
    assert Counter(row["rule"] for row in dropped) == {"privacy": 8, "unreadable": 2, "keep_range": 1}
    assert prepared(outcome.manifest).accounting.dropped["privacy"] == 8
    by_rule = {row["rule"]: json.loads(row["raw"]) for row in dropped}
    assert "comment" not in by_rule["privacy"] and by_rule["privacy"]["zip"] == "10"
    assert by_rule["keep_range"]["note"] == "mail [mail]" and len(by_rule["keep_range"]["user"]) == 64
    reasons = {row["reason"] for row in dropped if row["rule"] == "unreadable"}
    assert reasons == {"the line has more or fewer fields than the header", "age: what stands there is not a finite number"}


@pytest.mark.spark
def test_k_and_l_are_those_of_the_kept_rows(people):
    outcome, _ = people
    kept = [row for split in SPLITS for row in rows(outcome, f"data/{split}").to_pylist()]
    groups: dict[tuple[str, str], list[str]] = {}
    for row in kept:
        groups.setdefault((row["city"], row["age"]), []).append(row["zip"])
    found = prepared(outcome.manifest).privacy.anonymity
    assert (found.rows, found.groups) == (len(kept), len(groups)) and found.k == min(map(len, groups.values()))
    assert found.diversity == min(len(set(values)) for values in groups.values()) == 1
    assert found.rows_below_l == len(kept) and not found.holds


@pytest.mark.spark
def test_too_small_groups_and_findings_fail_a_run_that_says_so(prepare, tmp_path):
    privacy = {"columns": {"contact": "drop"}, "otherwise": "fail"}
    with pytest.raises(DataError, match=r"user: 83 mail, note: 81 mail, comment: 8 phone"):
        prepare(write_recipe(tmp_path, privacy))
    assert published(tmp_path) == []
    privacy = {"otherwise": "ignore", "anonymity": {"columns": ["zip"], "min_k": 2, "below": "fail"}}
    with pytest.raises(DataError, match=r"k-anonymity over zip: k is 1, expected 2 \(\d+ of \d+ rows below\)"):
        prepare(write_recipe(tmp_path, privacy))
    assert published(tmp_path) == []


def test_without_its_key_nothing_is_hashed(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    recipe = write_recipe(tmp_path)
    request = Request(recipe, Run(tmp_path / "runs", "people", "manual-0"), Console(None))
    with pytest.raises(ConfigError, match=f"environment variable {VARIABLE} is not set"):
        job.run(request)
    monkeypatch.setenv(VARIABLE, "short")
    with pytest.raises(ConfigError, match="has 5 bytes; expected 16 or more") as refused:
        job.run(request)
    assert "short" not in str(refused.value)


def test_another_key_or_list_of_names_is_another_result_and_the_key_does_not_show(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("Ann\n")
    recipe = write_recipe(tmp_path, {**PRIVACY, "names": str(tmp_path / "names.txt")})
    found = []
    for key, names in ((KEY, "Ann\n"), (KEY + "2", "Ann\n"), (KEY, "Ann\nBob\n"), (KEY, "Ann\n")):
        monkeypatch.setenv(VARIABLE, key)
        (tmp_path / "names.txt").write_text(names)
        found.append(identity(recipe.privacy))
    assert found[0] == found[3] and found[0] != found[1] != found[2] != found[0]
    assert KEY not in str(found) and KEY not in repr(HashKey(KEY.encode()))


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        ({"columns": {"nobody": "mask"}}, "column 'nobody' is not one of"),
        ({"columns": {"x": "mask"}}, "mask is for what is found in texts and categories"),
        ({"columns": {"label": "hash"}, "key_from": "A"}, "hash is for categories that are no label"),
        ({"columns": {"user": "hash"}}, "key_from"),
        ({"key_from": "A"}, "key_from"),
        ({"columns": {"note": "drop"}}, "set role: ignore"),
        ({"columns": {"age": {"generalise": {"to": "month"}}}}, "to is for kind: time"),
        ({"columns": {"age": {"generalise": {"to": "month", "step": 1}}}}, "exactly one of"),
        ({"anonymity": {"columns": ["user"]}}, "'user' is not one of"),
        ({"anonymity": {"columns": ["age"], "min_l": 2}}, "min_l goes with sensitive"),
        ({"names": "nowhere.txt"}, "no such file: nowhere.txt"),
        ({"columns": {"note": "burn"}}, "burn"),
    ],
)
def test_contradictions_are_refused(tmp_path, privacy, message):
    with pytest.raises(ConfigError) as refused:
        write_recipe(tmp_path, privacy)
    assert message in str(refused.value)
