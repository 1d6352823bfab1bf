"""Staged rows -> what a prepared file holds: one packed tensor, label, weight, slices. Pure numpy and Arrow; runs in Spark's workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.augment import content, tables
from pipeline.prepare.columns import NUMBERS, ORDER
from pipeline.prepare.encode import encode, encode_time
from pipeline.prepare.kinds import KINDS, ContentFit
from pipeline.prepare.staging import Layout
from pipeline.scaling import scale
from pipeline.schema import LABEL, SAMPLE_ID, WEIGHT, CategoryEncoder, NumberScaler, SplitName, Tensor, TimeEncoder
from pipeline.sections.augment import Augment

BLOCK_ROWS = 4096  # whose numbers stay in a core's cache while they are taken column by column


@dataclass(frozen=True)
class Packing:
    """All that turns staged rows of any split into prepared ones; sent to every worker."""

    layout: Layout
    tensor: Tensor
    classes: tuple[str, ...]
    target: NumberScaler | None  # of a regression
    scalers: tuple[NumberScaler, ...]
    encoders: tuple[CategoryEncoder, ...]
    times: tuple[TimeEncoder, ...]
    slices: tuple[str, ...]
    augment: Augment
    content: ContentFit | None = None  # what the kind of layout.content fitted
    weight: str | None = None  # the column with role: weight; 1 for every row without one
    class_copies: tuple[int, ...] = ()  # of a balanced recipe: copies of each train row of a class


def pack(rows: pa.Table, split: SplitName, packing: Packing) -> pa.Table:
    """Prepared rows of one split, in the order given; each train row is followed by its augmented copies."""
    labels, names = labels_of(rows, packing), rows[SAMPLE_ID]
    copies = copies_of(labels, packing) if split == "train" else np.zeros(len(labels), np.int64)
    times = 1 + copies * packing.augment.rows_per_copy(has_classes=packing.target is None)
    if packing.layout.content and packing.layout.column and packing.content:
        values, kind = rows[packing.layout.content], packing.layout.column.kind
        found = content.with_copies(values, labels, names.to_pylist(), copies.tolist(), kind, packing.content, packing.augment)
        packed, labels, weights = KINDS[kind].pack(found.values, packing.content), found.labels, found.weights
        names = pa.array(found.names, pa.string())
    else:
        table, weights = tables.Rows(pack_features(rows, split, packing), labels), np.ones(len(labels), np.float32)
        if copies.any():
            most = packing.augment.model_copy(update={"copies": int(copies.max())})
            table, weights, texts = fewer(tables.with_copies(table, names.to_pylist(), parts_of(packing), most), copies)
            names = pa.array(texts, pa.string())
        packed, labels = packed_array(table.features), table.label
    slices = {name: pa.array(np.repeat(as_text(rows, name, packing.layout), times), pa.string()) for name in packing.slices}
    weights = weights * np.repeat(weights_of(rows, packing), times)
    return pa.table({SAMPLE_ID: names, packing.tensor.name: packed, LABEL: labels, WEIGHT: weights, **slices})


def copies_of(labels: NDArray[np.generic], packing: Packing) -> NDArray[np.int64]:
    """(R,) copies of each train row."""
    if packing.class_copies:
        return np.asarray(packing.class_copies, np.int64)[labels.astype(np.int64)]
    return np.full(len(labels), packing.augment.copies, np.int64)


def fewer(found: tables.Versions, copies: NDArray[np.int64]) -> tuple[tables.Rows, NDArray[np.float32], list[str]]:
    """Of rows that all have as many copies as any, those that each is to have: rows, weights, ids."""
    if copies.min(initial=0) == copies.max(initial=0):
        return found.rows, found.weight, found.names
    is_wanted = (np.asarray(found.copies)[None, :] <= copies[:, None]).ravel()
    kept = tables.Rows(found.rows.features[is_wanted], found.rows.label[is_wanted])
    return kept, found.weight[is_wanted], [name for name, wanted in zip(found.names, is_wanted.tolist(), strict=True) if wanted]


def numbers_of(rows: pa.Table) -> NDArray[np.float64]:
    """(R, numbers) raw values; missing ones NaN."""
    column = rows[NUMBERS].combine_chunks()
    return np.asarray(column.flatten().to_numpy()).reshape(len(column), -1)


def weights_of(rows: pa.Table, packing: Packing) -> NDArray[np.float32]:
    """(R,) >= 0; an augmented copy has its row's, and the two rows of a mixture share it."""
    if packing.weight is None:
        return np.ones(rows.num_rows, np.float32)
    return numbers_of(rows)[:, packing.layout.numbers.index(packing.weight)].astype(np.float32)


def labels_of(rows: pa.Table, packing: Packing) -> NDArray[np.generic]:
    """(R,) int64 class indices, or float32 scaled numbers; 0 where rows have no label."""
    label = packing.layout.label
    if label is None:
        return np.zeros(rows.num_rows, np.int64)
    if packing.target is not None:
        return scale(numbers_of(rows)[:, packing.layout.numbers.index(label)], packing.target).astype(np.float32)
    encoded = rows[label].combine_chunks().dictionary_encode()
    index = {value: number for number, value in enumerate(packing.classes)}
    places = np.asarray([index[value] for value in encoded.dictionary.to_pylist()], np.int64)
    return np.asarray(places[encoded.indices.to_numpy()])


def pack_features(rows: pa.Table, split: SplitName, packing: Packing) -> NDArray[np.float32]:
    """(R, F) float32: scaled numbers, then encoded categories, then times."""
    numbers = numbers_of(rows) if packing.layout.numbers else np.empty((rows.num_rows, 0))
    features = np.empty((rows.num_rows, packing.tensor.shape[0]), np.float32)
    for start in range(0, rows.num_rows, BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        for place, scaler in enumerate(packing.scalers):
            features[block, place] = scale(numbers[block, packing.layout.numbers.index(scaler.column)], scaler)
    begin = len(packing.scalers)
    for encoder in packing.encoders:
        folds = folds_of(rows, len(encoder.fold_means)) if encoder.method == "target" and split == "train" else None
        features[:, begin : begin + encoder.width] = encode(rows[encoder.column], encoder, folds)
        begin += encoder.width
    for time in packing.times:
        features[:, begin : begin + time.width] = encode_time(numbers[:, packing.layout.numbers.index(time.column)], time)
        begin += time.width
    return features


def parts_of(packing: Packing) -> tables.Parts:
    """Which positions of the vector are numbers, and which belong together."""
    numbers, blocks, begin = list(range(len(packing.scalers))), [], len(packing.scalers)
    widths = [(found.width, found.method == "target") for found in packing.encoders] + [(time.width, False) for time in packing.times]
    for width, is_number in widths:
        if is_number:
            numbers += range(begin, begin + width)
        else:
            blocks.append((begin, begin + width))
        begin += width
    return tables.Parts(numbers, blocks)


def folds_of(rows: pa.Table, num_folds: int) -> NDArray[np.int64]:
    """(R,) which fold a train row is in for out-of-fold encodings; from its key, like its split."""
    return np.asarray(rows[ORDER].to_numpy().view(np.uint64) % np.uint64(num_folds), np.int64)


def packed_array(features: NDArray[np.float32]) -> pa.Array:
    """One binary value for each row of a matrix, its bytes as they lie in memory; nothing is copied."""
    content = np.ascontiguousarray(features)
    offsets = np.arange(len(content) + 1, dtype=np.int32) * (content.shape[1] * content.itemsize)
    return pa.Array.from_buffers(pa.binary(), len(content), [None, pa.py_buffer(offsets), pa.py_buffer(content)])


def as_text(rows: pa.Table, name: str, layout: Layout) -> NDArray[np.object_]:
    """(R,) a sensitive column as text; missing values None."""
    if name in layout.texts:
        return np.asarray(rows[name].to_numpy(), object)
    values = numbers_of(rows)[:, layout.numbers.index(name)]
    return np.asarray([None if np.isnan(value) else f"{value:g}" for value in values], object)
