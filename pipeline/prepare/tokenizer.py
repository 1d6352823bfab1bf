"""A vocabulary learnt from texts, as the JSON of the `tokenizers` library; texts -> token ids. Pure; encoding runs in Spark's workers.

The same texts give the same JSON, to the byte. That is why there is no unigram model: the library's own gives others each time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from pipeline.sections.text import Tokens

PADDING, UNKNOWN = "[PAD]", "[UNK]"
PADDING_ID, UNKNOWN_ID = 0, 1
MAX_CHARACTERS = 1000  # different ones that pieces are made of, the most frequent
INSIDE = "##"  # before a piece that does not begin a word

Texts = Callable[[], Iterator[str]]  # gives them from the start each time


def train(texts: Texts, options: Tokens) -> str:
    """The tokenizer's JSON.

    Args:
        texts: of train rows; they are gone through once or twice.
        options: `method` is not none.
    """
    alphabet = [] if options.method == "words" else frequent_characters(texts())
    learner = TRAINERS[options.method](options, alphabet)
    tokenizer = bare(MODELS[options.method](), options)
    tokenizer.train_from_iterator(texts(), learner)
    # What was handed over as special would be found in texts too: "[PAD]" in a document is a bracket, a word, and a bracket.
    return json.dumps({**json.loads(tokenizer.to_str()), "added_tokens": []}, ensure_ascii=False, indent=1)


def bare(model: models.Model, options: Tokens) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase() if options.lowercase else None
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # words, and runs of what is neither word nor space
    return tokenizer


def frequent_characters(texts: Iterable[str]) -> list[str]:
    """At most MAX_CHARACTERS, most frequent first; of equally frequent ones the lower code first. Both letter cases are counted."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
        counts.update(text.lower())
    return sorted((character for character in counts if not character.isspace()), key=lambda found: (-counts[found], found))[
        :MAX_CHARACTERS
    ]


def word_trainer(options: Tokens, alphabet: list[str]) -> trainers.Trainer:
    return trainers.WordLevelTrainer(
        vocab_size=options.size, min_frequency=options.min_count, special_tokens=[PADDING, UNKNOWN], show_progress=False
    )


def bpe_trainer(options: Tokens, alphabet: list[str]) -> trainers.Trainer:
    return trainers.BpeTrainer(
        vocab_size=options.size,
        min_frequency=options.min_count,
        limit_alphabet=MAX_CHARACTERS,
        initial_alphabet=alphabet,
        special_tokens=[PADDING, UNKNOWN],
        show_progress=False,
    )


def wordpiece_trainer(options: Tokens, alphabet: list[str]) -> trainers.Trainer:
    """Pieces within a word get their ids here.

    The library would number them as its hash map yields words, other each time, and with them go the merges of equally frequent pairs.
    """
    inside = [INSIDE + character for character in sorted(alphabet)]
    return trainers.WordPieceTrainer(
        vocab_size=options.size,
        min_frequency=options.min_count,
        limit_alphabet=MAX_CHARACTERS,
        initial_alphabet=alphabet,
        special_tokens=[PADDING, UNKNOWN, *inside],
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )


MODELS: dict[str, Callable[[], models.Model]] = {
    "words": lambda: models.WordLevel(unk_token=UNKNOWN),
    "bpe": lambda: models.BPE(unk_token=UNKNOWN),
    "wordpiece": lambda: models.WordPiece(unk_token=UNKNOWN),
}
TRAINERS: dict[str, Callable[[Tokens, list[str]], trainers.Trainer]] = {
    "words": word_trainer,
    "bpe": bpe_trainer,
    "wordpiece": wordpiece_trainer,
}


@lru_cache(maxsize=2)
def load(content: str) -> Tokenizer:
    """A tokenizer from its JSON; kept, since a Spark worker packs one file after another with it."""
    tokenizer = Tokenizer.from_str(content)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def vocabulary_size(content: str) -> int:
    """Number of ids: the largest is one less."""
    return int(load(content).get_vocab_size())


def encode(texts: list[str], content: str, max_tokens: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """((N, max_tokens) ids, padded with 0 behind; (N,) tokens of each whole text).

    A text without any token is all padding.
    """
    found = [encoding.ids for encoding in load(content).encode_batch_fast(texts, add_special_tokens=False)]
    lengths = np.fromiter(map(len, found), np.int64, len(found))
    ids = np.zeros((len(found), max_tokens), np.int32)
    kept = np.minimum(lengths, max_tokens)
    flat = [token for one, length in zip(found, kept.tolist(), strict=True) for token in one[:length]]
    ids[np.arange(max_tokens)[None, :] < kept[:, None]] = flat
    return ids, lengths
