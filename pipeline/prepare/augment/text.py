"""Operations on texts. Pure; run in Spark's Python workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.sections.augment_text import ChangeCase, Typo, WordDropout, WordSwap

WORD = re.compile(r"\S+")
CASES: dict[str, Callable[[str], str]] = {"lower": str.lower, "upper": str.upper, "title": str.title}
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
BESIDE = {key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2] for row in ROWS for place, key in enumerate(row)}


def word_dropout(text: str, rng: np.random.Generator, options: WordDropout) -> str:
    words = text.split(" ")
    is_kept = rng.random(len(words)) >= options.share
    if not is_kept.any():
        is_kept[rng.integers(len(words))] = True
    return " ".join(word for word, keeps in zip(words, is_kept.tolist(), strict=True) if keeps)


def word_swap(text: str, rng: np.random.Generator, options: WordSwap) -> str:
    words = text.split(" ")
    if len(words) < 2:
        return text
    places = rng.choice(len(words) - 1, size=min(len(words) - 1, int(np.ceil(options.share * len(words) / 2))), replace=False)
    for place in sorted(places.tolist()):
        words[place], words[place + 1] = words[place + 1], words[place]
    return " ".join(words)


def change_case(text: str, rng: np.random.Generator, options: ChangeCase) -> str:
    words = text.split(" ")
    changes = rng.random(len(words)) < options.share
    kinds = rng.integers(len(CASES), size=len(words))
    names = list(CASES)
    return " ".join(
        CASES[names[kind] if options.to == "random" else options.to](word) if changed else word
        for word, changed, kind in zip(words, changes.tolist(), kinds.tolist(), strict=True)
    )


def typo(text: str, rng: np.random.Generator, options: Typo) -> str:
    places = np.flatnonzero(rng.random(len(text)) < options.share)
    kinds, sides = rng.integers(4, size=len(places)), rng.integers(2, size=len(places))
    letters = list(text)
    for place, kind, side in zip(places.tolist(), kinds.tolist(), sides.tolist(), strict=True):
        if text[place].isalpha():
            strike(letters, text, place, kind, side)
    changed = "".join(letters)
    return changed if changed.strip() else text


def strike(letters: list[str], text: str, place: int, kind: int, side: int) -> None:
    """Change one letter; a place that was emptied or joined before stays as it is."""
    letter = text[place]
    if letters[place] != letter:
        return
    beside = BESIDE.get(letter.lower(), "")
    if kind == 0:
        letters[place] = ""
    elif kind == 1:
        letters[place] = letter * 2
    elif kind == 2 and place + 1 < len(text) and text[place + 1].isalpha() and letters[place + 1] == text[place + 1]:
        letters[place], letters[place + 1] = text[place + 1], letter
    elif beside:
        key = beside[side % len(beside)]
        letters[place] = key.upper() if letter.isupper() else key


OPERATIONS: dict[str, Callable[[str, np.random.Generator, Any], str]] = {
    "word_dropout": word_dropout,
    "word_swap": word_swap,
    "change_case": change_case,
    "typo": typo,
}
