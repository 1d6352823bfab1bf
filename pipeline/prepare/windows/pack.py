"""Staged windows -> tensors and labels. Pure numpy and Arrow; runs in Spark's workers.

The tensor of a window is (history, channels), or, if anything is known of the horizon, (history + horizon, channels):

| channels, in this order | history | horizon |
|---|---|---|
| targets, then other numbers and categories that are known up to the forecast | their values | 0 |
| known numbers and categories, the time's cycles | their values | their values |
| static numbers and categories | the value at the forecast | the same |
| `(horizon)`, only where there is a horizon part | 0 | 1 |

The label is (horizon,), or (horizon, targets) of several targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.columns import NUMBERS
from pipeline.prepare.encode import encode, encode_time
from pipeline.prepare.windows.rows import STEP
from pipeline.prepare.windows.steps import Columns, Integers, step_time
from pipeline.scaling import scale
from pipeline.schema import CategoryEncoder, NumberScaler, Tensor, TimeEncoder
from pipeline.sections.series import Windows

FLAT = 1e-3  # of the train rows' deviation: a history that varies less is a constant

Floats32 = NDArray[np.float32]


@dataclass(frozen=True)
class Channels:
    """How a partition's steps become channels; sent to every worker.

    `numbers` and `scalers` belong together, targets first; `columns` are positions in them.
    """

    windows: Windows
    columns: Columns
    scalers: tuple[NumberScaler, ...]
    encoders: tuple[CategoryEncoder, ...]
    times: tuple[TimeEncoder, ...]

    @property
    def past(self) -> list[int]:
        """Number columns that are known up to the forecast alone, targets first."""
        return [place for place in range(len(self.scalers)) if place not in (*self.columns.known, *self.columns.static)]

    def encoders_of(self, group: str) -> list[CategoryEncoder]:
        """Of group past, known or static."""
        windows = self.windows
        return [found for found in self.encoders if group_of(found.column, windows) == group]

    @property
    def widths(self) -> dict[str, int]:
        """Channels of each group, in their order."""
        numbers = {"past": len(self.past), "known": len(self.columns.known), "static": len(self.columns.static)}
        widths = {name: count + sum(found.width for found in self.encoders_of(name)) for name, count in numbers.items()}
        widths["known"] += sum(found.width for found in self.times)
        return {**widths, "marker": int(widths["known"] > 0)}

    @property
    def tensor(self) -> Tensor:
        widths = self.widths
        length = self.windows.history + (self.windows.horizon if widths["marker"] else 0)
        return Tensor(name="window", dtype="float32", shape=(length, sum(widths.values())))

    @property
    def label_shape(self) -> tuple[int, ...]:
        targets = len(self.columns.targets)
        return (self.windows.horizon,) if targets == 1 else (self.windows.horizon, targets)


def group_of(column: str, windows: Windows) -> str:
    return "known" if column in windows.known else "static" if column in windows.static else "past"


@dataclass(frozen=True)
class Packed:
    """W windows: `tensor` (W, *shape), `label` (W, horizon, targets), `shift` (W, targets, 2): offset and deviation taken off a label."""

    tensor: Floats32
    label: Floats32
    shift: Floats32


def pack_windows(steps: pa.Table, starts: Integers, channels: Channels) -> Packed:
    """The windows that begin at some steps of one partition.

    Args:
        steps: as staged, mapped into memory.
        starts: (W,) rows of `steps`.
        channels: what becomes of them.
    """
    windows, widths = channels.windows, channels.widths
    begin, end = (int(starts.min()), int(starts.max()) + windows.span) if len(starts) else (0, 0)
    steps, starts = steps.slice(begin, end - begin).combine_chunks(), starts - begin
    numbers = scaled(steps, channels)
    past = starts[:, None] + np.arange(windows.history)  # (W, history)
    ahead = starts[:, None] + windows.history + windows.gap + np.arange(windows.horizon)  # (W, horizon)
    tensor = np.zeros((len(starts), *channels.tensor.shape), np.float32)
    place = 0
    groups = {
        "past": [numbers[:, channels.past], *encoded(steps, channels.encoders_of("past"))],
        "known": [numbers[:, [*channels.columns.known]], *encoded(steps, channels.encoders_of("known")), *cycles(steps, channels)],
        "static": [numbers[:, [*channels.columns.static]], *encoded(steps, channels.encoders_of("static"))],
    }
    for group, parts in groups.items():
        values, stop = np.concatenate(parts, axis=1), place + widths[group]
        if group == "static":
            tensor[:, :, place:stop] = values[past[:, -1]][:, None]
        else:
            tensor[:, : windows.history, place:stop] = values[past]
        if group == "known" and widths["marker"]:
            tensor[:, windows.history :, place:stop] = values[ahead]
        place = stop
    tensor[:, windows.history :, place:] = 1.0
    label = numbers[:, [*channels.columns.targets]][ahead]
    return by_history(Packed(tensor, label, no_shift(len(starts), label.shape[2])), channels)


def scaled(steps: pa.Table, channels: Channels) -> Floats32:
    """(S, N) by the scalers of the train steps."""
    column = steps[NUMBERS].combine_chunks()
    raw = np.asarray(column.flatten().to_numpy()).reshape(len(column), -1)
    found = np.empty(raw.shape, np.float32)
    for place, scaler in enumerate(channels.scalers):
        found[:, place] = scale(raw[:, place], scaler)
    return found


def encoded(steps: pa.Table, encoders: list[CategoryEncoder]) -> list[Floats32]:
    return [np.asarray(encode(steps[found.column], found, None), np.float32).reshape(steps.num_rows, found.width) for found in encoders]


def cycles(steps: pa.Table, channels: Channels) -> list[Floats32]:
    times = step_time(steps[STEP].to_numpy(), channels.windows)
    return [np.asarray(encode_time(times, found), np.float32) for found in channels.times]


def no_shift(num_windows: int, num_targets: int) -> Floats32:
    shift = np.zeros((num_windows, num_targets, 2), np.float32)
    shift[:, :, 1] = 1.0
    return shift


def by_history(packed: Packed, channels: Channels) -> Packed:
    """With `scale: history`, past numbers and labels by mean and deviation of the window's own history; else as they are.

    A history that is all but constant keeps the deviation of the train steps. Source: Kim et al. 2022, RevIN, without its learnt part.
    """
    windows = channels.windows
    if windows.scale != "history":
        return packed
    width, targets = len(channels.past), len(channels.columns.targets)
    history = packed.tensor[:, : windows.history, :width]
    mean = history.mean(axis=1, dtype=np.float64)
    spread = history.std(axis=1, dtype=np.float64)
    spread = np.where(spread > FLAT, spread, 1.0)
    packed.tensor[:, : windows.history, :width] = (history - mean[:, None]) / spread[:, None]
    shift = np.stack([mean[:, :targets], spread[:, :targets]], axis=2).astype(np.float32)
    label = ((packed.label - shift[:, None, :, 0]) / shift[:, None, :, 1]).astype(np.float32)
    return Packed(packed.tensor, label, shift)
