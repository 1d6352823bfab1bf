"""Whether a side did the work: tensors as `work.py` makes them, and as many copies as there should be, that differ from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.bench import OURS, Checked, CheckFailed, Job, Side
from benchmarks.p6 import work
from pipeline.manifest import read_manifest
from pipeline.schema import SPLITS, files_of

LOOKED_AT = 50  # samples whose tensor is made again
MAX_STEPS = 1  # int16 steps that a sound may be off: the order of float32 sums


@dataclass(frozen=True)
class Found:
    """What a side left. Of ours, only train rows have copies."""

    tensors: dict[str, bytes]  # by key; copies end in #1
    copied: set[str]  # keys that should have a copy
    vocabulary: dict[str, int] = field(default_factory=dict)
    own: dict[str, float] = field(default_factory=dict)


def checker(kind: str) -> Callable[[Side, Job, str], Checked]:
    return partial(check, kind)


def check(kind: str, side: Side, job: Job, stdout: str) -> Checked:
    """Raises CheckFailed for the first thing that is wrong."""
    found = read_ours(stdout) if side.name == OURS else read_peer(job.out)
    copies = {key for key in found.tensors if "#" in key}
    if copies != {f"{key}#1" for key in found.copied}:
        raise CheckFailed(f"{side.name}: {len(copies)} copies, expected {len(found.copied)}")
    plain = found.tensors.keys() - copies
    if len(plain) != job.rows:
        raise CheckFailed(f"{side.name}: {len(plain)} samples of {job.rows} are there")
    same = sum(found.tensors[key] == found.tensors[f"{key}#1"] for key in found.copied)
    if same > len(copies) * (0.01 if kind == "text" else 0):  # a short line may keep its words
        raise CheckFailed(f"{side.name}: {same} copies are what they are copies of")
    if kind == "text":
        check_texts(side, job, found, plain)
        return Checked({"rows": job.rows}, found.own)
    files = sorted(path.relative_to(job.data).as_posix() for path in job.data.rglob("*.*") if not path.name.startswith("_"))
    if plain != set(files):
        raise CheckFailed(f"{side.name}: the samples are not called as the files")
    check_media(kind, side, job, found, files[:: max(1, len(files) // LOOKED_AT)])
    digest = hashlib.sha256(b"".join(found.tensors[key] for key in files)).hexdigest() if kind == "images" else ""
    return Checked({"rows": len(files), "tensors": digest}, found.own)


def check_media(kind: str, side: Side, job: Job, found: Found, keys: list[str]) -> None:
    for key in keys:
        tensor = work.decode((job.data / key).read_bytes(), kind)
        received = np.frombuffer(found.tensors[key], tensor.dtype).reshape(tensor.shape)
        off = np.abs(received.astype(int) - tensor.astype(int)).max()
        if off > (MAX_STEPS if kind == "audio" else 0):
            raise CheckFailed(f"{side.name}: {key} is {off} steps off")


def check_texts(side: Side, job: Job, found: Found, plain: set[str]) -> None:
    """Some lines, cleaned and looked up here in the side's own vocabulary, are among its tensors: ours are named by their content."""
    if not work.VOCABULARY * 0.9 <= len(found.vocabulary) <= work.VOCABULARY:
        raise CheckFailed(f"{side.name}: a vocabulary of {len(found.vocabulary)}, expected nearly {work.VOCABULARY}")
    held = {found.tensors[key] for key in plain}
    for path in sorted(job.data.rglob("*.txt"))[:LOOKED_AT]:
        line = path.read_text(encoding="utf-8").splitlines()[0]
        if work.ids_of(work.clean(line), found.vocabulary).tobytes() not in held:
            raise CheckFailed(f"{side.name}: no tensor has the ids of the first line of {path.name}")


def read_peer(out: Path) -> Found:
    tables = [pq.read_table(path) for path in sorted(out.rglob("*.parquet"))]
    tensors = {key: tensor for table in tables for key, tensor in zip(table["key"].to_pylist(), table["tensor"].to_pylist(), strict=True)}
    words = out / "vocabulary.json"
    return Found(tensors, {key for key in tensors if "#" not in key}, json.loads(words.read_text()) if words.exists() else {})


def read_ours(stdout: str) -> Found:
    folder = Path(json.loads(stdout.strip().splitlines()[-1])["folder"])
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        raise CheckFailed(f"{folder} has no manifest")
    files, tensors, copied = folder / manifest.attempt, {}, set()
    for split in SPLITS:
        for entry in files_of(manifest, split):
            table = pq.read_table(files / entry.path, partitioning=None)
            names = table["sample_id"].to_pylist()
            tensors |= dict(zip(names, table["content"].to_pylist(), strict=True))
            copied |= {name for name in names if split == "train" and "#" not in name}
    words = next(files.rglob("tokenizer.json"), None)
    vocabulary = json.loads(words.read_text(encoding="utf-8"))["model"]["vocab"] if words else {}
    return Found(tensors, copied, vocabulary, {"prepare": manifest.seconds})


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises CheckFailed where sides have other tensors of the same files."""
    (first, expected), *others = list(checksums.items()) or [("", {})]
    for name, received in others:
        if received != expected:
            raise CheckFailed(f"{first} has {expected}, {name} has {received}")
