"""Operations on packed rows of tables. Pure; run in Spark's Python workers.

Rows are taken together, because a neighbour is another row: those of one prepared file, which follow from the plan of files alone, so a
retried task sees the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.prepare.augment import generator, mixing
from pipeline.sections.augment import Augment
from pipeline.sections.augment_series import Jitter, Smote

BLOCK = 2048  # rows of a class among which neighbours are looked for: all pairs of a block are compared


class Rows(NamedTuple):
    """`features` (R, F) float32 in model units; `label` (R,) class indices, or float32 of a regression."""

    features: NDArray[np.float32]
    label: NDArray[np.generic]


class Parts(NamedTuple):
    """Positions of the vector: numbers, which may be anything between two values, and the rest in blocks that are taken whole."""

    numbers: Sequence[int]
    blocks: Sequence[tuple[int, int]]  # [begin, end) of one category's or time's positions


Generators = Callable[[int], np.random.Generator]  # of each row


def jitter(rows: Rows, parts: Parts, generators: Generators, options: Jitter) -> Rows:
    """Normal noise on numbers; categories, times and labels stay."""
    features = rows.features.copy()
    places = list(parts.numbers)
    for row in range(len(features)):
        features[row, places] += generators(row).normal(0.0, options.std, len(places)).astype(np.float32)
    return Rows(features, rows.label)


def smote(rows: Rows, parts: Parts, generators: Generators, options: Smote) -> Rows:
    """Each row moved towards one of its nearest rows of the same class, u of the way; of a regression the label goes along.

    Categories and times are taken whole, from the nearer of the two. A row that is alone in its class stays as it is.

    Source: Chawla et al. 2002, 10.1613/jair.953; labels of a regression: Torgo et al. 2013, 10.1007/978-3-642-40669-0_33.
    """
    is_class = np.issubdtype(rows.label.dtype, np.integer)
    features, label = rows.features.copy(), rows.label.copy()
    places = list(parts.numbers)
    for members in blocks_of(rows.label if is_class else np.zeros(len(label), np.int64)):
        near = nearest(rows.features[members], options.neighbours)  # (M, K) positions in members
        for place, row in enumerate(members.tolist()):
            rng = generators(row)
            choice, share = rng.random(), rng.random()
            if not near.shape[1]:
                continue
            other = members[near[place, int(choice * near.shape[1])]]
            mine, theirs = rows.features[row], rows.features[other]
            features[row, places] = mine[places] + np.float32(share) * (theirs[places] - mine[places])
            for begin, end in parts.blocks:
                features[row, begin:end] = theirs[begin:end] if share > 0.5 else mine[begin:end]
            if not is_class:
                label[row] = rows.label[row] + np.float32(share) * (rows.label[other] - rows.label[row])
    return Rows(features, label)


def blocks_of(classes: NDArray[np.generic]) -> list[NDArray[np.int64]]:
    """Rows of each class, in their order, at most BLOCK together and as even as can be."""
    found = []
    for value in np.unique(classes):
        members = np.flatnonzero(classes == value)
        found += np.array_split(members, -(-len(members) // BLOCK))
    return found


def nearest(features: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """(M, K) the K nearest other rows of each, by Euclidean distance; K = min(count, M - 1). Of equally near ones the first."""
    total = len(features)
    count = min(count, total - 1)
    if count < 1:
        return np.empty((total, 0), np.int64)
    wide = features.astype(np.float64)
    squares = np.square(wide).sum(axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * wide @ wide.T
    np.fill_diagonal(distances, np.inf)
    return np.argsort(distances, axis=1, kind="stable")[:, :count]


OPERATIONS: dict[str, Callable[[Rows, Parts, Generators, Any], Rows]] = {"jitter": jitter, "smote": smote}


class Versions(NamedTuple):
    """All versions of R rows: V of each, the row itself first, then its copies in order."""

    rows: Rows  # (R * V, …)
    weight: NDArray[np.float32]  # (R * V,)
    names: list[str]
    copies: tuple[int, ...]  # (V,) which copy each version is of; 0 is the row itself


def with_copies(rows: Rows, names: list[str], parts: Parts, options: Augment) -> Versions:
    """Each row, then its copies; a copy's id is the row's with #1, #2 and so on, and + where it has its partner's label.

    Args:
        rows: of one prepared file.
        names: (R,) their ids.
        parts: of the vector.
        options: of the recipe; each copy gets every operation, in order.
    """
    versions = [(rows, np.ones(len(names), np.float32), "")]
    for copy in range(1, options.copies + 1):
        changed = rows
        for index, operation in enumerate(options.single_operations):
            generators = partial(generator_of, names, options.seed, copy, index)
            changed = OPERATIONS[operation.name](changed, parts, generators, operation.arguments)
        found = mixtures(rows, changed, names, copy, options) if options.mixup else [(changed, versions[0][1], "")]
        versions += [(version, weight, f"#{copy}{end}") for version, weight, end in found]
    features = np.stack([version.features for version, _, _ in versions], axis=1).reshape(-1, rows.features.shape[1])
    label = np.stack([version.label for version, _, _ in versions], axis=1).reshape(-1)
    weight = np.stack([weight for _, weight, _ in versions], axis=1).reshape(-1)
    copies = tuple(int(end.strip("#+") or 0) for _, _, end in versions)
    return Versions(Rows(features, label), weight, [f"{name}{end}" for name in names for _, _, end in versions], copies)


def mixtures(rows: Rows, changed: Rows, names: list[str], copy: int, options: Augment) -> list[tuple[Rows, NDArray[np.float32], str]]:
    """(rows, weights, end of their ids): a copy of every row mixed with another row; of classes twice, once with either label."""
    drawn = [mixing.draw(names, row, copy, options) for row in range(len(names))]
    partners = np.asarray([one.partner for one in drawn], np.int64)
    shares = np.asarray([one.share for one in drawn], np.float32)
    mixed = changed.features * shares[:, None] + rows.features[partners] * (1 - shares[:, None])
    features = np.asarray(mixed, np.float32)
    if np.issubdtype(rows.label.dtype, np.integer):
        return [(Rows(features, changed.label), shares, ""), (Rows(features, rows.label[partners]), 1 - shares, mixing.PARTNER)]
    mine, theirs = (np.asarray(label, np.float32) for label in (changed.label, rows.label[partners]))
    return [(Rows(features, np.asarray(mine * shares + theirs * (1 - shares), np.float32)), np.ones_like(shares), "")]


def generator_of(names: Sequence[str], seed: int, copy: int, operation: int, row: int) -> np.random.Generator:
    return generator(seed, names[row], copy, operation)
