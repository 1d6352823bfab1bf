"""Augmented copies of train rows. One module for each kind of data, each operation a pure function of (values, rng, arguments).

    image.py     pixels (height, width, channels) uint8
    audio.py     samples, float32 from -1 to 1
    text.py      a clean text
    series.py    a window's past and its label, float32
    tables.py    packed rows, taken together: a neighbour is another row

An operation's random numbers follow from (seed, sample, copy, operation) alone, so a retried task writes the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.prepare.augment import audio, image, series, text
from pipeline.sections.augment import AugmentOperation

Operation = Callable[[Any, np.random.Generator, Any], Any]  # (values, rng, the operation's section) -> values of the same type and shape

# By kind, then by the operation's name in the recipe.
OPERATIONS: Mapping[str, Mapping[str, Operation]] = {
    "image": image.OPERATIONS,
    "audio": audio.OPERATIONS,
    "window": series.OPERATIONS,
    "text": text.OPERATIONS,
}


def augment(values: Any, kind: str, operations: Sequence[AugmentOperation], *, seed: int, sample_id: str, copy: int) -> Any:
    """One augmented copy: every operation in order, each with its own numbers.

    Args:
        values: of one row, as the kind's module takes them; never changed in place.
        kind: a key of OPERATIONS.
        operations: of the recipe.
        seed, sample_id: of the recipe and the row.
        copy: 1 for the first copy.
    """
    for index, operation in enumerate(operations):
        values = OPERATIONS[kind][operation.name](values, generator(seed, sample_id, copy, index), operation.arguments)
    return values


def generator(seed: int, sample_id: str, copy: int, operation: int) -> np.random.Generator:
    """Made once a row and operation: Philox takes a key as it is, for which NumPy's default generator needs three times as long."""
    digest = hashlib.sha256(f"{seed}/{sample_id}/{copy}/{operation}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, np.uint64, 2)))
