"""conf/sentiment.yaml on the real sentences: counted again from the source, and read back token by token, by code of its own."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline import config
from pipeline.console import Console
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.schema import SPLITS, prepared
from pipeline.stage import Request
from tests.conftest import PROJECT
from tests.prepare.conftest import rows

pytestmark = pytest.mark.spark

DATA = Path(os.environ.get("LONGHAUL_TEST_DATA", PROJECT.parent / "shared" / "data")) / "sentiment"


@pytest.fixture(scope="module")
def sentences() -> list[tuple[str, str]]:
    """(label, text) of every line of the source."""
    if not DATA.exists():
        pytest.skip(f"{DATA} is not here; LONGHAUL_TEST_DATA names the folder of data sets")
    found = []
    for label in ("pos", "neg"):
        lines = (DATA / f"rt-polarity.{label}").read_bytes().split(b"\n")
        found += [(label, " ".join(unicodedata.normalize("NFC", line.decode("cp1252")).split())) for line in lines if line.strip()]
    return found


@pytest.fixture(scope="module")
def outcome(spark, sentences, tmp_path_factory):
    recipe = config.load(PROJECT / "conf" / "sentiment.yaml", [f"source.path={DATA}"])
    return job.run(Request(recipe, Run(tmp_path_factory.mktemp("sentiment"), "sentiment", "manual-0"), Console(None)), spark)


def alike(sentences: list[tuple[str, str]], similarity: float) -> list[tuple[int, int]]:
    """Every two sentences whose sets of three words in a row have this much in common; all that share one are compared."""
    sets, index, shared = [], {}, Counter()
    for place, (_, text) in enumerate(sentences):
        words = re.findall(r"\w+", text.lower())
        size = min(3, len(words))
        sets.append({tuple(words[start : start + size]) for start in range(len(words) - size + 1)})
        for run in sets[-1]:
            index.setdefault(run, []).append(place)
    for places in index.values():
        shared.update(combinations(places, 2))
    return [pair for pair, common in shared.items() if common >= similarity * len(sets[pair[0]] | sets[pair[1]])]


def test_counts_are_those_of_the_source(outcome, sentences):
    facts = prepared(outcome.manifest)
    labels = Counter(label for label, _ in sentences)
    assert facts.accounting.rows_in == len(sentences) == 10662 and labels == {"pos": 5331, "neg": 5331}
    assert facts.accounting.dropped["unreadable"] == 0 and facts.accounting.dropped["drop_duplicates"] == 0
    pairs = alike(sentences, 0.8)
    assert len({place for pair in pairs for place in pair}) == 2 * len(pairs)  # no chains: of each pair one goes
    assert facts.accounting.dropped["drop_near_duplicates"] == len(pairs) == rows(outcome, "quarantine").num_rows
    gone = [json.loads(raw)["review"] for raw in rows(outcome, "quarantine")["raw"].to_pylist()]
    assert all(sum(sentences[place][1] in gone for place in pair) == 1 for pair in pairs)
    kept = sum((Counter(facts.splits[name].label_counts) for name in SPLITS), Counter())
    assert kept == labels - Counter(label for label, text in sentences if text in gone)
    for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert all(abs(count - share * 5331) <= 3 for count in facts.splits[name].label_counts.values())


def test_every_sentence_is_read_back_token_by_token(outcome, sentences):
    facts = prepared(outcome.manifest)
    vocabulary = json.loads((outcome.found.files / facts.vocabulary.file).read_text())["model"]["vocab"]
    gone = [json.loads(raw)["review"] for raw in rows(outcome, "quarantine")["raw"].to_pylist()]

    def ids(text: str) -> bytes:
        tokens = [vocabulary.get(token, 1) for token in re.findall(r"\w+|[^\w\s]+", text.lower())][:56]
        return np.array([*tokens, *[0] * (56 - len(tokens))], np.int32).tobytes()

    expected = Counter((ids(text), label) for label, text in sentences if text not in gone)
    found: Counter = Counter()
    for name in SPLITS:
        table = rows(outcome, f"data/{name}")
        originals = ["#" not in sample_id for sample_id in table["sample_id"].to_pylist()]
        found.update(
            (value, facts.classes[label])
            for value, label, is_original in zip(table["review"].to_pylist(), table["label"].to_pylist(), originals, strict=True)
            if is_original
        )
    assert found == expected
    assert vocabulary["[PAD]"] == 0 and vocabulary["[UNK]"] == 1 and len(vocabulary) == facts.vocabulary.size


def test_every_word_of_the_vocabulary_is_in_two_train_rows_or_twice_in_one(outcome, sentences):
    facts = prepared(outcome.manifest)
    vocabulary = json.loads((outcome.found.files / facts.vocabulary.file).read_text())["model"]["vocab"]
    names = {number: token for token, number in vocabulary.items()}
    table = rows(outcome, "data/train")
    counts = Counter(
        names[number]
        for value, sample_id in zip(table["review"].to_pylist(), table["sample_id"].to_pylist(), strict=True)
        if "#" not in sample_id
        for number in np.frombuffer(value, np.int32).tolist()
        if number > 1
    )
    cut = {token for token, _ in Counter(vocabulary).items() if token not in ("[PAD]", "[UNK]") and counts[token] < 2}
    assert len(cut) <= 5  # words that stand behind the 56th token
