"""The section `privacy` on rows, before anything of them is hashed, counted or written: what is found is counted, then acted upon.

Quarantine keeps of such a row its columns as they are after that, never the line or value as it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipeline.config import Recipe
from pipeline.errors import DataError
from pipeline.prepare.columns import FOUND, RAW, REASON, RULE, col
from pipeline.prepare.personal import HINT, Names, find, mask
from pipeline.prepare.secrets import HashKey, hash_key, read_names
from pipeline.prepare.tally import Tally
from pipeline.prepare.tasks import ArrowFunction, in_worker
from pipeline.schema import Personal
from pipeline.sections.privacy import Action, Generalise, Kind, Privacy

RULE_NAME = "privacy"
OTHER = "(other)"
SHOWN = 1000  # characters of a text, in quarantine
NOTHING = Action(warn=True)


def protect(rows: DataFrame, recipe: Recipe) -> DataFrame:
    """The rows after every action, with FOUND: how often each kind was found in each text-like column. Lazy.

    Args:
        rows: typed, with REASON, RULE, RAW; not hashed yet.
        recipe: with a section `privacy`, or without: then rows stay as they are.

    Raises:
        ConfigError: no key in the environment, no list of names.
    """
    privacy = recipe.privacy
    if privacy is None:
        return rows
    texts = scanned(recipe)
    scan = scanner(texts, privacy, rows.columns, hash_key(privacy), read_names(privacy))
    types = ", ".join([*(f"`{name}` {kind}" for name, kind in rows.dtypes), f"{FOUND} array<int>"])
    found = rows.mapInArrow(in_worker(scan), types)
    coarse = {name: action.generalise for name, action in privacy.columns.items() if action.generalise}
    gone = {name: F.lit(None).cast(dict(rows.dtypes)[name]) for name, action in privacy.columns.items() if action.drop}
    changed = found.withColumns({**{name: generalised(col(name), how) for name, how in coarse.items()}, **gone})
    declared = [name for name in rows.columns if not name.startswith("_")]
    kept = F.to_json(F.struct(*(F.substring(col(name), 1, SHOWN).alias(name) if name in texts else col(name) for name in declared)))
    raw = F.coalesce(F.col(RAW), kept) if recipe.source.format == "text" else kept  # of documents, where they were is known already
    return changed.withColumn(RAW, F.when(F.col(RULE).isNotNull(), raw))


def scanned(recipe: Recipe) -> list[str]:
    """Columns that may hold personal data: all texts and categories that are read, labels and keys too."""
    return [name for name, column in recipe.columns.items() if column.kind in ("category", "text") and column.role != "ignore"]


def scanner(texts: Sequence[str], privacy: Privacy, names: Sequence[str], key: HashKey | None, people: Names) -> ArrowFunction:
    kinds = privacy.sought
    actions = {name: privacy.columns.get(name, NOTHING) for name in texts}

    def scan(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values = dict(zip(batch.schema.names, batch.columns, strict=True))
            counts = np.zeros((len(batch), len(texts), len(kinds)), np.int32)
            for place, name in enumerate(texts):
                holds = find_in(values[name], kinds, people, counts[:, place])
                act(values, name, actions[name].name, holds, key)
            flat = pa.array(counts.reshape(-1))
            offsets = pa.array(np.arange(len(batch) + 1, dtype=np.int32) * len(texts) * len(kinds))
            columns = [*(values[name] for name in names), pa.ListArray.from_arrays(offsets, flat)]
            yield pa.RecordBatch.from_arrays(columns, names=[*names, FOUND])

    return scan


def find_in(column: pa.Array, kinds: Sequence[Kind], people: Names, counts: NDArray[np.int32]) -> dict[int, str]:
    """Row -> its text masked, of the rows in which something stands; counts (R, kinds) are filled in."""
    likely = pc.is_valid(column) if people else pc.fill_null(pc.match_substring_regex(column, HINT), fill_value=False)
    rows = pc.indices_nonzero(likely)
    masked = {}
    for row, text in zip(rows.to_pylist(), column.take(rows).to_pylist(), strict=True):
        if found := find(text, kinds, people):
            masked[row] = mask(text, found)
            for one in found:
                counts[row, kinds.index(one.kind)] += 1
    return masked


def act(values: dict[str, pa.Array], name: str, action: str, masked: dict[int, str], key: HashKey | None) -> None:
    """Replace the column in `values`, and of rows that go its rule and reason."""
    if action == "hash" and key is not None:
        values[name] = pa.array([None if text is None else key.digest(text) for text in values[name].to_pylist()], pa.string())
    elif action == "mask" and masked:
        texts = values[name].to_pylist()
        values[name] = pa.array([masked.get(row, text) for row, text in enumerate(texts)], pa.string())
    elif action == "drop_rows" and masked:
        texts, rules, reasons = (values[column].to_pylist() for column in (name, RULE, REASON))
        for row in masked:
            texts[row] = None
            if rules[row] is None:
                rules[row], reasons[row] = RULE_NAME, f"{name}: holds personal data"
        for column, changed in ((name, texts), (RULE, rules), (REASON, reasons)):
            values[column] = pa.array(changed, pa.string())


def generalised(value: Column, how: Generalise) -> Column:
    """A coarser value; a missing one stays missing."""
    if how.step is not None:
        return F.floor(value / how.step) * F.lit(how.step)
    if how.to is not None:
        return F.unix_micros(F.date_trunc(how.to, F.timestamp_micros((value * 1e6).cast("long")))) / 1e6
    if how.prefix is not None:
        return F.substring(value, 1, how.prefix)
    cases = F.when(value.isNull(), F.lit(None).cast("string"))
    for old, new in (how.values or {}).items():
        cases = cases.when(value == old, F.lit(new))
    return cases.otherwise(F.lit(OTHER))


def found_columns(rows: DataFrame) -> list[Column]:
    """What every way of staging selects besides its own columns: FOUND, if the recipe has rules of privacy."""
    return [F.col(FOUND)] if FOUND in rows.columns else []


def count_found(rows: pa.Table, tally: Tally) -> None:
    """Add a partition's FOUND to the tally, by place in the flattened list."""
    if FOUND in rows.column_names and rows[FOUND].null_count < rows.num_rows:
        matrix = np.asarray(rows[FOUND].combine_chunks().flatten()).reshape(rows.num_rows, -1)
        tally.found.update({str(place): int(total) for place, total in enumerate(matrix.sum(axis=0))})


def findings(recipe: Recipe, tally: Tally) -> tuple[Personal, ...]:
    """What was found, by column and kind, in all rows that were read."""
    privacy = recipe.privacy
    if privacy is None:
        return ()
    pairs = [(name, kind) for name in scanned(recipe) for kind in privacy.sought]
    return tuple(
        Personal(column=name, kind=kind, count=tally.found[str(place)], action=action_of(privacy, name))
        for place, (name, kind) in enumerate(pairs)
        if tally.found[str(place)]
    )


def action_of(privacy: Privacy, name: str) -> str:
    return privacy.columns[name].name if name in privacy.columns else privacy.otherwise


def check(found: Sequence[Personal], note: Callable[[str], Any]) -> None:
    """Say what stays in the data; raise DataError for what may not be there at all."""
    texts = {
        action: ", ".join(f"{one.column}: {one.count} {one.kind}" for one in found if one.action == action) for action in ("fail", "warn")
    }
    if texts["fail"]:
        raise DataError(
            f"Personal data was found where privacy says fail: {texts['fail']}. Nothing was published. "
            "Mend the source, or give the column another action, such as mask, hash or drop_rows."
        )
    if texts["warn"]:
        note(f"personal data stays in what is prepared: {texts['warn']}")
