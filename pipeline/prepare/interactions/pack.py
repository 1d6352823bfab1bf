"""Staged positives -> tensors: each positive, then its negatives. Pure but for the mapped files; runs in Spark's workers.

The tensor is int32 (2 + features,): user, item, and the item's features, all as ids from 1; 0 is what train rows do not have.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.prepare.augment import generator
from pipeline.prepare.interactions.sample import Exhausted, Integers, draw_negatives
from pipeline.prepare.interactions.stage import PART, ROW_WEIGHT, InteractionLayout, taken_path
from pipeline.schema import LABEL, SAMPLE_ID, WEIGHT, SplitName, Tensor

NAME = "ids"


@dataclass(frozen=True)
class InteractionPacking:
    """All that turns staged positives of any split into prepared rows; sent to every worker."""

    layout: InteractionLayout
    users: pa.Array  # text of id 1, 2, …
    items: pa.Array
    features: NDArray[np.int32]  # (items + 1, F) of each item id; of the unknown item 0
    cumulative: NDArray[np.float64]  # (items,) as sample.cumulative_weights gives it
    work: str

    @property
    def tensor(self) -> Tensor:
        return Tensor(name=NAME, dtype="int32", shape=(2 + self.features.shape[1],))


def pack(rows: pa.Table, split: SplitName, packing: InteractionPacking) -> pa.Table:
    """Prepared rows of one split, in the order given; a negative's id is its positive's with #1, #2 and so on."""
    rules, (user, item) = packing.layout.rules, packing.layout.texts[:2]
    users, items = ids_of(rows[user], packing.users), ids_of(rows[item], packing.items)
    names, count = rows[SAMPLE_ID].to_pylist(), rules.negatives_of(split)
    taken = taken_items(rows, users=rows[user].to_pylist(), packing=packing)
    table = np.empty((len(names), 1 + count, packing.tensor.shape[0]), np.int32)
    for row, name in enumerate(names):
        table[row, 0, 1] = items[row]
        try:
            table[row, 1:, 1] = draw_negatives(taken[row], packing.cumulative, count, generator(rules.seed, name, 0, 0))
        except Exhausted:
            who = name.partition("@")[0]
            raise DataError(
                f"{user} {who} took every {item} with an id of its own: there is no negative for them. Leave such users out "
                "(clean.rules), lower interactions.min_item, or bring more items."
            ) from None
    table[:, :, 0] = users[:, None]
    table[:, :, 2:] = packing.features[table[:, :, 1]]
    label = np.zeros(table.shape[:2], np.int64)
    weight = np.ones(table.shape[:2], np.float32)
    label[:, 0], weight[:, 0] = 1, rows[ROW_WEIGHT].to_numpy()
    content = np.ascontiguousarray(table.reshape(-1, table.shape[2]))
    offsets = np.arange(len(content) + 1, dtype=np.int32) * (content.shape[1] * content.itemsize)
    packed = pa.Array.from_buffers(pa.binary(), len(content), [None, pa.py_buffer(offsets), pa.py_buffer(content)])
    every = [f"{name}#{number}" if number else name for name in names for number in range(count + 1)]
    return pa.table({SAMPLE_ID: pa.array(every, pa.string()), NAME: packed, LABEL: label.ravel(), WEIGHT: weight.ravel()})


def ids_of(values: pa.ChunkedArray, known: pa.Array) -> Integers:
    """(R,) ids from 1, 0 for what is not known."""
    return np.asarray(pc.add(pc.fill_null(pc.index_in(values, known), -1), 1).to_numpy(), np.int64)


def taken_items(rows: pa.Table, users: list[str], packing: InteractionPacking) -> list[Integers]:
    """Of each row, the sorted ids of all items that its user took, in whatever split."""
    user, item = packing.layout.texts[:2]
    parts, found = rows[PART].to_numpy(), [np.empty(0, np.int64)] * len(users)
    for part in np.unique(parts).tolist():
        places = np.flatnonzero(parts == part).tolist()
        with pa.memory_map(str(taken_path(Path(packing.work), part))) as source:
            pairs = pa.ipc.open_file(source).read_all()
        wanted = pairs.filter(pc.is_in(pairs[user], pa.array(sorted({users[place] for place in places}))))
        codes = wanted[user].combine_chunks().dictionary_encode()
        order = np.argsort(codes.indices.to_numpy(), kind="stable")
        groups = np.split(ids_of(wanted[item], packing.items)[order], np.flatnonzero(np.diff(codes.indices.to_numpy()[order])) + 1)
        of_user = dict(zip(codes.dictionary.to_pylist(), map(np.unique, groups), strict=True))
        for place in places:
            found[place] = of_user[users[place]]
    return found
