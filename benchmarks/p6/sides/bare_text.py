"""P6T as a plain loop in as many processes as cores: clean, learn the words with the `tokenizers` library, encode, write."""

from __future__ import annotations

import json
import sys
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from benchmarks.p6 import work


def main(data: str, out: str, cores: str, kind: str) -> None:
    files = sorted(Path(data).rglob("*.txt"))
    Path(out).mkdir(parents=True, exist_ok=True)
    with Pool(int(cores)) as pool:
        cleaned = pool.map(read, files, chunksize=1)
        tokenizer = learn([text for texts in cleaned for number, text in enumerate(texts) if work.is_train(number)])
        (Path(out) / "vocabulary.json").write_text(json.dumps(tokenizer.get_vocab()))
        jobs = list(zip(range(len(files)), [path.name for path in files], cleaned, strict=True))
        pool.map(partial(write_part, tokenizer.to_str(), out), jobs, chunksize=1)


def read(path: Path) -> list[str]:
    return [work.clean(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def learn(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]"]
    trainer = trainers.WordLevelTrainer(
        vocab_size=work.VOCABULARY, min_frequency=work.MIN_COUNT, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def write_part(content: str, out: str, job: tuple[int, str, list[str]]) -> None:
    number, name, texts = job
    tokenizer, rng = Tokenizer.from_str(content), np.random.default_rng(number)
    tokenizer.enable_padding(length=work.MAX_TOKENS, pad_id=work.PADDING_ID)
    tokenizer.enable_truncation(work.MAX_TOKENS)
    both = [version for text in texts for version in (text, work.without_words(text, rng))]
    tensors = [np.asarray(found.ids, np.int32).tobytes() for found in tokenizer.encode_batch_fast(both)]
    keys = [f"{name}:{line}{copy}" for line in range(len(texts)) for copy in ("", "#1")]
    work.write(keys, tensors, Path(out) / f"part-{number:05d}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
