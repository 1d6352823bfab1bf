"""Rows -> what a prepared file holds: one packed tensor, label, weight, slices. Pure numpy and Arrow; runs in Spark's Python workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import Augment
from pipeline.prepare.images import augment
from pipeline.schema import LABEL, SAMPLE_ID, WEIGHT, CategoryEncoder, NumberScaler, SplitName, Tensor


@dataclass(frozen=True)
class Packing:
    """All that turns raw rows of any split into prepared ones; sent to every worker."""

    tensor: Tensor
    label: str
    classes: tuple[str, ...]
    scalers: tuple[NumberScaler, ...]
    encoders: tuple[CategoryEncoder, ...]
    slices: tuple[str, ...]
    image: str | None
    augment: Augment


def pack(rows: pa.Table, split: SplitName, packing: Packing) -> pa.Table:
    """Prepared rows of one split, in the order given; each train row is followed by its augmented copies."""
    sample_ids = rows[SAMPLE_ID].to_pylist()
    index = {value: number for number, value in enumerate(packing.classes)}
    labels = np.asarray([index[value] for value in rows[packing.label].to_pylist()], np.int64)
    if packing.image is None:
        features = pack_features(rows, packing)
        packed = [row.tobytes() for row in features]
    else:
        packed = rows[packing.image].to_pylist()
    copies = packing.augment.copies if split == "train" else 0
    if copies:
        packed, sample_ids = with_copies(packed, sample_ids, packing)
    times = copies + 1
    slices = {name: pa.array(np.repeat(rows[name].to_numpy(zero_copy_only=False), times), pa.string()) for name in packing.slices}
    return pa.table(
        {
            SAMPLE_ID: pa.array(sample_ids, pa.string()),
            packing.tensor.name: pa.array(packed, pa.binary()),
            LABEL: np.repeat(labels, times),
            WEIGHT: np.ones(len(sample_ids), np.float32),
            **slices,
        }
    )


def pack_features(rows: pa.Table, packing: Packing) -> NDArray[np.float32]:
    """(R, F) float32: scaled numbers, then one-hot categories, each with a last place for unknown values."""
    parts = [scale(rows[scaler.column], scaler)[:, None] for scaler in packing.scalers]
    parts += [one_hot(rows[encoder.column], encoder) for encoder in packing.encoders]
    return np.asarray(np.concatenate(parts, axis=1), np.float32)


def scale(column: pa.ChunkedArray, scaler: NumberScaler) -> NDArray[np.float64]:
    values = np.asarray(column.to_numpy(), np.float64)
    return (np.where(np.isnan(values), scaler.fill, values) - scaler.offset) / scaler.scale


def one_hot(column: pa.ChunkedArray, encoder: CategoryEncoder) -> NDArray[np.float64]:
    place = {value: index for index, value in enumerate(encoder.values)}
    indices = [place.get(value, len(place)) for value in column.to_pylist()]
    return np.eye(len(place) + 1)[indices]


def num_features(scalers: tuple[NumberScaler, ...], encoders: tuple[CategoryEncoder, ...]) -> int:
    return len(scalers) + sum(len(encoder.values) + 1 for encoder in encoders)


def with_copies(packed: list[bytes], sample_ids: list[str], packing: Packing) -> tuple[list[bytes], list[str]]:
    """Each image, then its copies; a copy's id is the sample's with #1, #2 and so on."""
    images, names = [], []
    for content, sample_id in zip(packed, sample_ids, strict=True):
        pixels = np.frombuffer(content, np.uint8).reshape(packing.tensor.shape)
        images.append(content)
        names.append(sample_id)
        for copy in range(1, packing.augment.copies + 1):
            changed = augment(pixels, packing.augment.operations, seed=packing.augment.seed, sample_id=sample_id, copy=copy)
            images.append(changed.tobytes())
            names.append(f"{sample_id}#{copy}")
    return images, names
