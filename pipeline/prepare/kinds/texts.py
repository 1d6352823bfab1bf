"""Texts: staged clean, packed as token ids, int32, padded with 0 behind; or as they are, for a model that cuts them itself."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from pipeline.prepare import documents
from pipeline.prepare.kinds.base import ContentFit, Decoded, Undecodable
from pipeline.schema import Tensor, Vocabulary
from pipeline.sections.data import Column
from pipeline.sections.text import Text

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.config import Recipe
    from pipeline.prepare.tally import Tally

VOCABULARY_FILE = "tokenizer.json"
AVERAGE_BYTES = 4096  # a document is taken for so long where batches are sized; their bytes are bounded besides
SAMPLE_ROWS = 10_000  # train rows whose tokens are counted for the manifest
BLOCK_ROWS = 4096  # encoded at a time


class Texts:
    """Cleaned as the column's `text` says. `decode` is for whole files of UTF-8; `read_text.py` knows lines and encodings."""

    staged: Literal["binary", "string"] = "string"

    def row_bytes(self, column: Column) -> int:
        return AVERAGE_BYTES

    def decode(self, content: bytes, column: Column, name: str = "") -> Decoded:
        try:
            return Decoded(documents.clean(documents.decode(documents.without_mark(content, "utf-8"), "utf-8"), options_of(column)))
        except documents.BadDocument as error:
            raise Undecodable(str(error)) from None

    def count(self, values: pa.ChunkedArray, column: Column) -> list[list[int]]:
        """Documents and their characters."""
        return [[len(values), sum(map(len, values.to_pylist()))]]

    def fit(self, spark: SparkSession, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
        """The vocabulary, from the train rows where they are staged. No Spark job: the library learns in one process, from a stream."""
        from pipeline.prepare import tokenizer

        name = recipe.content or ""
        tokens = options_of(recipe.columns[name]).tokens
        if tokens.method == "none":
            return ContentFit(Tensor(name=name, dtype="string", shape=(), encoding="utf8"))
        parts = sorted(map(int, tally.staged["train"]))

        def texts() -> Iterator[str]:
            return train_texts(work, parts, name, tokens.sample_mb << 20)

        content = tokenizer.train(texts, tokens)
        sample = [text for text, _ in zip(texts(), range(SAMPLE_ROWS), strict=False)]
        found = describe(sample, content, tokens.max_tokens)
        vocabulary = Vocabulary(
            column=name,
            method=tokens.method,
            size=tokenizer.vocabulary_size(content),
            max_tokens=tokens.max_tokens,
            file=VOCABULARY_FILE,
            sha256=hashlib.sha256(content.encode()).hexdigest(),
            **found,
        )
        tensor = Tensor(name=name, dtype="int32", shape=(tokens.max_tokens,))
        return ContentFit(tensor, facts={"vocabulary": vocabulary}, files={VOCABULARY_FILE: content})

    def pack(self, values: pa.ChunkedArray, fitted: ContentFit) -> pa.Array:
        from pipeline.prepare import tokenizer

        if fitted.tensor.dtype == "string":
            return values.combine_chunks().cast(pa.binary())  # UTF-8
        texts, (max_tokens,), packed = values.to_pylist(), fitted.tensor.shape, []
        for begin in range(0, len(texts), BLOCK_ROWS):
            ids, _ = tokenizer.encode(texts[begin : begin + BLOCK_ROWS], fitted.files[VOCABULARY_FILE], max_tokens)
            packed += [row.tobytes() for row in ids.astype("<i4", copy=False)]
        return pa.array(packed, pa.binary())

    def unpack(self, value: Any, fitted: ContentFit) -> str:
        return str(value)

    def repack(self, values: Any, fitted: ContentFit) -> str:
        return str(values)


def options_of(column: Column) -> Text:
    return column.text or Text()


def train_texts(work: Path, parts: list[int], name: str, limit: int) -> Iterator[str]:
    """Staged train texts in their arranged order, which a hash of the key decides: the first `limit` bytes of them are a fair sample."""
    from pipeline.prepare.staging import read_staged

    taken = 0
    for part in parts:
        for batch in read_staged(work, "train", part).select([name]).to_batches(max_chunksize=BLOCK_ROWS):
            for text in batch.column(0).to_pylist():
                taken += len(text)
                if taken > limit:
                    return
                yield text


def describe(texts: list[str], content: str, max_tokens: int) -> dict[str, Any]:
    """What the vocabulary does to a sample of train texts."""
    from pipeline.prepare import tokenizer

    ids, lengths = tokenizer.encode(texts, content, max_tokens)
    counts = Counter({"unknown": int((ids == tokenizer.UNKNOWN_ID).sum()), "tokens": int((ids != tokenizer.PADDING_ID).sum())})
    cuts = np.quantile(lengths, [0.5, 0.95, 1.0], method="inverted_cdf") if len(lengths) else np.zeros(3)
    return {
        "sample_rows": len(texts),
        "unknown_share": counts["unknown"] / max(counts["tokens"], 1),
        "cut_share": float((lengths > max_tokens).mean()) if len(lengths) else 0.0,
        "lengths": {name: int(value) for name, value in zip(("0.5", "0.95", "1"), cuts.tolist(), strict=True)},
    }
