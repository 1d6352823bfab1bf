"""Rows of series as Arrow: in order, with names, and with what is wrong with their stamps. Pure; runs in Spark's workers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.prepare.columns import CONTENT, NUMBERS, RAW, REASON, RULE
from pipeline.prepare.windows.steps import Flags, Floats, off_grid, step_numbers
from pipeline.schema import SAMPLE_ID
from pipeline.sections.series import Windows

SERIES, STRETCH, TIME, STEP = "_series", "_stretch", "_time", "_step"
IRREGULAR, DUPLICATE = "irregular_stamp", "duplicate_stamp"
ESCAPES = (("%", "%25"), ("/", "%2F"), ("@", "%40"))


def arrange(rows: pa.Table, windows: Windows) -> pa.Table:
    """Rows by series, stretch, time and content, with SERIES, their STEP, and the SAMPLE_ID that names them in quarantine."""
    names, times = series_names(rows, windows), rows[TIME].to_numpy()
    numbers = np.where(np.isnan(times), 0, step_numbers(np.nan_to_num(times), windows))
    keys = [f"{name}@{stamp}" for name, stamp in zip(names.to_pylist(), stamps(times).tolist(), strict=True)]
    rows = rows.append_column(SERIES, names).append_column(STEP, pa.array(numbers)).append_column(SAMPLE_ID, pa.array(keys, pa.string()))
    texts = [pc.fill_null(rows[name], "") for name in (RULE, REASON, RAW)]
    wrongs = pc.rank(pc.binary_join_element_wise(*texts, "\0"), tiebreaker="dense").to_numpy()  # so that nobody's order is by chance
    content = [rows[name].to_numpy() for name in CONTENT]
    ranks = pc.rank(names, tiebreaker="dense").to_numpy()
    return rows.take(pa.array(np.lexsort((wrongs, *content, times, rows[STRETCH].to_numpy(), ranks))))


def series_names(rows: pa.Table, windows: Windows) -> pa.Array:
    """(R,) the values of the series' columns with / between them; empty where all rows are one series."""
    if not windows.series:
        return pa.array([""] * rows.num_rows, pa.string())
    parts = []
    for name in windows.series:
        part = pc.fill_null(rows[name].combine_chunks(), "")
        for plain, escaped in ESCAPES:
            part = pc.replace_substring(part, plain, escaped)
        parts.append(part)
    return pc.binary_join_element_wise(*parts, "/")


def stamps(times: Floats) -> NDArray[np.str_]:
    """(R,) ISO 8601, UTC; to the millisecond where they are not whole seconds, empty where there is no time."""
    is_given = ~np.isnan(times)
    filled = np.where(is_given, times, 0.0)
    whole = np.rint(filled * 1000).astype(np.int64)
    seconds = np.datetime_as_string((whole // 1000).astype("datetime64[s]"))
    exact = np.where(whole % 1000 == 0, seconds, np.datetime_as_string(whole.astype("datetime64[ms]")))
    return np.where(is_given, np.char.add(exact, "Z"), "")


def groups(rows: pa.Table) -> list[tuple[int, int]]:
    """[begin, end) of every series' stretch in arranged rows."""
    if not rows.num_rows:
        return []
    codes, stretches = rows[SERIES].combine_chunks().dictionary_encode().indices.to_numpy(), rows[STRETCH].to_numpy()
    edges = (np.flatnonzero((np.diff(codes) != 0) | (np.diff(stretches) != 0)) + 1).tolist()
    return list(zip([0, *edges], [*edges, rows.num_rows], strict=True))


def mark_stamps(rows: pa.Table, windows: Windows, numbers: tuple[str, ...]) -> pa.Table:
    """Arranged rows; those whose stamp is on no step, or the same as another's, with what sends them to quarantine."""
    is_in, times = np.asarray(pc.is_null(rows[RULE])), np.nan_to_num(rows[TIME].to_numpy())
    is_off = is_in & off_grid(times, rows[STEP].to_numpy(), windows)
    reason = f"{windows.time}: is not a whole number of periods of {windows.period_s:g} s from {windows.anchor}"
    wrong = {row: (IRREGULAR, reason) for row in np.flatnonzero(is_off).tolist()}
    if not windows.resample and windows.duplicates == "quarantine":
        wrong |= {row: (DUPLICATE, text) for row, text in repeated(rows, is_in & ~is_off, windows)}
    if not wrong:
        return rows
    marks: dict[str, dict[int, str]] = {
        RULE: {row: rule for row, (rule, _) in wrong.items()},
        REASON: {row: text for row, (_, text) in wrong.items()},
        RAW: {row: raw(rows, row, windows, numbers) for row in wrong},
    }
    for name, values in marks.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, replaced(rows[name], values))
    return rows


def replaced(column: pa.ChunkedArray, values: Mapping[int, str]) -> pa.Array:
    return pa.array([values.get(row, value) for row, value in enumerate(column.to_pylist())], pa.string())


def repeated(rows: pa.Table, is_in: Flags, windows: Windows) -> Iterator[tuple[int, str]]:
    """(row, reason) of rows that share a step of a series: of equal ones all but the first, and all where they differ."""
    places = np.flatnonzero(is_in)
    if len(places) < 2:
        return
    codes = rows[SERIES].combine_chunks().dictionary_encode().indices.to_numpy()
    keys = np.stack([codes, rows[STRETCH].to_numpy(), rows[STEP].to_numpy()])[:, places]
    same = (np.diff(keys, axis=1) == 0).all(axis=0)
    edges = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    high, low = (rows[name].to_numpy() for name in CONTENT)
    for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if end - begin == 1:
            continue
        shared = places[begin:end].tolist()
        if all(high[row] == high[shared[0]] and low[row] == low[shared[0]] for row in shared):
            yield from ((row, f"{windows.time}: the same row stands there {len(shared)} times") for row in shared[1:])
        else:
            yield from ((row, f"{windows.time}: {len(shared)} rows with different values have this stamp") for row in shared)


def raw(rows: pa.Table, row: int, windows: Windows, numbers: tuple[str, ...]) -> str:
    """What quarantine shows of a row: its series, its stamp, its numbers."""
    values = dict(zip(numbers, rows[NUMBERS][row].as_py(), strict=True))
    series = {name: rows[name][row].as_py() for name in windows.series}
    stamp = str(stamps(np.asarray([rows[TIME][row].as_py()]))[0])
    return json.dumps({**series, windows.time: stamp, **values}, ensure_ascii=False)
