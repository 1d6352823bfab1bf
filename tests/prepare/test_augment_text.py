"""Operations on texts: what they change, how much, and that the same numbers give the same text."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.prepare.augment import augment
from pipeline.prepare.augment.text import BESIDE, change_case, typo, word_dropout, word_swap
from pipeline.sections.augment import OPERATIONS_OF, AugmentOperation
from pipeline.sections.augment_text import ChangeCase, Typo, WordDropout, WordSwap

TEXTS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=8), min_size=1, max_size=20).map(
    " ".join
)
LONG = " ".join(f"word{number}" for number in range(2000))
EACH = {"word_dropout": {"share": 0.4}, "word_swap": {"share": 0.4}, "change_case": {"share": 0.5}, "typo": {"share": 0.3}}
OPERATIONS = [AugmentOperation.model_validate({name: options}) for name, options in EACH.items()]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_every_operation_on_texts_is_here():
    assert tuple(EACH) == OPERATIONS_OF["text"]


@given(TEXTS, st.integers(0, 9))
@pytest.mark.parametrize("operation", OPERATIONS, ids=EACH)
def test_a_copy_follows_from_seed_sample_copy_and_operation_and_is_never_empty(operation, text, seed):
    one, again = (augment(text, "text", [operation], seed=seed, sample_id="a", copy=1) for _ in range(2))
    assert one == again and one.strip()


def test_other_copies_samples_and_seeds_are_other_texts():
    copies = {
        augment(LONG, "text", OPERATIONS, seed=seed, sample_id=name, copy=copy) for seed in (0, 1) for name in "ab" for copy in (1, 2)
    }
    assert len(copies) == 8


@given(TEXTS, st.integers(0, 9))
def test_dropout_keeps_some_words_in_their_order(text, seed):
    left = iter(text.split(" "))
    assert all(word in left for word in word_dropout(text, rng(seed), WordDropout(share=0.5)).split(" "))


@given(TEXTS, st.integers(0, 9))
def test_swaps_keep_every_word_and_case_keeps_every_letter(text, seed):
    assert Counter(word_swap(text, rng(seed), WordSwap(share=0.5)).split(" ")) == Counter(text.split(" "))
    ascii_text = text.encode("ascii", "ignore").decode()
    assert change_case(ascii_text, rng(seed), ChangeCase(share=0.5)).lower() == ascii_text.lower()


def test_shares_are_kept():
    assert abs(len(word_dropout(LONG, rng(), WordDropout(share=0.3)).split()) / 2000 - 0.7) < 0.03
    moved = sum(a != b for a, b in zip(LONG.split(), word_swap(LONG, rng(), WordSwap(share=0.2)).split(), strict=True))
    assert 0.15 < moved / 2000 < 0.25
    upper = sum(word.isupper() for word in change_case(LONG, rng(), ChangeCase(share=0.4, to="upper")).split())
    assert abs(upper / 2000 - 0.4) < 0.04


def test_typos_strike_letters_alone_about_as_often_as_said():
    text = "abcdefghij" * 500 + " 0123456789" * 100
    found = typo(text, rng(), Typo(share=0.1))
    assert found.endswith(text[5000:]) and 4700 < len(found) - 1100 < 5300
    kept = typo("q" * 4000, rng(), Typo(share=0.5))
    assert set(kept) <= {"q", *BESIDE["q"]} and 0.05 < kept.count("w") / 4000 < 0.3
