"""Vocabularies: what is in them, that they are the same each time, and what ids they give."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.prepare.tokenizer import PADDING_ID, UNKNOWN_ID, encode, load, train, vocabulary_size
from pipeline.sections.text import Tokens
from tests.conftest import PROJECT

TEXTS = [
    f"The {animal} {verb} over {number} lazy {other}s, doesn't it?"
    for animal, other in (("fox", "dog"), ("cat", "cow"), ("hen", "pig"))
    for verb in ("jumps", "jumped", "jumping", "looks", "looked", "looking")
    for number in ("two", "three", "many")
]
METHODS = ("words", "bpe", "wordpiece")


def learn(method="words", texts=TEXTS, **options):
    return train(lambda: iter(texts), Tokens(method=method, **options))


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_0_unknown_is_1_and_ids_stay_below_the_size(method):
    content = learn(method, size=64)
    assert (load(content).token_to_id("[PAD]"), load(content).token_to_id("[UNK]")) == (PADDING_ID, UNKNOWN_ID) == (0, 1)
    ids, lengths = encode([*TEXTS, "", "§§", "fox"], content, 8)
    assert ids.dtype == np.int32 and ids.shape == (len(TEXTS) + 3, 8) and ids.max() < vocabulary_size(content) <= 64
    assert lengths[-3] == 0 and not ids[-3].any()
    assert ids[-2, 0] == UNKNOWN_ID and (ids[-1] > 0).sum() == lengths[-1]


@pytest.mark.parametrize("method", METHODS)
def test_ids_are_cut_at_max_tokens_and_the_length_is_of_the_whole_text(method):
    content = learn(method)
    short, lengths = encode(TEXTS, content, 4)
    whole, same = encode(TEXTS, content, 40)
    assert np.array_equal(short, whole[:, :4]) and np.array_equal(lengths, same)
    assert np.array_equal((whole > 0).sum(axis=1), lengths)


def test_words_are_those_of_the_train_texts_by_frequency():
    vocabulary = load(learn(min_count=1, size=100)).get_vocab()
    assert sorted(vocabulary, key=vocabulary.get)[:2] == ["[PAD]", "[UNK]"]
    assert {"fox", "jumping", "doesn", "'", "t", "?"} <= set(vocabulary) and "Fox" not in vocabulary
    rare = load(learn(texts=[*TEXTS, "once"], min_count=2)).get_vocab()
    assert "once" not in rare


def test_pieces_make_words_that_were_never_seen():
    for method in ("bpe", "wordpiece"):
        ids, lengths = encode(["jumpy lookingjumps"], learn(method, size=200), 40)
        assert lengths[0] > 2 and UNKNOWN_ID not in ids[0, : lengths[0]].tolist()


@pytest.mark.parametrize("method", METHODS)
def test_text_that_reads_like_padding_is_text(method):
    ids, lengths = encode(["[PAD] fox [UNK] fox"], learn(method), 40)
    assert PADDING_ID not in ids[0, : lengths[0]].tolist()
    assert "##" not in json.dumps(json.loads(learn(method))["added_tokens"])


def test_letter_case_is_kept_on_request():
    ids, _ = encode(["THE fox", "the fox"], learn(lowercase=False, min_count=1), 4)
    assert ids[0, 0] == UNKNOWN_ID and ids[0, 1] == ids[1, 1] > UNKNOWN_ID


CODE = """
import hashlib, sys
from pipeline.prepare.tokenizer import train
from pipeline.sections.text import Tokens
from tests.prepare.test_tokenizer import TEXTS
for method in ("words", "bpe", "wordpiece"):
    print(hashlib.sha256(train(lambda: iter(TEXTS), Tokens(method=method, size=200)).encode()).hexdigest())
"""


@pytest.mark.slow
def test_the_same_texts_give_the_same_bytes_in_every_process():
    others = [
        subprocess.run([sys.executable, "-c", CODE], cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(3)
    ]
    mine = [hashlib.sha256(learn(method, size=200).encode()).hexdigest() for method in METHODS]
    assert others == [mine] * 3
