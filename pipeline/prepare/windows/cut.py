"""Which windows a series' steps give, in which split each is, and why others are not made. Pure numpy.

A forecast is made at the end of step i: its history is the steps i - history + 1 … i, its horizon i + gap + 1 … i + gap + horizon.
It belongs to the split that all steps of its horizon are in. So no window of one split holds a target of a later one: what it
has seen lies before its own horizon.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pipeline.prepare.windows.steps import Columns, Flags, Floats, Integers, Steps, step_time
from pipeline.schema import SPLITS
from pipeline.sections.data import Split
from pipeline.sections.series import Windows

NEITHER = -1
HOLE, BOUNDARY = "hole", "boundary"  # why a window is not made


@dataclass(frozen=True)
class Cut:
    """W windows. `starts`: (W,) index of the first step of the history. `splits`: (W,) index into SPLITS. `lost`: reason -> windows."""

    starts: Integers
    splits: Integers
    lost: Counter[str]


def split_of_steps(numbers: Integers, split: Split, windows: Windows) -> Integers:
    """(S,) index into SPLITS of `split: {by: time}`, NEITHER in the gap before a boundary; a period that holds a boundary is in neither."""
    begin = step_time(numbers, windows)
    end = begin + (windows.period_s if windows.resample else 0.0)  # all that went into the step
    validation_from, test_from = split.boundaries
    tiny = windows.period_s * 1e-6
    found = np.full(len(numbers), NEITHER, np.int64)
    found[before(end, begin, validation_from - split.gap_s, tiny)] = 0
    found[(begin >= validation_from - tiny) & before(end, begin, test_from - split.gap_s, tiny)] = 1
    found[begin >= test_from - tiny] = 2
    return found


def before(end: Floats, begin: Floats, boundary: float, tiny: float) -> Flags:
    return np.asarray((begin < boundary - tiny) & (end <= boundary + tiny))


def cut_windows(steps: Steps, split_of: Integers, columns: Columns, windows: Windows, *, first: int, last: int) -> Cut:
    """The windows whose forecast is made at one of the steps `first` … `last`.

    Args:
        steps: of one series, with `context` around first and last.
        split_of: (S,) as `split_of_steps` gives it.
        columns: what is what.
        windows: history, horizon, gap, stride.
        first, last: numbers of steps, counted from the anchor, both included.
    """
    history, horizon, skip = windows.history, windows.horizon, windows.history + windows.gap
    lowest = max(first, steps.first + history - 1)
    highest = min(last, steps.first + len(steps) - 1 - windows.gap - horizon)
    origins = np.arange(lowest, highest + 1)
    starts = origins[(origins + 1) % windows.stride == 0] - steps.first - history + 1
    if not len(starts):
        return Cut(starts, starts, Counter())
    lowest_split, highest_split = (bounds[starts + skip] for bounds in sliding(split_of, horizon))
    is_inside = (lowest_split == highest_split) & (lowest_split != NEITHER)
    if not windows.reach_back:
        is_inside &= np.logical_and(*(bounds[starts] == lowest_split for bounds in sliding(split_of, history)))
    is_whole = has_values(steps, columns, windows)[starts]
    lost = Counter({BOUNDARY: int((~is_inside).sum()), HOLE: int((is_inside & ~is_whole).sum())})
    kept = is_inside & is_whole
    return Cut(starts[kept], lowest_split[kept], lost)


def has_values(steps: Steps, columns: Columns, windows: Windows) -> Flags:
    """(S - span + 1,) whether the window that begins at each step has every value that it needs.

    History: all columns, filled in or not, static ones at its last step alone. Horizon: what is known, and targets that nobody
    filled in, but for zeros that stand for no row.
    """
    targets, known, static = (list(part) for part in (columns.targets, columns.known, columns.static))
    is_given = ~np.isnan(steps.values)
    past = is_given[:, [column for column in range(is_given.shape[1]) if column not in static]].all(axis=1)
    true = is_given if windows.fill == "zero" else steps.is_measured
    future = true[:, targets].all(axis=1) & is_given[:, known].all(axis=1)
    length, skip = len(steps) - windows.span + 1, windows.history + windows.gap
    if length < 1:
        return np.zeros(0, bool)
    history = all_of(past, windows.history)[:length] & is_given[windows.history - 1 :, static].all(axis=1)[:length]
    return np.asarray(history & all_of(future, windows.horizon)[skip : skip + length])


def all_of(flags: Flags, width: int) -> Flags:
    """(S - width + 1,) whether all of the `width` flags from each on are set."""
    wrong = np.concatenate([[0], np.cumsum(~flags)])
    return np.asarray(wrong[width:] == wrong[:-width])


def sliding(values: Integers, width: int) -> tuple[Integers, Integers]:
    """(smallest, largest) split of the `width` steps from each on: (S - width + 1,) each."""
    counts = {code: np.concatenate([[0], np.cumsum(values == code)]) for code in (NEITHER, *range(len(SPLITS)))}
    has = {code: count[width:] > count[:-width] for code, count in counts.items()}
    codes = [NEITHER, *range(len(SPLITS))]
    lowest = np.select([has[code] for code in codes], codes)
    highest = np.select([has[code] for code in reversed(codes)], list(reversed(codes)))
    return lowest, highest
