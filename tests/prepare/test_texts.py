"""Texts from files and tables: what is read, what is refused and why, near duplicates, tokens, copies."""

from __future__ import annotations

import html
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.manifest import sha256_of_file
from pipeline.prepare.minhash import jaccard, shingles
from pipeline.prepare.tokenizer import encode, load
from pipeline.schema import SPLITS, prepared
from tests.prepare.conftest import rows

SOURCE = {"format": "text", "pattern": r"(?P<label>good|bad)\.txt$"}
COLUMNS = {
    "words": {
        "kind": "text",
        "text": {"html": "strip", "max_characters": 200, "max_bytes": 5000, "tokens": {"min_count": 1, "max_tokens": 6}},
    },
    "label": {"kind": "category", "role": "label"},
}


OWN = {"name": "cutter:build"}  # a builder that takes texts
CUTTER = """
def build(num_outputs: int):
    raise NotImplementedError("these tests only prepare")
"""


def text_recipe(folder: Path, *, columns=COLUMNS, source=None, **sections):
    (folder.parent / "cutter.py").write_text(CUTTER)
    document = {
        "name": "texts",
        "source": {**SOURCE, "path": str(folder), **(source or {})},
        "columns": columns,
        "model": {"name": "transformer", "width": 8, "heads": 2},
        "register": {"name": "texts"},
        **sections,
    }
    path = folder.parent / "texts.yaml"
    path.write_text(yaml.safe_dump(document))
    return config.load(path)


def sentences(label: str, count: int = 60) -> list[bytes]:
    return [f"{label} sentence number {number} of {number * 7 % 11} words".encode() for number in range(count)]


def write_lines(folder: Path, extra: list[bytes] = (), ending: bytes = b"\n") -> Path:
    folder.mkdir()
    (folder / "good.txt").write_bytes(ending.join([*sentences("good"), *extra, b""]))
    (folder / "bad.txt").write_bytes(ending.join([*sentences("bad"), b""]))
    return folder


HOSTILE = {
    b"caf\xe9 with a byte of latin-1": "text: byte 3 (0xe9) is not utf-8",
    b"a NUL \0 in the middle": "text: character 6 is NUL: no utf-8 text",
    "joined \ufeff files".encode(): "text: character 7 is a byte-order mark: files were joined, or the encoding is another",
    b"\xff\xfeU\0T\0F\0": "text: byte 0 (0xff) is not utf-8",
    b"x" * (10 << 20): "text: 10485760 bytes, more than max_bytes: 5000",
    b"<p> </p>": "text: 0 characters, fewer than 1",
    b"long " * 100: "text: 499 characters, more than 200",
}


@pytest.mark.spark
def test_hostile_lines_are_quarantined_with_their_reason_and_the_run_goes_on(prepare, tmp_path):
    folder = write_lines(tmp_path / "raw", [*HOSTILE, b"", b"   ", "ein <b>gutes</b> Wort, na\u0131\u0308v &amp; scho\u0308n".encode()])
    outcome = prepare(text_recipe(folder, clean={"max_dropped": 0.1}))
    quarantine = rows(outcome, "quarantine")
    assert Counter(quarantine["reason"].to_pylist()) == Counter(HOSTILE.values())
    accounting = prepared(outcome.manifest).accounting
    assert accounting.dropped == {"unreadable": 5, "text_length": 2} and accounting.rows_in == 128 and accounting.rows_out == 121
    raws = [json.loads(raw) for raw in quarantine["raw"].to_pylist()]
    assert max(len(raw["begins"]) for raw in raws) <= 300 and {raw["path"] for raw in raws} == {str(folder / "good.txt")}
    assert sorted(raw["bytes"] for raw in raws)[-1] == 10 << 20


@pytest.mark.spark
def test_too_many_bad_lines_fail_the_run(prepare, tmp_path):
    with pytest.raises(DataError, match=r"8 of 128 rows .* unreadable 8"):
        prepare(text_recipe(write_lines(tmp_path / "raw", [b"\xff" + str(number).encode() for number in range(8)])))


@pytest.mark.spark
@pytest.mark.parametrize(("encoding", "ending"), [("latin-1", b"\n")])
def test_texts_are_kept_for_a_model_that_cuts_them(prepare, tmp_path, encoding, ending):
    folder = write_lines(tmp_path / "raw", ["ein schönes  Wort".encode(encoding)], ending)
    columns = {**COLUMNS, "words": {"kind": "text", "text": {"tokens": "none"}}}
    outcome = prepare(text_recipe(folder, columns=columns, source={"encoding": encoding}, model=OWN))
    expected = Counter(line.decode() for label in ("good", "bad") for line in sentences(label)) + Counter(["ein schönes Wort"])
    found = [rows(outcome, f"data/{split}") for split in SPLITS]
    assert Counter(text.decode() for table in found for text in table["words"].to_pylist()) == expected
    facts = prepared(outcome.manifest)
    assert (facts.tensor.dtype, facts.tensor.encoding, facts.vocabulary) == ("string", "utf8", None)
    by_label = {
        text.decode(): facts.classes[label]
        for table in found
        for text, label in zip(*(table[name].to_pylist() for name in ("words", "label")), strict=True)
    }
    assert all(by_label[line.decode()] == label for label in ("good", "bad") for line in sentences(label))


@pytest.mark.spark
def test_ids_are_those_of_the_stored_vocabulary_which_knows_train_rows_alone(prepare, tmp_path):
    folder = write_lines(tmp_path / "raw")
    outcome = prepare(text_recipe(folder))
    facts = prepared(outcome.manifest)
    vocabulary = facts.vocabulary
    content = (outcome.found.files / vocabulary.file).read_text(encoding="utf-8")
    assert sha256_of_file(outcome.found.files / vocabulary.file) == vocabulary.sha256
    assert vocabulary.sha256 in [entry.sha256 for entry in outcome.manifest.files if entry.path == vocabulary.file]
    assert (facts.tensor.dtype, facts.tensor.shape, vocabulary.max_tokens) == ("int32", (6,), 6) and vocabulary.lengths["0.5"] == 7
    texts = [line.decode() for label in ("good", "bad") for line in sentences(label)]
    expected = Counter(row.tobytes() for row in encode(texts, content, 6)[0])
    packed = {split: rows(outcome, f"data/{split}")["words"].to_pylist() for split in SPLITS}
    assert Counter(value for values in packed.values() for value in values) == expected
    known = {token for token, number in load(content).get_vocab().items() if number > 1}
    ids = {number for value in packed["train"] for number in np.frombuffer(value, np.int32).tolist()}
    in_train = {text for text, row in zip(texts, encode(texts, content, 6)[0], strict=True) if row.tobytes() in set(packed["train"])}
    assert known == {word for text in in_train for word in text.split()} and max(ids) < vocabulary.size == len(known) + 2


@pytest.mark.spark
def test_a_document_a_file_is_named_by_its_path(prepare, tmp_path):
    folder = tmp_path / "raw"
    for label in ("good", "bad"):
        (folder / f"{label} ones").mkdir(parents=True)
        for number, line in enumerate(sentences(label, 40)):
            (folder / f"{label} ones" / f"{number} %41.txt").write_bytes(line + b"\nsecond line")
    (folder / "bad ones" / "empty.txt").write_bytes(b"")
    (folder / "bad ones" / "huge.txt").write_bytes(b"x" * 6000)
    recipe = text_recipe(
        folder, source={"pattern": r"(?P<label>\w+) ones/", "document": "file"}, clean={"max_dropped": 0.1, "rules": ["drop_duplicates"]}
    )
    outcome = prepare(recipe)
    ids = {name for split in SPLITS for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist()}
    assert ids == {f"{label} ones/{number} %41.txt" for label in ("good", "bad") for number in range(40)}
    assert set(rows(outcome, "quarantine")["reason"].to_pylist()) == {
        "text: 0 characters, fewer than 1",
        "text: 6000 bytes, more than max_bytes: 5000",
    }


def near_pairs() -> tuple[list[bytes], list[str]]:
    base = "the quick brown fox jumps over the lazy dog while seven wise owls watch from the old oak tree near the river bank today"
    near = [base.replace("today", "tonight"), base.upper() + "!"]
    far = base.replace("fox", "cat").replace("seven", "eight").replace("oak", "elm").replace("lazy", "busy")
    return [text.encode() for text in (base, *near, far)], [base, *near, far]


@pytest.mark.spark
def test_of_near_duplicates_the_first_stays(prepare, tmp_path):
    lines, texts = near_pairs()
    sets = [shingles(text, 3) for text in texts]
    assert min(jaccard(sets[0], one) for one in sets[1:3]) >= 0.8 > jaccard(sets[0], sets[3])
    columns = {**COLUMNS, "words": {"kind": "text", "text": {"tokens": "none"}}}
    folder = write_lines(tmp_path / "raw", [*lines, lines[0]])
    recipe = text_recipe(
        folder,
        columns=columns,
        model=OWN,
        clean={"rules": [{"drop_near_duplicates": {"similarity": 0.8}}]},
        audit={"max_shared_content": 1.0},
    )
    outcome = prepare(recipe)
    kept = [text.decode() for split in SPLITS for text in rows(outcome, f"data/{split}")["words"].to_pylist()]
    assert sum(text in kept for text in texts[:3]) == 1 and texts[3] in kept
    assert prepared(outcome.manifest).accounting.dropped["drop_near_duplicates"] == 3
    first = next(text for text in texts[:3] if text in kept)
    for raw, reason in zip(*(rows(outcome, "quarantine")[name].to_pylist() for name in ("raw", "reason")), strict=True):
        assert json.loads(raw)["words"] in texts[:3] and reason.startswith("nearly the same as ")
        assert json.loads(raw)["words"] == first or jaccard(shingles(json.loads(raw)["words"], 3), shingles(first, 3)) >= 0.8


@pytest.mark.spark
def test_copies_of_train_texts_are_the_same_each_time_and_keep_their_label(prepare, tmp_path):
    folder = write_lines(tmp_path / "raw")
    columns = {**COLUMNS, "words": {"kind": "text", "text": {"tokens": "none"}}}
    operations = [
        {"word_dropout": {"share": 0.3}},
        {"word_swap": {"share": 0.2}},
        {"change_case": {"share": 0.3}},
        {"typo": {"share": 0.1}},
    ]
    recipe = text_recipe(folder, columns=columns, model=OWN, augment={"copies": 2, "operations": operations})
    first, again = prepare(recipe), prepare(recipe, "manual-1", force=True)
    assert [entry.sha256 for entry in first.manifest.files if entry.path.startswith("data/")] == [
        entry.sha256 for entry in again.manifest.files if entry.path.startswith("data/")
    ]
    facts, train = prepared(first.manifest), rows(first, "data/train")
    assert facts.splits["train"].rows == 3 * facts.splits["train"].sources == train.num_rows
    assert all(facts.splits[name].rows == facts.splits[name].sources for name in ("validation", "test"))
    originals = {row["sample_id"]: row for row in train.to_pylist() if "#" not in row["sample_id"]}
    copies = [row for row in train.to_pylist() if "#" in row["sample_id"]]
    assert all(originals[row["sample_id"].partition("#")[0]]["label"] == row["label"] for row in copies)
    assert sum(originals[row["sample_id"].partition("#")[0]]["words"] != row["words"] for row in copies) > 0.9 * len(copies)
    page = html.unescape((first.found.files / facts.report).read_text())
    shown = [
        row for row in copies if row["words"].decode() in page and originals[row["sample_id"].partition("#")[0]]["words"].decode() in page
    ]
    assert "Texts and their copies" in page and len(shown) >= 4


@pytest.mark.spark
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_table_s_text_column_is_read_like_a_document(prepare, tmp_path, kind):
    source = tmp_path / f"raw.{kind}"
    good = [(line.decode(), label) for label in ("good", "bad") for line in sentences(label)]
    lines = [f'"{text}",{label},ok' if kind == "csv" else json.dumps({"words": text, "label": label, "town": "ok"}) for text, label in good]
    extra = [
        ("caf\udce9", "good", "x"),
        ("caf\ufffd is what the source says", "good", "x"),
        ("fine", "good", "b\udce9d"),
        ("<i>a</i>\u0041\u030a", "bad", "x"),
    ]
    extra += [("y" * 6000, "bad", "x"), ("<p></p>", "bad", "x")]
    lines += [
        ",".join(row) if kind == "csv" else json.dumps(dict(zip(("words", "label", "town"), row, strict=True)), ensure_ascii=False)
        for row in extra
    ]
    head = ["words,label,town"] if kind == "csv" else []
    source.write_bytes("\n".join([*head, *lines, ""]).encode("utf-8", "surrogateescape"))
    columns = {**COLUMNS, "words": {"kind": "text", "text": {**COLUMNS["words"]["text"], "tokens": "none"}}}
    recipe = text_recipe(source, columns=columns, model=OWN, source={"format": kind, "pattern": None}, clean={"max_dropped": 0.1})
    outcome = prepare(recipe)
    kept = {text.decode() for split in SPLITS for text in rows(outcome, f"data/{split}")["words"].to_pylist()}
    assert kept == {text for text, _ in good} | {"caf\ufffd is what the source says", "fine", "a\u00c5"}
    found = dict(zip(*(rows(outcome, "quarantine")[name].to_pylist() for name in ("reason", "rule")), strict=True))
    assert found == {
        "words: is not utf-8 text": "unreadable",
        "words: 6000 bytes, more than max_bytes: 5000": "unreadable",
        "words: 0 characters, fewer than 1": "text_length",
    }
    assert all(len(raw) < 2000 for raw in rows(outcome, "quarantine")["raw"].to_pylist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"encoding": "utf-16"}}, "utf-16 cannot be cut into lines"),
        ({"columns": {**COLUMNS, "n": {"kind": "number", "role": "meta"}}}, "a text file has no columns but its text"),
        ({"columns": {**COLUMNS, "id": {"kind": "category", "role": "key"}}}, "expected no role: key"),
        ({"clean": {"rules": ["drop_near_duplicates"]}}, "expected similarity"),
        ({"audit": {"max_near_duplicates": 0.1}}, "not looked for among texts"),
        ({"augment": {"copies": 1, "operations": [{"rotate": {"degrees": 5}}]}}, "rotate is not for features of kind text"),
        (
            {"columns": {**COLUMNS, "words": {"kind": "text", "text": {"min_characters": 9, "max_characters": 3}}}},
            "min_characters up to max_characters",
        ),
        (
            {"columns": {**COLUMNS, "words": {"kind": "text", "text": {"tokens": "unigram"}}}},
            "expected 'words', 'bpe', 'wordpiece' or 'none'",
        ),
    ],
)
def test_contradictions_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError) as refused:
        text_recipe(write_lines(tmp_path / "raw"), **changes)
    assert message in str(refused.value)
