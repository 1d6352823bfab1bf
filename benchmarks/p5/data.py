"""P5's input: seeded rows with what real tables have, missing values, skew, gross outliers, labels that are not there.

One part is 500,000 rows, made from (seed, part) alone: 1M rows are the first two parts of 10M, and a part is made once. A row's id is its
place among all rows, which lets a check look a row up.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.p5.work import CATEGORIES, NUMBERS

LABELS = {"no": 0.6, "maybe": 0.3, "yes": 0.1}
SEED = 20_260
PART_ROWS = 500_000
GROUP_ROWS = 100_000  # about DuckDB's own default; enough groups for every engine to work on all cores
NULLS = 0.02
NULL_LABELS = 0.01
OUTLIERS = 0.001  # on both sides together

PARAMETERS: dict[str, Any] = {
    "seed": SEED,
    "part_rows": PART_ROWS,
    "group_rows": GROUP_ROWS,
    "numbers": len(NUMBERS),
    "categories": CATEGORIES,
    "labels": LABELS,
    "nulls": NULLS,
    "null_labels": NULL_LABELS,
    "outliers": OUTLIERS,
    "version": 1,  # raise when the same parameters give other rows
}


def make(folder: Path, rows: int, say: Callable[[str], None] = print) -> Path:
    """The folder with the first `rows` rows as Parquet; made where it is missing.

    Args:
        folder: cache of all sizes; parts that another size has made are linked.
        rows: >= 1.
        say: told about each part that is made.
    """
    wanted = folder / f"rows-{rows}"
    record = {**PARAMETERS, "rows": rows, "numpy": np.__version__, "pyarrow": pa.__version__}
    if is_made(wanted, record):
        return wanted
    draft = folder / f".rows-{rows}.{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for part, start in enumerate(range(0, rows, PART_ROWS)):
        source = whole_part(folder / "parts", part, record, say)
        target = draft / source.name
        if rows - start >= PART_ROWS:
            os.link(source, target)
        else:
            write(pq.read_table(source).slice(0, rows - start), target)
    sizes = {path.name: path.stat().st_size for path in sorted(draft.glob("*.parquet"))}
    (draft / "_made.json").write_text(json.dumps({"made": record, "sizes": sizes}, indent=1))
    shutil.rmtree(wanted, ignore_errors=True)
    draft.rename(wanted)
    return wanted


def is_made(folder: Path, record: dict[str, Any]) -> bool:
    try:
        found = json.loads((folder / "_made.json").read_text())
        sizes = {path.name: path.stat().st_size for path in folder.glob("*.parquet")}
    except (OSError, ValueError):
        return False
    return bool(found == {"made": record, "sizes": sizes})


def whole_part(folder: Path, part: int, record: dict[str, Any], say: Callable[[str], None]) -> Path:
    """`part-00007.parquet` of the parts with these parameters and library versions."""
    kept = {key: value for key, value in record.items() if key != "rows"}
    note = folder / "_made.json"
    if not note.exists() or json.loads(note.read_text()) != kept:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(json.dumps(kept))
    path = folder / f"part-{part:05d}.parquet"
    if not path.exists():
        say(f"making rows {part * PART_ROWS:,} to {(part + 1) * PART_ROWS:,}")
        write(rows_of_part(part), path)
    return path


def write(rows: pa.Table, path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(rows, draft, row_group_size=GROUP_ROWS, compression="snappy", use_dictionary=[*CATEGORIES, "label"])
    os.replace(draft, path)


def rows_of_part(part: int) -> pa.Table:
    """(PART_ROWS, 32): id, 28 numbers, 2 categories, label."""
    random = np.random.default_rng([SEED, part])
    columns: dict[str, pa.Array] = {"id": pa.array(np.arange(part * PART_ROWS, (part + 1) * PART_ROWS, dtype=np.int64))}
    for index, name in enumerate(NUMBERS):
        columns[name] = pa.array(number(random, index), mask=random.random(PART_ROWS) < NULLS)
    for name, size in CATEGORIES.items():
        shares = 1 / np.arange(1, size + 1) ** 1.1
        columns[name] = text(random, [f"{name}-{value:04d}" for value in range(size)], shares / shares.sum(), NULLS)
    columns["label"] = text(random, list(LABELS), np.array(list(LABELS.values())), NULL_LABELS)
    return pa.table(columns)


def number(random: np.random.Generator, index: int) -> NDArray[np.float64]:
    """Column x`index`: exponential, log-normal and normal in turn; x0 is normal. A few values are far out, to either side."""
    kind = "normal" if index == 0 else ("exponential", "lognormal", "normal")[index % 3]
    scale = 1000.0 if index == 0 else 1.0 + index / 4
    draw = {"normal": random.standard_normal, "exponential": random.standard_exponential, "lognormal": random.standard_normal}[kind]
    values = draw(PART_ROWS)
    values = scale * (np.exp(0.8 * values) if kind == "lognormal" else values + (index if kind == "normal" else 0))
    is_out = random.random(PART_ROWS) < OUTLIERS
    far = (2000 if index == 0 else 200) * scale * random.choice([-1.0, 1.0], PART_ROWS) * (1 + random.random(PART_ROWS))
    return np.where(is_out, far, values)


def text(random: np.random.Generator, values: list[str], shares: NDArray[np.float64], nulls: float) -> pa.Array:
    codes = np.searchsorted(np.cumsum(shares)[:-1], random.random(PART_ROWS), side="right").astype(np.int32)
    coded = pa.DictionaryArray.from_arrays(pa.array(codes, mask=random.random(PART_ROWS) < nulls), pa.array(values))
    return coded.cast(pa.string())
