"""The same loop with our own functions for decoding and copies: what of our time is Spark, splits, audits, digests and the report."""

from __future__ import annotations

import sys
from functools import partial
from multiprocessing import Pool
from pathlib import Path

from benchmarks.bench import ROOT
from benchmarks.p6 import work
from benchmarks.p6.sides.bare import FILE_ROWS
from pipeline.config import Recipe, load
from pipeline.prepare.augment import augment
from pipeline.prepare.kinds import KINDS, ContentFit
from pipeline.schema import Tensor


def main(data: str, out: str, cores: str, kind: str) -> None:
    recipe = load(ROOT / f"benchmarks/p6/{kind}.yaml", [f"source.path={data}"])
    files = sorted(path for path in Path(data).rglob("*.*") if not path.name.startswith("_"))
    Path(out).mkdir(parents=True, exist_ok=True)
    parts = [(number, files[begin : begin + FILE_ROWS]) for number, begin in enumerate(range(0, len(files), FILE_ROWS))]
    with Pool(int(cores)) as pool:
        pool.map(partial(write_part, recipe, data, out), parts, chunksize=1)


def write_part(recipe: Recipe, data: str, out: str, part: tuple[int, list[Path]]) -> None:
    number, files = part
    column = recipe.columns["content"]
    kind, shape = KINDS[column.kind], column.shape or (round(work.RATE * work.SECONDS),)
    fitted = ContentFit(Tensor(name="content", dtype="uint8" if column.shape else "int16", shape=shape))
    keys, tensors = [], []
    for path in files:
        key = path.relative_to(data).as_posix()
        value = kind.decode(path.read_bytes(), column, key).value
        changed = augment(kind.unpack(value, fitted), column.kind, recipe.augment.operations, seed=0, sample_id=key, copy=1)
        keys += [key, f"{key}#1"]
        tensors += [value, kind.repack(changed, fitted)]
    work.write(keys, tensors, Path(out) / f"part-{number:05d}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
