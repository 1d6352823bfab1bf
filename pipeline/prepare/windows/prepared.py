"""Windows as prepared rows: names, tensors, labels, augmented copies. Runs in Spark's workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.augment import augment
from pipeline.prepare.augment.series import Sample
from pipeline.prepare.windows.pack import Channels, Packed, no_shift, pack_windows
from pipeline.prepare.windows.stage import PART, START, steps_path
from pipeline.schema import LABEL, LABEL_SHIFT, SAMPLE_ID, WEIGHT, SplitName, Tensor
from pipeline.sections.augment import Augment


@dataclass(frozen=True)
class WindowPacking:
    """All that turns staged windows of any split into prepared rows; sent to every worker."""

    channels: Channels
    augment: Augment
    work: str

    @property
    def tensor(self) -> Tensor:
        return self.channels.tensor


def pack(rows: pa.Table, split: SplitName, packing: WindowPacking) -> pa.Table:
    """Prepared rows of one split, in the order given; each train window is followed by its augmented copies."""
    packed, names = gather(rows, packing), rows[SAMPLE_ID].to_pylist()
    if split == "train" and packing.augment.copies:
        packed, names = with_copies(packed, names, packing)
    columns = {
        SAMPLE_ID: pa.array(names, pa.string()),
        packing.tensor.name: packed_array(packed.tensor),
        LABEL: packed_array(packed.label),
        WEIGHT: np.ones(len(names), np.float32),
    }
    if packing.channels.windows.scale == "history":
        columns[LABEL_SHIFT] = packed_array(packed.shift)
    return pa.table(columns)


def gather(rows: pa.Table, packing: WindowPacking) -> Packed:
    """The windows of a planned file, from as many partitions as it was cut of."""
    channels, parts, starts = packing.channels, rows[PART].to_numpy(), rows[START].to_numpy()
    targets = len(channels.columns.targets)
    tensor = np.empty((len(parts), *packing.tensor.shape), np.float32)
    label, shift = np.empty((len(parts), channels.windows.horizon, targets), np.float32), no_shift(len(parts), targets)
    for part in np.unique(parts).tolist():
        places = np.flatnonzero(parts == part)
        with pa.memory_map(str(steps_path(Path(packing.work), part))) as source:
            found = pack_windows(pa.ipc.open_file(source).read_all(), starts[places], channels)
        tensor[places], label[places], shift[places] = found.tensor, found.label, found.shift
    return Packed(tensor, label, shift)


def with_copies(packed: Packed, names: list[str], packing: WindowPacking) -> tuple[Packed, list[str]]:
    """Each window, then its copies; a copy's id is the sample's with #1, #2 and so on."""
    options, times, history = packing.augment, packing.augment.copies + 1, packing.channels.windows.history
    width = len(packing.channels.past)
    tensor, label, shift = (np.repeat(values, times, axis=0) for values in (packed.tensor, packed.label, packed.shift))
    for row, name in enumerate(names):
        sample = Sample(packed.tensor[row, :history, :width], packed.label[row])
        for copy in range(1, times):
            changed = augment(sample, "window", options.operations, seed=options.seed, sample_id=name, copy=copy)
            tensor[row * times + copy, :history, :width], label[row * times + copy] = changed
    return Packed(tensor, label, shift), [f"{name}#{copy}" if copy else name for name in names for copy in range(times)]


def packed_array(values: NDArray[np.float32]) -> pa.Array:
    """One binary value for each row of an array, its bytes as they lie in memory; nothing is copied."""
    content = np.ascontiguousarray(values)
    offsets = np.arange(len(content) + 1, dtype=np.int32) * (content[0].nbytes if len(content) else 0)
    return pa.Array.from_buffers(pa.binary(), len(content), [None, pa.py_buffer(offsets), pa.py_buffer(content)])
