"""Whether a side did P6's work: tensors as `work.decode` gives them, and as many copies as there should be, that differ from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.bench import OURS, Checked, CheckFailed, Job, Side
from benchmarks.p6 import work
from pipeline.manifest import read_manifest
from pipeline.schema import SPLITS, files_of

LOOKED_AT = 50  # files whose tensor is made again
MAX_STEPS = 1  # int16 steps that a sound may be off: the order of float32 sums


def checker(kind: str) -> Callable[[Side, Job, str], Checked]:
    return partial(check, kind)


def check(kind: str, side: Side, job: Job, stdout: str) -> Checked:
    """Raises CheckFailed for the first thing that is wrong."""
    found, own = read_ours(stdout) if side.name == OURS else (read_peer(job.out), {})
    files = sorted(path.relative_to(job.data).as_posix() for path in job.data.rglob("*.*") if not path.name.startswith("_"))
    plain = {key for key in found if "#" not in key}
    if plain != set(files):
        raise CheckFailed(f"{side.name}: {len(plain)} files of {len(files)} are there")
    copies = {key for key in found if "#" in key}
    expected = {f"{key}#1" for key in (train_of(stdout) if side.name == OURS else files)}
    if copies != expected:
        raise CheckFailed(f"{side.name}: {len(copies)} copies, expected {len(expected)}")
    for key in files[:: max(1, len(files) // LOOKED_AT)]:
        tensor = work.decode((job.data / key).read_bytes(), kind)
        received = np.frombuffer(found[key], tensor.dtype).reshape(tensor.shape)
        off = np.abs(received.astype(int) - tensor.astype(int)).max()
        if off > (MAX_STEPS if kind == "audio" else 0):
            raise CheckFailed(f"{side.name}: {key} is {off} steps off")
        if found.get(f"{key}#1") == found[key]:
            raise CheckFailed(f"{side.name}: the copy of {key} is no other")
    digest = hashlib.sha256(b"".join(found[key] for key in files)).hexdigest() if kind == "images" else ""
    return Checked({"rows": len(files), "tensors": digest}, own)


def read_peer(out: Path) -> dict[str, bytes]:
    tables = [pq.read_table(path) for path in sorted(out.rglob("*.parquet"))]
    return {key: tensor for table in tables for key, tensor in zip(table["key"].to_pylist(), table["tensor"].to_pylist(), strict=True)}


def read_ours(stdout: str) -> tuple[dict[str, bytes], dict[str, float]]:
    folder = Path(json.loads(stdout.strip().splitlines()[-1])["folder"])
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        raise CheckFailed(f"{folder} has no manifest")
    found: dict[str, bytes] = {}
    for split in SPLITS:
        for entry in files_of(manifest, split):
            table = pq.read_table(folder / manifest.attempt / entry.path, partitioning=None)
            found |= dict(zip(table["sample_id"].to_pylist(), table["content"].to_pylist(), strict=True))
    return found, {"prepare": manifest.seconds}


def train_of(stdout: str) -> list[str]:
    folder = Path(json.loads(stdout.strip().splitlines()[-1])["folder"])
    manifest = read_manifest(folder / "manifest.json")
    if manifest is None:
        raise CheckFailed(f"{folder} has no manifest")
    tables = [
        pq.read_table(folder / manifest.attempt / entry.path, columns=["sample_id"], partitioning=None)
        for entry in files_of(manifest, "train")
    ]
    return [name for table in tables for name in table["sample_id"].to_pylist() if "#" not in name]


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises CheckFailed where sides have other tensors of the same files."""
    (first, expected), *others = list(checksums.items()) or [("", {})]
    for name, received in others:
        if received != expected:
            raise CheckFailed(f"{first} has {expected}, {name} has {received}")
