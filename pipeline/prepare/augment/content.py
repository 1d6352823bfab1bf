"""Copies of rows that are one image, sound or text. Pure; runs in Spark's Python workers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.prepare.augment import augment, mixing
from pipeline.prepare.kinds import KINDS, ContentFit
from pipeline.sections.augment import Augment


class Copied(NamedTuple):
    """Rows with their copies behind them: staged values, (R,) labels, (R,) float32 weights, ids."""

    values: pa.ChunkedArray
    labels: NDArray[np.generic]
    weights: NDArray[np.float32]
    names: list[str]


def with_copies(
    values: pa.ChunkedArray,
    labels: NDArray[np.generic],
    names: list[str],
    copies: list[int],
    kind_name: str,
    fitted: ContentFit,
    options: Augment,
) -> Copied:
    """Each staged value, then its copies; a copy's id is the sample's with #1, #2 and so on, and + where it has its partner's label.

    Args:
        values, labels, names: of the rows of one prepared file.
        copies: of each row.
        kind_name: of the content column.
        fitted: what the kind fitted.
        options: of the recipe; each copy gets every operation, in order.
    """
    if not any(copies):
        return Copied(values, labels, np.ones(len(names), np.float32), names)
    kind, originals = KINDS[kind_name], values.to_pylist()
    out: list[Version] = []
    for row, (value, name) in enumerate(zip(originals, names, strict=True)):
        out.append(Version(value, labels[row], 1.0, name))
        array = kind.unpack(value, fitted) if copies[row] else None
        for copy in range(1, copies[row] + 1):
            changed = augment(array, kind_name, options.single_operations, seed=options.seed, sample_id=name, copy=copy)
            if options.mixup is None:
                out.append(Version(kind.repack(changed, fitted), labels[row], 1.0, f"{name}#{copy}"))
            else:
                drawn = mixing.draw(names, row, copy, options)
                mixed = mixing.mix(changed, kind.unpack(originals[drawn.partner], fitted), drawn.share)
                out += either(kind.repack(mixed, fitted), labels[row], labels[drawn.partner], drawn.share, f"{name}#{copy}")
    column, targets, weights, ids = (list(found) for found in zip(*out, strict=True))
    return Copied(
        pa.chunked_array([pa.array(column, values.type)]), np.asarray(targets, labels.dtype), np.asarray(weights, np.float32), ids
    )


class Version(NamedTuple):
    """One row to write."""

    value: bytes | str
    label: np.generic
    weight: float
    name: str


def either(value: bytes | str, mine: Any, theirs: Any, share: float, name: str) -> list[Version]:
    """A mixture with either class, weighed by its share; or once with the number between."""
    if isinstance(mine, np.integer):
        return [Version(value, mine, share, name), Version(value, theirs, 1 - share, name + mixing.PARTNER)]
    return [Version(value, np.float32(mine * share + theirs * (1 - share)), 1.0, name)]
