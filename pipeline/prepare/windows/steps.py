"""Rows of one series -> its steps: one for each period, none left out, what is missing NaN. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sections.series import Windows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NOWHERE = -1
ON_TIME = 1e-3  # of a period: a stamp this near to a step is on it


@dataclass(frozen=True)
class Steps:
    """S steps of a series.

    `first`: number of the first step, counted from the anchor. `values`: (S, N), NaN where there is none. `is_measured`: (S, N), False
    where a value was filled in or is missing. `rows`: (S,) the row that a step's texts come from, or NOWHERE. `has_row`: (S,) whether
    the source had a row for it.
    """

    first: int
    values: Floats
    is_measured: Flags
    rows: Integers
    has_row: Flags

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Columns:
    """Which of the N number columns are what: positions in the matrix."""

    targets: tuple[int, ...]
    known: tuple[int, ...]
    static: tuple[int, ...]


def step_numbers(times: Floats, windows: Windows) -> Integers:
    """(R,) the step that each row belongs to. With `resample` that of the period it falls into, else the nearest one.

    Args:
        times: (R,) seconds since 1970.
        windows: its period and anchor.
    """
    places = (times - windows.anchor_s) / windows.period_s
    return np.asarray(np.floor(places + ON_TIME) if windows.resample else np.floor(places + 0.5), np.int64)


def off_grid(times: Floats, numbers: Integers, windows: Windows) -> Flags:
    """(R,) whether a stamp is on no step; never with `resample`."""
    if windows.resample:
        return np.zeros(len(times), bool)
    return np.asarray(np.abs((times - windows.anchor_s) / windows.period_s - numbers) > ON_TIME)


def step_time(number: int | Integers, windows: Windows) -> Floats:
    """Seconds since 1970 at which a step begins."""
    return windows.anchor_s + np.asarray(number, np.float64) * windows.period_s


def build_steps(numbers: Integers, values: Floats, columns: Columns, windows: Windows) -> Steps:
    """The steps of one series from its first row to its last.

    Args:
        numbers: (R,) never falling, R >= 1; rows of one step in the order that `first` and `last` mean.
        values: (R, N), NaN where missing.
        columns: what is what.
        windows: how rows of one step become one, and what becomes of missing values.
    """
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    first, length = int(numbers[0]), int(numbers[-1] - numbers[0]) + 1
    places = numbers[starts] - first
    steps, rows = np.full((length, values.shape[1]), np.nan), np.full(length, NOWHERE, np.int64)
    steps[places] = aggregate(values, starts, windows.resample or windows.duplicates)
    rows[places] = np.append(starts[1:], len(numbers)) - 1
    has_row, is_measured = rows != NOWHERE, ~np.isnan(steps)
    if windows.fill:
        sources = fill_sources(has_row[:, None], windows.max_fill or 0)[:, 0]
        rows = np.where(sources == NOWHERE, NOWHERE, rows[sources])
    return Steps(first, filled(steps, is_measured, columns, windows), is_measured, rows, has_row)


def aggregate(values: Floats, starts: Integers, how: str) -> Floats:
    """(G, N): each run of rows as one; missing values are left out, and what is only missing is missing.

    Args:
        values: (R, N).
        starts: (G,) where each run begins.
        how: mean, sum, min, max, first or last; anything else for runs of one row.
    """
    ends = np.append(starts[1:], len(values)) - 1
    if how in ("first", "last", "quarantine"):
        return values[ends if how == "last" else starts]
    given = ~np.isnan(values)
    counts = np.add.reduceat(given.astype(np.int64), starts, axis=0)
    if how in ("min", "max"):
        found = (np.fmin if how == "min" else np.fmax).reduceat(values, starts, axis=0)
    else:
        found = np.add.reduceat(np.where(given, values, 0.0), starts, axis=0)
        found = found / np.maximum(counts, 1) if how == "mean" else found
    return np.where(counts > 0, found, np.nan)


def filled(steps: Floats, is_measured: Flags, columns: Columns, windows: Windows) -> Floats:
    """(S, N) with missing values filled in where the rules allow; static ones from up to `history` steps before."""
    if windows.fill:
        sources = fill_sources(is_measured, windows.max_fill or 0)
        is_zero = np.ones(steps.shape[1], bool) if windows.fill == "zero" else np.zeros(steps.shape[1], bool)
        is_zero[[*columns.known, *columns.static]] = False  # a price that nobody wrote down is still the last one
        taken = np.take_along_axis(steps, np.maximum(sources, 0), axis=0)
        fills = np.where(is_zero & ~is_measured, 0.0, taken)
        steps = np.where(sources == NOWHERE, np.nan, fills)
    static = [*columns.static]
    if static:
        steps = steps.copy()
        last = last_valid(is_measured[:, static])
        is_near = (last != NOWHERE) & (np.arange(len(steps))[:, None] - last < windows.history)
        steps[:, static] = np.where(is_near, np.take_along_axis(steps[:, static], np.maximum(last, 0), axis=0), np.nan)
    return steps


def fill_sources(is_given: Flags, longest: int) -> Integers:
    """(S, N) the step whose value each takes: its own, the last one before a run of at most `longest` missing ones, or NOWHERE.

    A run at the end has no value after it, so it is not known to be one, and is not filled.
    """
    last, following = last_valid(is_given), next_valid(is_given)
    is_short = (last != NOWHERE) & (following < len(is_given)) & (following - last - 1 <= longest)
    return np.where(is_given | is_short, last, NOWHERE)


def last_valid(is_given: Flags) -> Integers:
    """(S, N) the last step up to each that is given, or NOWHERE."""
    places = np.where(is_given, np.arange(len(is_given))[:, None], NOWHERE)
    return np.maximum.accumulate(places, axis=0)


def next_valid(is_given: Flags) -> Integers:
    """(S, N) the first step from each on that is given, or S."""
    places = np.where(is_given, np.arange(len(is_given))[:, None], len(is_given))
    return np.minimum.accumulate(places[::-1], axis=0)[::-1]


def gaps(steps: Steps) -> list[tuple[int, int]]:
    """(number of the first step, length) of every run of steps that the source has no row for."""
    edges = np.diff(np.concatenate([[True], steps.has_row, [True]]).astype(np.int8))
    begins, ends = np.flatnonzero(edges == -1), np.flatnonzero(edges == 1)
    return [(steps.first + begin, end - begin) for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def context(windows: Windows) -> tuple[int, int]:
    """Steps before and after a forecast that decide about its window and what is filled into it."""
    longest = windows.max_fill or 0
    return windows.history - 1 + max(longest, windows.history), windows.gap + windows.horizon + longest
