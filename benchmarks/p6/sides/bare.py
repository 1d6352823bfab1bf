"""A plain loop in as many processes as cores: no Spark, no split, no quarantine, no audit."""

from __future__ import annotations

import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from benchmarks.p6 import work

FILE_ROWS = 1000


def main(data: str, out: str, cores: str, kind: str) -> None:
    files = sorted(path for path in Path(data).rglob("*.*") if not path.name.startswith("_"))
    Path(out).mkdir(parents=True, exist_ok=True)
    parts = [(number, files[begin : begin + FILE_ROWS], data, out, kind) for number, begin in enumerate(range(0, len(files), FILE_ROWS))]
    with Pool(int(cores)) as pool:
        pool.map(write_part, parts, chunksize=1)


def write_part(part: tuple[int, list[Path], str, str, str]) -> None:
    number, files, data, out, kind = part
    rng, keys, tensors = np.random.default_rng(number), [], []
    for path in files:
        tensor = work.decode(path.read_bytes(), kind)
        key = path.relative_to(data).as_posix()
        keys += [key, f"{key}#1"]
        tensors += [tensor.tobytes(), work.augment(tensor, kind, rng).tobytes()]
    work.write(keys, tensors, Path(out) / f"part-{number:05d}.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
