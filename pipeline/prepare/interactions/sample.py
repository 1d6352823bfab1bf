"""Items that a user did not take. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

POPULARITY = 0.75  # Source: Mikolov et al. 2013, arXiv:1310.4546, section 2.2
ROUNDS = 8  # of drawing and throwing away; then what is left is listed


class Exhausted(ValueError):
    """A user took every item that has an id: there is nothing that they did not take."""


def cumulative_weights(rows: Integers, sampling: str) -> NDArray[np.float64]:
    """(I,) sums of the items' weights, ending at 1.

    Args:
        rows: (I,) train rows of the items with id 1, 2, …
        sampling: uniform or popularity.
    """
    weights = np.ones(len(rows)) if sampling == "uniform" else rows.astype(np.float64) ** POPULARITY
    total = np.cumsum(weights)
    return np.asarray(total / total[-1])


def draw_negatives(taken: Integers, cumulative: NDArray[np.float64], count: int, rng: np.random.Generator) -> Integers:
    """(count,) item ids that are not among `taken`: different ones, but if fewer are left, all of those over and over.

    Args:
        taken: sorted item ids; 0, the unknown item, may be there and is never drawn.
        cumulative: (I,) as `cumulative_weights` gives it.
        count: >= 1.
        rng: its numbers decide.

    Raises:
        Exhausted: nothing is left to draw.
    """
    found: list[int] = []
    known = set(taken.tolist())
    num_left = len(cumulative) - len(known - {0})
    if num_left < 1:
        raise Exhausted
    if num_left > count:
        for _ in range(ROUNDS):
            for item in (np.searchsorted(cumulative, rng.random(count), side="right") + 1).tolist():
                if item not in known and len(found) < count:
                    known.add(item)
                    found.append(item)
            if len(found) == count:
                return np.asarray(found, np.int64)
    left = np.setdiff1d(np.arange(1, len(cumulative) + 1), np.asarray(sorted(known), np.int64))
    weights = np.diff(cumulative, prepend=0.0)[left - 1]
    missing = count - len(found)
    some = rng.choice(left, min(missing, len(left)), replace=False, p=weights / weights.sum())
    return np.resize(np.concatenate([np.asarray(found, np.int64), some]), count)
